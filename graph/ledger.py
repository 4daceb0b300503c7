"""INTERACTIONS -> edges of the graph, a range of users at a time: files of `aggregate`.

A graph larger than memory is made in ranges of user ids. Files of INTERACTIONS follow each other in
the order of the users, so a range reads little more than its own rows. The files made are kept
beside the graph: when months are added, only their rows are read, and folded into those files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from graph.edges import aggregate, check_interactions
from pipelines.contract import ContractError
from pipelines.tables import INTERACTIONS

LEDGER = "edges"
SOURCES_FILE = "sources.json"
RANGE_ROWS = 3_000_000  # About 2 GB while they are aggregated.
MAX_OVER = 2  # Ranges of so many times as many rows are divided anew.
SAMPLES = 1000  # Names that are looked at for each range.


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of INTERACTIONS.

    Args:
        name: Path below the table.
        size_bytes, modified_ns: With the name, its identity.
        rows: In it.
        low, high: First and last user id.
        first_month, last_month: Of `active_month`.
    """

    name: str
    size_bytes: int
    modified_ns: int
    rows: int
    low: str
    high: str
    first_month: str
    last_month: str


def read_sources(files: Sequence[Path], root: Path) -> list[Source]:
    """What the footers of the files say; files without rows are left out."""
    return [source for path in files if (source := _source(path, root)) is not None]


def _source(path: Path, root: Path) -> Source | None:
    footer = pq.read_metadata(path)
    if not footer.num_rows:
        return None
    stat = path.stat()
    place = {name: i for i, name in enumerate(footer.schema.names)}
    low, high = _bounds(path, footer, place["user_id"])
    first_month, last_month = _bounds(path, footer, place["active_month"])
    return Source(
        name=str(path.relative_to(root)),
        size_bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        rows=footer.num_rows,
        low=low,
        high=high,
        first_month=first_month,
        last_month=last_month,
    )


def _bounds(path: Path, footer: pq.FileMetaData, column: int) -> tuple[str, str]:
    groups = [footer.row_group(i).column(column).statistics for i in range(footer.num_row_groups)]
    if not all(group is not None and group.has_min_max for group in groups):
        name = footer.schema.names[column]
        raise ContractError(f"{path}: no statistics of {name}; run the interactions step again")
    return min(group.min for group in groups), max(group.max for group in groups)


def range_starts(root: Path, sources: Sequence[Source], range_rows: int) -> list[str]:
    """First user id of each range, in order; the first is below all.

    Files whose users follow each other are kept whole where they can be. Where many files hold the
    same users, as those of many months do, their footers do not tell enough, and names are sampled.
    """
    starts = _starts([(source.low, source.rows) for source in sources], range_rows)
    ends = [*starts[1:], None]
    reads = (
        sum(source.rows for source in _overlapping(sources, low, high))
        for low, high in zip(starts, ends, strict=True)
    )
    if max(reads, default=0) <= MAX_OVER * range_rows:
        return starts
    every = max(1, range_rows // SAMPLES)
    names: list[tuple[str, float]] = []
    for source in sources:
        column = pl.read_parquet(root / source.name, columns=["user_id"], hive_partitioning=False)
        sample = column["user_id"].gather_every(every)
        names += [(name, source.rows / len(sample)) for name in sample]
    return _starts(names, range_rows)


def _starts(rows_from: Sequence[tuple[str, float]], range_rows: int) -> list[str]:
    """Starts of ranges, from user ids and how many rows each stands for."""
    starts, count = [""], 0.0
    for name, rows in sorted(rows_from):
        if count >= range_rows and name > starts[-1]:
            starts.append(name)
            count = 0.0
        count += rows
    return starts


def sampled_starts(rows: pl.LazyFrame, range_rows: int) -> list[str]:
    """As `range_starts`, of rows of which no footers are known: from a sample of their names."""
    every = max(1, range_rows // SAMPLES)
    names = rows.select("user_id").gather_every(every).collect(engine="streaming")
    return _starts([(name, every) for name in names["user_id"]], range_rows)


def by_ranges(rows: pl.LazyFrame, starts: Sequence[str]) -> Iterator[pl.LazyFrame]:
    """The rows of the users of each range."""
    user = pl.col("user_id")
    for low, high in zip(starts, [*starts[1:], None], strict=True):
        here = rows.filter(user >= low)
        yield here if high is None else here.filter(user < high)


def _overlapping(sources: Sequence[Source], low: str, high: str | None) -> list[Source]:
    """Sources that may hold users in [low, high)."""
    return [s for s in sources if s.high >= low and (high is None or s.low < high)]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Aggregated edges in files, one for each range of users.

    Args:
        folder: Of the files.
        starts: First user id of each range.
        sources: What was read.
    """

    folder: Path
    starts: tuple[str, ...]
    sources: tuple[Source, ...]

    def file(self, number: int) -> Path:
        """Of one range."""
        return self.folder / f"part-{number:05d}.parquet"

    def save(self) -> None:
        """Write down what the files are of."""
        values = {"starts": self.starts, "sources": [asdict(s) for s in self.sources]}
        (self.folder / SOURCES_FILE).write_text(json.dumps(values, indent=1) + "\n")

    @staticmethod
    def open(folder: Path) -> Ledger | None:
        """What `save` wrote; None if there is none."""
        path = folder / SOURCES_FILE
        if not path.is_file():
            return None
        values = json.loads(path.read_text())
        sources = tuple(Source(**source) for source in values["sources"])
        return Ledger(folder=folder, starts=tuple(values["starts"]), sources=sources)

    def added(self, sources: Sequence[Source]) -> list[Source] | None:
        """The sources that this one lacks; None if it cannot be continued: what it read has
        changed, or a month that is new is not after all of those that it holds."""
        new = [source for source in sources if source not in self.sources]
        if len(new) + len(self.sources) != len(sources):
            return None
        last = max(source.last_month for source in self.sources)
        return new if all(source.first_month > last for source in new) else None


def write_ledger(
    folder: Path,
    root: Path,
    sources: Sequence[Source],
    half_life_days: float,
    *,
    earlier: Ledger | None = None,
    range_rows: int = RANGE_ROWS,
) -> Ledger:
    """Aggregate the sources range by range, on top of an earlier ledger if it can be continued.

    Args:
        folder: For the files.
        root: Of the table INTERACTIONS.
        sources: All files of it.
        half_life_days: Of the decayed activity.
        earlier: Of a published graph with the same half-life.
        range_rows: Rows of INTERACTIONS that fit in memory.
    """
    new = None if earlier is None else earlier.added(sources)
    total = sum(source.rows for source in sources)
    # Ranges of a small graph hold too much of a large one.
    if earlier is None or new is None or total > MAX_OVER * range_rows * len(earlier.starts):
        earlier, new = None, list(sources)
    starts = range_starts(root, sources, range_rows) if earlier is None else list(earlier.starts)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder=folder, starts=tuple(starts), sources=tuple(sources))
    for number, (low, high) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
        rows = _rows_between(root, new, low, high)
        check_interactions(rows.lazy())
        before = None if earlier is None else pl.read_parquet(earlier.file(number))
        edges = aggregate(rows, half_life_days, before)
        edges.write_parquet(ledger.file(number), compression="zstd", compression_level=1)
    ledger.save()
    return ledger


def _rows_between(
    root: Path, sources: Sequence[Source], low: str, high: str | None
) -> pl.DataFrame:
    """Rows of the users in [low, high)."""
    user = pl.col("user_id")
    parts = []
    for source in _overlapping(sources, low, high):
        rows = pl.scan_parquet(root / source.name, hive_partitioning=False)
        if source.low < low:
            rows = rows.filter(user >= low)
        if high is not None and source.high >= high:
            rows = rows.filter(user < high)
        parts.append(rows)
    if not parts:
        return pl.DataFrame(INTERACTIONS.empty())
    return pl.concat(parts).collect()
