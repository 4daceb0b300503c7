"""Any bipartite interaction list -> the tables and the graph store that stage 3 works on.

A file is CSV, TSV, Parquet, or the text of LightGCN: one line a user, `user item item ...`. A line
of the list is one action of a user in a subreddit, whatever its items are called there.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import torch

from embed.tables import IMAGE_EMBEDDINGS, SUBREDDIT_FEATURES, USER_IMAGES, VISUAL_TARGETS
from graph.build import build_graph
from graph.config import GraphConfig, GraphResources
from graph.splits import Given
from graph.store import GraphStore
from graph.tables import GRAPH_STORE
from pipelines.contract import Artifact, ConfigError, ContractError, MissingInputError, Run, Table
from pipelines.tables import INTERACTIONS

UNDATED = "undated"
NO_IMAGES = (SUBREDDIT_FEATURES, USER_IMAGES, IMAGE_EMBEDDINGS, VISUAL_TARGETS)
OUTPUTS: tuple[Table | Artifact, ...] = (INTERACTIONS, *NO_IMAGES, GRAPH_STORE)
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".csv", ".tsv", ".parquet", ".txt")
ROWS_AT_ONCE = 1 << 18
MAX_UTC = 253_402_300_799  # The year 9999 ends: what is more is no second.
LIST = {"user": pl.String, "item": pl.String, "utc": pl.Int64}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table mean what; text has none.

    Args:
        user, item: Names, taken as text.
        time: Epoch seconds; empty if there is none, and then nothing is known of when.
    """

    user: str = "user"
    item: str = "item"
    time: str = ""


def read_list(path: Path, columns: Columns) -> pl.DataFrame:
    """The interactions in a file: user and item (String), utc (Int64, 0 if unknown).

    Raises:
        MissingInputError: There is no such file.
        ConfigError: Its name does not end in one of `SUFFIXES`.
        ContractError: Names file and line (row, of Parquet) of the first thing that is wrong.
    """
    if not path.is_file():
        raise MissingInputError(f"interaction list not found at {path}")
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends in one of {', '.join(SUFFIXES)}")
    rows = _text_rows(path) if path.suffix == ".txt" else _csv_rows(path, columns)
    try:
        # Rows of Python take ten times the room of a frame's.
        parts = [pl.DataFrame(part, schema=LIST, orient="row") for part in batched(rows)]
    except UnicodeDecodeError as error:
        raise ContractError(f"{path}: not UTF-8 at byte {error.start}; convert it") from error
    if not parts:
        raise ContractError(f"{path}: holds no interaction")
    return pl.concat(parts)


def batched(rows: Iterator[tuple[str, str, int]]) -> Iterator[list[tuple[str, str, int]]]:
    """The rows in order, `ROWS_AT_ONCE` at a time."""
    while part := list(islice(rows, ROWS_AT_ONCE)):
        yield part


def _text_rows(path: Path) -> Iterator[tuple[str, str, int]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            words = line.split()
            wrong = next((word for word in words if not word.isdecimal()), None)
            if wrong is not None:
                raise ContractError(
                    f"{path}, line {number}: {wrong!r}, expected `user item item ...` in whole "
                    "numbers; other lists must be .csv, .tsv or .parquet"
                )
            for item in words[1:]:
                yield words[0], item, 0


def _csv_rows(path: Path, columns: Columns) -> Iterator[tuple[str, str, int]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:  # Spreadsheets begin with a mark.
        rows = csv.reader(lines, delimiter=DELIMITERS[path.suffix], strict=True)
        header = next(rows, [])
        places = _places(path, columns, header)
        try:
            for row in rows:
                yield _csv_row(f"{path}, line {rows.line_num}", row, places, len(header))
        except csv.Error as error:
            raise ContractError(f"{path}, line {rows.line_num}: {error}") from error


def _csv_row(where: str, row: list[str], places: list[int], width: int) -> tuple[str, str, int]:
    if len(row) != width:
        raise ContractError(f"{where}: {len(row)} fields, expected {width}")
    user, item, *time = (row[place] for place in places)
    if not user or not item:
        raise ContractError(f"{where}: user {user!r} and item {item!r}: neither may be empty")
    try:
        utc = int(time[0]) if time else 0
    except ValueError:
        utc = -1
    if not 0 <= utc <= MAX_UTC:
        raise ContractError(f"{where}: time {time[0]!r}, expected epoch seconds")
    return user, item, utc


def _places(path: Path, columns: Columns, header: Iterable[str]) -> list[int]:
    names, wanted = list(header), [columns.user, columns.item]
    wanted += [columns.time] if columns.time else []
    for name in wanted:
        if name not in names:
            raise ContractError(
                f"{path}, line 1: no column {name!r}; there are {', '.join(names) or 'none'}"
            )
    return [names.index(name) for name in wanted]


def _read_parquet(path: Path, columns: Columns) -> pl.DataFrame:
    try:
        schema = pl.read_parquet_schema(path)
    except (pl.exceptions.ComputeError, OSError) as error:
        raise ContractError(f"{path}: no Parquet file ({error})") from error
    _places(path, columns, schema)
    if columns.time and not schema[columns.time].is_integer():
        raise ContractError(f"{path}: column {columns.time!r} is not of whole epoch seconds")
    utc = pl.col(columns.time).cast(pl.Int64, strict=False) if columns.time else pl.lit(0, pl.Int64)
    names = {"user": pl.col(columns.user), "item": pl.col(columns.item)}
    named = {name: column.cast(pl.String) for name, column in names.items()}
    frame = pl.scan_parquet(path).select(**named, utc=utc).collect()
    bad = pl.any_horizontal(pl.all().is_null()) | (pl.col("user") == "") | (pl.col("item") == "")
    wrong = frame.with_row_index("row").filter(bad)
    if len(wrong):
        raise ContractError(f"{path}, row {wrong['row'][0]}: user, item or time is empty")
    wrong = frame.with_row_index("row").filter(~pl.col("utc").is_between(0, MAX_UTC))
    if len(wrong):
        raise ContractError(
            f"{path}, row {wrong['row'][0]}: time {wrong['utc'][0]}, expected epoch seconds"
        )
    if frame.is_empty():
        raise ContractError(f"{path}: holds no interaction")
    return frame


def interactions(rows: pl.DataFrame) -> pa.Table:
    """A list as INTERACTIONS: every row a comment, the month of its time or `UNDATED`."""
    months = pl.from_epoch("utc").dt.strftime("%Y-%m")
    table = (
        rows.with_columns(active_month=pl.when(pl.col("utc") == 0).then(pl.lit(UNDATED)))
        .with_columns(active_month=pl.col("active_month").fill_null(months))
        .group_by(user_id="user", subreddit="item", active_month="active_month")
        .agg(
            num_submissions=pl.lit(0, pl.Int32),
            num_comments=pl.len().cast(pl.Int32),
            score=pl.lit(0, pl.Int64),
            first_utc=pl.col("utc").min(),
            last_utc=pl.col("utc").max(),
        )
        .sort("user_id", "subreddit", "active_month")
    )
    arrow = table.select(INTERACTIONS.schema.names).to_arrow()
    return INTERACTIONS.check(
        arrow.cast(pa.schema([f.remove_metadata() for f in INTERACTIONS.schema]))
    )


def import_graph(
    root: Path, path: Path, columns: Columns, *, test: Path | None, new_users: Path | None
) -> dict[str, int]:
    """Write INTERACTIONS, GRAPH_STORE and tables without images under `root`; what was counted.

    Args:
        root: Folder of a run; must not hold a graph yet.
        path, columns: The list.
        test: List of the same form, of edges to predict; those also in `path` are dropped.
        new_users: Names, one a line, of the users that the inductive split withholds.

    Raises:
        ContractError: There is a graph already, a file is wrong, or a new user is in no list.
        MissingInputError, ConfigError: As `read_list`.
    """
    work = root / ".import"
    if any(output.path(Run(root=root)).exists() for output in OUTPUTS):
        raise ContractError(f"{root} holds tables already; name another folder with --root")
    rows = read_list(path, columns)
    asked = rows.clear() if test is None else read_list(test, columns)
    pair = ["user", "item"]
    hidden = asked.join(rows, on=pair, how="anti")
    shutil.rmtree(work, ignore_errors=True)
    run = Run(root=work, staging=work / "staging")
    _write_tables(interactions(pl.concat([rows, hidden])), run)
    counts = build_graph(GraphConfig(), GraphResources(), run)
    store = GraphStore.open(run.staged(GRAPH_STORE))
    if test is not None or new_users is not None:
        named = frozenset() if new_users is None else _names(new_users)
        _given(store, hidden, named, new_users).save(store.folder)
    for output in OUTPUTS:
        source = run.staged(GRAPH_STORE) if output is GRAPH_STORE else output.path(run)
        target = output.path(Run(root=root))
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    shutil.rmtree(work)
    return {
        "rows": len(rows),
        "repeated": len(rows) - rows.select(pair).n_unique(),
        "test_rows": len(asked),
        "test_also_in_list": len(asked) - len(hidden),
        **counts.written,
    }


def _write_tables(table: pa.Table, run: Run) -> None:
    for month in pc.unique(table["active_month"]).to_pylist():
        folder = INTERACTIONS.path(replace(run, month=month))
        folder.mkdir(parents=True)
        INTERACTIONS.write(folder, table.filter(pc.field("active_month") == month))
    for without in NO_IMAGES:
        without.path(run).mkdir(parents=True)
        without.write(without.path(run), without.empty())


def _given(
    store: GraphStore, hidden: pl.DataFrame, named: frozenset[str], source: Path | None
) -> Given:
    users, items = store.user_ids(), store.subreddits()
    unknown = sorted(named - set(users))
    if unknown:
        raise ContractError(
            f"{source}: {len(unknown)} users are in no list, such as {unknown[0]!r}"
        )
    width = len(items)
    user_index = {name: i for i, name in enumerate(users)}
    item_index = {name: i for i, name in enumerate(items)}
    wanted = [
        user_index[u] * width + item_index[i] for u, i in hidden.select("user", "item").rows()
    ]
    pairs = store.by_user.rows_of_edges() * width + store.by_user.neighbours
    return Given(
        test=torch.isin(pairs, torch.tensor(wanted, dtype=torch.int64)),
        new_users=torch.tensor([name in named for name in users]),
    )


def _names(path: Path) -> frozenset[str]:
    if not path.is_file():
        raise MissingInputError(f"list of new users not found at {path}")
    return frozenset(line.strip() for line in path.read_text().splitlines() if line.strip())
