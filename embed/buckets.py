"""Rows that memory does not hold: in buckets on scratch disk, to be used one bucket at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

BUCKET_ROWS = 1 << 18  # What is done to a bucket takes a few hundred MB.
# Rows go from each bucket to each other: a million writes. Beyond 2.7e8 rows buckets grow instead.
MAX_BUCKETS = 1 << 10
GATHERED_BYTES = 1 << 25
SAMPLES_A_BUCKET = 256  # Of keys, to part all rows into ranges that differ by a few percent.


def num_buckets(num_rows: int) -> int:
    """Buckets for so many rows."""
    return min(MAX_BUCKETS, max(1, -(-num_rows // BUCKET_ROWS)))


def hashed(column: str, num: int) -> pl.Expr:
    """The bucket of a row by the value of a column: equal values share one."""
    return pl.col(column).hash() % num


class Buckets:
    """Rows by bucket, in files; iterating gives the rows of each bucket in turn.

    Args:
        folder: Of the files; what it held is removed.
        schema: Columns of all rows.
        num: Buckets.
    """

    def __init__(self, folder: Path, schema: Mapping[str, pl.DataType], num: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self.schema = pl.Schema(schema)
        self.num_rows = 0
        self._num = num

    def __len__(self) -> int:
        return self._num

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return (self[number] for number in range(self._num))

    def __getitem__(self, number: int) -> pl.DataFrame:
        """All rows of a bucket."""
        found = [self.schema.to_frame()]
        path = self._path(number)
        if path.is_file():
            with pa.OSFile(str(path)) as file:
                while file.tell() < file.size():
                    frame = pl.from_arrow(pa.ipc.open_stream(file).read_all())
                    assert isinstance(frame, pl.DataFrame)
                    found.append(frame)
        return pl.concat(found, rechunk=True)

    def add(self, rows: pl.DataFrame, to: pl.Expr) -> None:
        """Append rows, each to the bucket whose number `to` gives."""
        rows = rows.select(pl.col(name).cast(dtype) for name, dtype in self.schema.items()).select(
            pl.all(), to.alias("_bucket")
        )
        self.num_rows += rows.height
        parts = rows.partition_by("_bucket", as_dict=True, include_key=False)
        for (number,), part in parts.items():
            # A stream after the other: so no number of buckets is too many files to hold open.
            table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
            with (
                self._path(number).open("ab") as file,
                pa.ipc.new_stream(file, table.schema) as to_,
            ):
                to_.write_table(table)

    def remove(self) -> None:
        """Delete the files."""
        shutil.rmtree(self._folder)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.arrows"


def gathered(
    frames: Iterable[pl.DataFrame], num_bytes: int = GATHERED_BYTES
) -> Iterator[pl.DataFrame]:
    """The same rows in frames of about `num_bytes`: many small ones would make small writes."""
    held: list[pl.DataFrame] = []
    size = 0
    for frame in frames:
        held.append(frame)
        size += int(frame.estimated_size())
        if size >= num_bytes:
            whole, held, size = pl.concat(held), [], 0
            yield whole
    if held:
        yield pl.concat(held)


def _copied(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with texts of their own: those taken from others hold on to all that those held."""
    copied = pl.from_arrow(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
    assert isinstance(copied, pl.DataFrame)
    return copied


def in_order(source: Buckets, by: Sequence[str], folder: Path) -> Iterator[pl.DataFrame]:
    """All rows in the order of `by`, nulls last, a part of them at a time.

    Args:
        source: Buckets of rows in any order.
        by: Columns that tell any two rows apart.
        folder: For as much again.
    """
    every = max(1, source.num_rows // (len(source) * SAMPLES_A_BUCKET))
    sample = pl.concat(_copied(rows.select(by).gather_every(every)) for rows in source)
    width = max(1, -(-sample.height // len(source)))
    bounds = sample.sort(by, nulls_last=True).gather_every(width, offset=width)
    ranges = Buckets(folder, source.schema, bounds.height + 1)
    for rows in source:
        marked = pl.concat(
            [rows.with_columns(bound=False), bounds.with_columns(bound=True)], how="diagonal"
        )
        marked = marked.sort(by, nulls_last=True).with_columns(range=pl.col("bound").cum_sum())
        row_ranges = marked.filter(~pl.col("bound"))
        ranges.add(row_ranges.drop("range"), to=pl.lit(row_ranges["range"]))
    for rows in ranges:
        yield rows.sort(by, nulls_last=True)
    ranges.remove()
