"""Parsed rows on their way to tables: sorted by id on scratch disk, read back by range of ids.

A month does not fit into memory, and a shuffle by id would move all of it. Dumps are nearly in
order of id already, so each worker writes what it has parsed in sorted files; then ranges of ids
are cut so that each fills one file of the table (`plan`), and each is merged on its own (`merged`).
Memory is that of one row group, however long the month.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.dumps import Kind
from pipelines.frames import mapped, write_scratch
from pipelines.rows import Tally, winners

# Rows gathered before they are sorted and written: the more, the fewer files a merge must open.
SPILL_BYTES = 96 << 20
# A row group of a table, and a file of it, before compression (about 2.5 to 1): 256 MB on disk.
ROW_GROUP_BYTES = 64 << 20
FILE_BYTES = 640 << 20
# Files of a smaller month, which are written side by side: none below 128 MB on disk, or, where the
# month itself is, none below a row group.
MIN_FILES, MIN_FILE_BYTES = 4, 320 << 20
# Ids are counted in buckets of 2^16: those of a busy month hold 20 MB of rows each.
_BUCKET_BITS = 16
_ROW_BYTES = 64
_FILE_NAME = "{:05}-{:06}.arrow"


@dataclass(frozen=True)
class Spill:
    """One file of parsed rows, sorted by id.

    Args:
        path: Where it lies.
        kind: RS or RC.
        sizes: bucket (id >> 16, uint64), num_bytes (int64): how much of each.
    """

    path: str
    kind: Kind
    sizes: pl.DataFrame


@dataclass(frozen=True)
class Part:
    """What one file of a table is made of.

    Args:
        kind: RS or RC.
        number: Of the file.
        row_groups: Ranges of ids (first, last), both within.
        paths: The spills that hold any of them.
    """

    kind: Kind
    number: int
    row_groups: tuple[tuple[int, int], ...]
    paths: tuple[str, ...]


class Spiller:
    """Gathers the rows of one dump and writes them as spills, in a thread of its own.

    Args:
        folder: Of the spills.
        position: Of the dump; names its files, so that a second attempt replaces the first.
        kind: RS or RC.
    """

    def __init__(self, folder: Path, position: int, kind: Kind) -> None:
        self._folder = folder
        self._position = position
        self._kind = kind
        self._frames: list[pl.DataFrame] = []
        self._num_bytes = 0.0
        self._thread = ThreadPoolExecutor(1)
        self._written: list[Future[Spill]] = []

    def add(self, versions: pl.DataFrame) -> None:
        """Keeps parsed rows, and has those kept so far written if they are many."""
        if versions.height:
            self._frames.append(versions)
            self._num_bytes += versions.estimated_size()
        if self._num_bytes > SPILL_BYTES:
            self._flush()

    def finish(self) -> list[Spill]:
        """Writes what is kept; all spills, once they are there."""
        with self._thread:
            if self._frames:
                self._flush()
            return [spill.result() for spill in self._written]

    def _flush(self) -> None:
        if self._written:
            self._written[-1].result()  # No more than one waits in memory.
        path = self._folder / _FILE_NAME.format(self._position, len(self._written))
        self._written.append(self._thread.submit(self._write, self._frames, path))
        self._frames, self._num_bytes = [], 0.0

    def _write(self, frames: list[pl.DataFrame], path: Path) -> Spill:
        rows = pl.concat(frames, how="diagonal").sort("id", maintain_order=True)
        frames.clear()
        temporary = path.with_suffix(".tmp")
        write_scratch(rows, temporary)
        temporary.rename(path)
        return Spill(str(path), self._kind, _sizes(rows))


def _sizes(rows: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name, dtype in rows.schema.items() if dtype == pl.String()]
    length = pl.sum_horizontal(pl.col(texts).str.len_bytes().fill_null(0)) + _ROW_BYTES
    return (
        rows.lazy()
        .select((pl.col("id") // (1 << _BUCKET_BITS)).alias("bucket"), length.alias("num_bytes"))
        .group_by("bucket")
        .agg(pl.col("num_bytes").cast(pl.Int64()).sum())
        .sort("bucket")
        .collect()
    )


def plan(spills: Iterable[Spill]) -> list[Part]:
    """The files of the tables, by kind and id; the same however the rows are spread over spills."""
    parts: list[Part] = []
    by_kind: dict[Kind, list[Spill]] = {}
    for spill in spills:
        by_kind.setdefault(spill.kind, []).append(spill)
    for kind, found in sorted(by_kind.items()):
        sizes = pl.concat([s.sizes for s in found]).group_by("bucket").sum().sort("bucket")
        bounds = [(s.path, int(s.sizes["bucket"][0]), int(s.sizes["bucket"][-1])) for s in found]
        total = int(sizes["num_bytes"].sum())
        least = MIN_FILE_BYTES if total >= MIN_FILE_BYTES else ROW_GROUP_BYTES
        num_files = max(-(-total // FILE_BYTES), min(MIN_FILES, total // least))
        done = sizes["num_bytes"].cum_sum() - sizes["num_bytes"]
        file = (done * num_files // total).alias("file")
        in_file = sizes.with_columns(file, done.alias("done"))
        for (number,), buckets in in_file.partition_by(
            "file", as_dict=True, maintain_order=True
        ).items():
            low, high = int(buckets["bucket"][0]), int(buckets["bucket"][-1])
            paths = sorted(p for p, first, last in bounds if first <= high and last >= low)
            parts.append(Part(kind, int(number), tuple(_row_groups(buckets)), tuple(paths)))
    return parts


def _row_groups(buckets: pl.DataFrame) -> Iterator[tuple[int, int]]:
    done = buckets["done"].to_numpy() - buckets["done"][0]
    starts = np.flatnonzero(np.diff(done // ROW_GROUP_BYTES, prepend=-1))
    numbers = buckets["bucket"].to_list()
    for begin, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        yield numbers[begin] << _BUCKET_BITS, ((numbers[end - 1] + 1) << _BUCKET_BITS) - 1


def merged(part: Part) -> Iterator[tuple[pl.DataFrame, Tally]]:
    """Row groups of a part: the versions that count, in order of id, and what became of others."""
    spills = [mapped(path) for path in part.paths]
    for first, last in part.row_groups:
        slices = [_slice(rows, first, last) for rows in spills]
        yield winners(pl.concat([rows for rows in slices if rows.height], how="diagonal"))


def _slice(rows: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    ids = rows["id"]
    begin, end = ids.search_sorted(first, side="left"), ids.search_sorted(last, side="right")
    return rows.slice(begin, end - begin)
