"""Step interactions: SUBMISSIONS, COMMENTS of one month -> INTERACTIONS, SNIPPETS.

Row groups are reduced where they are read (map side); only partial sums and the best few texts of
each user and subreddit travel. The sums are in `pipelines.activity`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from pipelines.activity import (
    active,
    best_snippets,
    comment_actions,
    merged_activity,
    partial_activity,
    snippet_rows,
    submission_actions,
)
from pipelines.config import BeamResources, InteractionsConfig
from pipelines.contract import ConfigError, Counts, MissingInputError, Run, Table
from pipelines.engine import load_all, note, pipeline, progress_from, save_all
from pipelines.frames import from_bytes, to_bytes, to_table
from pipelines.quiet_beam import beam
from pipelines.tables import COMMENTS, INTERACTIONS, SNIPPETS, SUBMISSIONS

# A shard is summed and sorted in memory: about 1 GB for this many rows in, most of it snippets.
SHARD_ROWS = 4_000_000
# Of the first two characters of a user id, 32^2: shards are ranges of them, so that the files of a
# table follow each other in the order of the users.
_PREFIXES = 1024
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_COLUMNS = {
    SUBMISSIONS.name: ["submission_id", "user_id", "subreddit", "created_utc", "score"],
    COMMENTS.name: ["comment_id", "user_id", "subreddit", "created_utc", "score", "body"],
}
_COLUMNS[SUBMISSIONS.name] += ["title", "selftext"]

MINIMUM_ACTIVITY = "minimum_activity"

RowGroup = tuple[str, str, int]
"""Table name, file, number of the row group."""
Partial = tuple[int, tuple[str, bytes]]
"""Shard, then table and partial rows of it."""


class Reduce(beam.DoFn):
    """A row group -> (shard, partial rows as Arrow bytes); number of rows read to `rows`."""

    def __init__(self, config: InteractionsConfig, num_shards: int, progress: Path) -> None:
        self._config = config
        self._num_shards = num_shards
        self._progress = progress

    def process(self, element: RowGroup) -> Iterator[Any]:
        name, path, number = element
        table = pq.ParquetFile(path).read_row_group(number, columns=_COLUMNS[name])
        rows: pl.DataFrame = pl.DataFrame(table)
        actions = (submission_actions if name == SUBMISSIONS.name else comment_actions)(
            rows, self._config
        )
        snippets = best_snippets(actions.snippets, self._config.max_snippets)
        partial = ((INTERACTIONS, partial_activity(actions.activity)), (SNIPPETS, snippets))
        for output, frame in partial:
            yield from _keyed(output, frame, self._num_shards)
        note(self._progress, f"{name}-{Path(path).stem}-{number}")(rows.height)
        yield beam.pvalue.TaggedOutput("rows", rows.height)


def _keyed(output: Table, frame: pl.DataFrame, num_shards: int) -> Iterator[Partial]:
    shard = user_shard(pl.col("user_id"), num_shards).alias("shard")
    parts = frame.with_columns(shard).partition_by("shard", as_dict=True, include_key=False)
    for (number,), rows in parts.items():
        yield int(number), (output.name, to_bytes(rows))


def user_shard(user_id: pl.Expr, num_shards: int) -> pl.Expr:
    """Shard of a user id, in [0, num_shards), in the order of the ids.

    The ids are hashes, so their first ten bits are spread evenly.
    """
    digits = {character: value for value, character in enumerate(sorted(_BASE32))}
    high, low = (
        user_id.str.slice(i, 1).replace_strict(digits, default=0, return_dtype=pl.Int32)
        for i in (0, 1)
    )
    return (high * len(_BASE32) + low) * num_shards // _PREFIXES


class WriteShard(beam.DoFn):
    """(shard, partial rows of its users) -> one file of each table; yields (name, number)s."""

    def __init__(self, config: InteractionsConfig, folders: dict[str, Path]) -> None:
        self._config = config
        self._folders = folders

    def process(
        self, element: tuple[int, Iterable[tuple[str, bytes]]]
    ) -> Iterator[tuple[str, int]]:
        number, parts = element
        partial: dict[str, list[bytes]] = {INTERACTIONS.name: [], SNIPPETS.name: []}
        for name, part in parts:
            partial[name].append(part)
        activity, num_dropped = active(
            merged_activity(from_bytes(partial[INTERACTIONS.name])), self._config.min_actions
        )
        yield MINIMUM_ACTIVITY, num_dropped
        yield self._written(INTERACTIONS, activity, number)
        if partial[SNIPPETS.name]:
            best = best_snippets(from_bytes(partial[SNIPPETS.name]), self._config.max_snippets)
            of_active = best.join(activity, on="user_id", how="semi", maintain_order="left")
            yield self._written(SNIPPETS, snippet_rows(of_active), number)

    def _written(self, table: Table, rows: pl.DataFrame, number: int) -> tuple[str, int]:
        if rows.height:
            table.write(self._folders[table.name], to_table(rows, table), f"part-{number:05}")
        return table.name, rows.height


def interactions(config: InteractionsConfig, resources: BeamResources, run: Run) -> Counts:
    """Step: SUBMISSIONS, COMMENTS of `run.month` -> INTERACTIONS, SNIPPETS.

    Returns:
        Rows in are submissions and comments; each is summed, or dropped with its user by the rule
        `minimum_activity`.

    Raises:
        MissingInputError: The month was not ingested.
    """
    if run.month is None:
        raise ConfigError("run.month=None: interactions are made month by month; name one")
    groups = [group for table in (SUBMISSIONS, COMMENTS) for group in _row_groups(table, run)]
    num_rows = sum(rows for _, rows in groups)
    folders = {table.name: run.staged(table) for table in (INTERACTIONS, SNIPPETS)}
    work = run.staged(INTERACTIONS).parent / "_work"
    shutil.rmtree(work, ignore_errors=True)
    with progress_from(work / "progress", run, num_rows, "rows"):
        _run_pipeline(config, resources, groups, folders, work)
    rows_read = sum(load_all(work / "rows"))
    written = {INTERACTIONS.name: 0, SNIPPETS.name: 0, MINIMUM_ACTIVITY: 0}
    for name, number in load_all(work / "written"):
        written[name] += number
    num_dropped = written.pop(MINIMUM_ACTIVITY)
    shutil.rmtree(work)
    for table in (INTERACTIONS, SNIPPETS):
        if not written[table.name]:
            table.write(folders[table.name], table.empty(), "part-00000")
    dropped = {MINIMUM_ACTIVITY: num_dropped} if num_dropped else {}
    counts = Counts(
        rows_in=num_rows, rows_out=rows_read - num_dropped, dropped=dropped, written=written
    )
    return counts.assert_balanced()


def _run_pipeline(
    config: InteractionsConfig,
    resources: BeamResources,
    groups: Sequence[tuple[RowGroup, int]],
    folders: dict[str, Path],
    work: Path,
) -> None:
    num_shards = min(_PREFIXES, 1 + sum(rows for _, rows in groups) // SHARD_ROWS)
    reduce = Reduce(config, num_shards, work / "progress")
    with pipeline(resources, work / "workers.log") as root:
        read = root | "Row groups" >> beam.Create([group for group, _ in groups])
        reduced = read | "Reduce" >> beam.ParDo(reduce).with_outputs("rows", main="partial")
        written = (
            reduced.partial
            | "Shards" >> beam.GroupByKey()
            | "Write" >> beam.ParDo(WriteShard(config, folders))
        )
        save_all(reduced.rows, work / "rows")
        save_all(written, work / "written")


def _row_groups(table: Table, run: Run) -> list[tuple[RowGroup, int]]:
    """Row groups of the table's month with their rows; empty ones are left out."""
    files = table.files(run)
    if not files:
        raise MissingInputError(
            f"table {table.name!r} not found at {table.path(run)}; run the step ingest first"
        )
    found = []
    for file in files:
        metadata = pq.read_metadata(file)
        for number in range(metadata.num_row_groups):
            rows = metadata.row_group(number).num_rows
            if rows:
                found.append(((table.name, str(file), number), rows))
    return found
