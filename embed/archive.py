"""Images downloaded before: where each url lies in the shards of an archive, and its bytes.

A shard is a Parquet file of `IMAGE_ARCHIVE`, or a tar (`embed.tars`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from embed.answers import Fetched, judge_archived
from embed.outcomes import LIMITED, TRANSIENT, Outcome
from embed.tables import IMAGE_ARCHIVE, KEPT_ANSWERS
from embed.tars import DamagedShardError, sibling_table, tar_content, tar_places
from pipelines.contract import ContractError, MissingInputError

PLACE_SCHEMA = {
    "url": pl.String(),
    "file": pl.String(),
    "row_group": pl.Int32(),
    "row": pl.Int32(),
}
# `failed`: the host did not answer with success; `order`: of the shard.
ANSWER_SCHEMA = {**PLACE_SCHEMA, "failed": pl.Boolean(), "order": pl.Int32()}
TAR = ".tar"
HELD_BYTES = 128_000_000
PART_ROWS = 64  # Of a row group larger than that: writers' defaults make groups of a whole shard.
BUFFER_BYTES = 1 << 20
# What a later run asks anew, though it was asked before.
_NOT_SETTLED = sorted(TRANSIENT | LIMITED)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an answer lies: file, row group and row in it; of a tar 0 and the block."""

    file: Path
    row_group: int
    row: int


@dataclass(frozen=True, kw_only=True)
class Located:
    """What an archive holds of some urls.

    Args:
        places: Columns of `PLACE_SCHEMA`, a row for each url that lies there.
        damaged: Shards that cannot be read to their end: path and what is wrong.
    """

    places: pl.DataFrame
    damaged: dict[str, str]


def archive_files(folder: Path) -> list[Path]:
    """The Parquet and tar shards of an archive, sorted.

    Raises:
        MissingInputError: There is no such folder, or no shard in it.
        ContractError: A Parquet shard does not have the columns of `IMAGE_ARCHIVE`.
    """
    tars = set(folder.rglob(f"*{TAR}")) if folder.is_dir() else set()
    described = {sibling_table(tar) for tar in tars}
    tables = set(folder.rglob("*.parquet")) - described if folder.is_dir() else set()
    files = sorted(tars | tables, key=str)
    if not files:
        raise MissingInputError(
            f"archive={str(folder)!r}: no shard there; expected Parquet files with the columns "
            f"{', '.join(IMAGE_ARCHIVE.schema.names)}, or tar files with KEY.jpg beside KEY.json "
            "or KEY.url; or leave archive empty and set fetch=true"
        )
    for file in tables:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowException, OSError):
            continue  # Damaged: found so, and counted, when it is searched.
        try:
            table = KEPT_ANSWERS if "outcome" in schema.names else IMAGE_ARCHIVE
            table.check(schema.empty_table())
        except ContractError as error:
            raise ContractError(f"{file}: {error}") from error
    return files


def locate(files: Sequence[Path], urls: pl.Series) -> pl.DataFrame:
    """Where each of `urls` lies (`Located.places`)."""
    return search(files, urls).places


def search(files: Sequence[Path], urls: pl.Series) -> Located:
    """Where each of `urls` lies (`best`), and which shards are damaged; no row if nowhere."""
    wanted = urls.unique().to_frame("url")
    damaged: dict[str, str] = {}
    found = [part.join(wanted, on="url", how="semi") for part in answers(files, damaged)]
    return Located(
        places=best(pl.concat([pl.DataFrame(schema=ANSWER_SCHEMA), *found])), damaged=damaged
    )


def answers(files: Sequence[Path], damaged: dict[str, str]) -> Iterator[pl.DataFrame]:
    """All answers in shards, part by part: `ANSWER_SCHEMA`.

    Args:
        files: The shards.
        damaged: Takes those that cannot be read to their end, and what is wrong.
    """
    for order, file in enumerate(files):
        place = pl.lit(str(file)).alias("file"), pl.lit(order, pl.Int32()).alias("order")
        try:
            for part in shard_answers(file):
                yield part.with_columns(*place).select(*ANSWER_SCHEMA)
        except (DamagedShardError, pa.ArrowException, OSError) as error:
            damaged[str(file)] = str(error)


def best(found: pl.DataFrame) -> pl.DataFrame:
    """Of each url the place to take it from (`PLACE_SCHEMA`): where the host answered with success,
    else in the first shard."""
    ordered = found.sort("url", "failed", "order", "row_group", "row")
    return ordered.unique("url", keep="first", maintain_order=True).select(*PLACE_SCHEMA)


def shard_answers(file: Path) -> Iterator[pl.DataFrame]:
    """url, row_group, row, and whether it `failed`, of the answers in a shard, part by part.

    Raises:
        DamagedShardError, ArrowException, OSError: It cannot be read any further.
    """
    return _tar_answers(file) if file.suffix == TAR else _parquet_answers(file)


def _tar_answers(file: Path) -> Iterator[pl.DataFrame]:
    for part in tar_places(file):
        yield part.select(
            "url",
            pl.lit(0, pl.Int32()).alias("row_group"),
            pl.col("block").cast(pl.Int32()).alias("row"),
            pl.lit(False).alias("failed"),
        )


def _parquet_answers(file: Path) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(file) as parquet:
        has_outcome = "outcome" in parquet.schema_arrow.names
        columns = ["url", "http_status", *(["outcome"] if has_outcome else [])]
        for row_group in range(parquet.num_row_groups):
            frame = pl.from_arrow(parquet.read_row_group(row_group, columns=columns))
            assert isinstance(frame, pl.DataFrame)
            frame = frame.with_row_index("row")
            if has_outcome:
                frame = frame.filter(~pl.col("outcome").is_in(_NOT_SETTLED))
            yield frame.select(
                "url",
                pl.lit(row_group, pl.Int32()).alias("row_group"),
                pl.col("row").cast(pl.Int32()),
                (~pl.col("http_status").fill_null(0).is_between(200, 299)).alias("failed"),
            )


class ArchiveReader:
    """Reads answers; holds the row groups read last, so places in order cost one read a group, also
    where they go to and fro between the shards of a few months. Of a large group a part is held at
    a time.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Path, int], pa.Table] = OrderedDict()
        self._large: _LargeGroup | None = None

    def answer(self, place: Place) -> tuple[int, bytes]:
        """(HTTP status, content) at `place`.

        Raises:
            DamagedShardError: They cannot be read.
        """
        return self._answer(place)[:2]

    def fetched(self, place: Place, max_bytes: int) -> Fetched:
        """The answer at `place`, judged as a fresh one; `DAMAGED_ARCHIVE` if it is unreadable."""
        try:
            status, content, outcome = self._answer(place, max_bytes)
        except DamagedShardError:
            return Fetched(outcome=Outcome.DAMAGED_ARCHIVE)
        if outcome is not Outcome.OK:
            return Fetched(outcome=outcome, http_status=status)
        return judge_archived(status, content, max_bytes)

    def _answer(self, place: Place, max_bytes: int | None = None) -> tuple[int, bytes, Outcome]:
        """HTTP status, content, and what had become of it when it was kept: OK if none is told."""
        if place.file.suffix == TAR:
            return 200, tar_content(place.file, place.row, max_bytes), Outcome.OK
        row = self._row(place)
        outcome = row["outcome"][0].as_py() if "outcome" in row.column_names else Outcome.OK
        # Others may write null for an answer that never came, or had no body.
        status, content = row["http_status"][0].as_py() or 0, row["content"][0].as_py() or b""
        return status, content, Outcome(outcome)

    def _row(self, place: Place) -> pa.Table:
        try:
            if self._large is not None and self._large.is_of(place):
                return self._large.row(place)
            return self._row_of_held(place)
        except (pa.ArrowException, OSError) as error:
            self._large = None
            raise DamagedShardError(f"{place.file}: {error}") from error

    def _row_of_held(self, place: Place) -> pa.Table:
        group = place.file, place.row_group
        if group not in self._held:
            with pq.ParquetFile(place.file) as parquet:
                if parquet.metadata.row_group(place.row_group).total_byte_size > HELD_BYTES:
                    self._large = _LargeGroup(place)
                    return self._large.row(place)
                columns = _answer_columns(parquet)
                self._held[group] = parquet.read_row_group(place.row_group, columns=columns)
            while len(self._held) > 1 and sum(t.nbytes for t in self._held.values()) > HELD_BYTES:
                self._held.popitem(last=False)
        self._held.move_to_end(group)
        return self._held[group].slice(place.row, 1)


class _LargeGroup:
    """A row group read from its first row on, `PART_ROWS` at a time; anew for an earlier row."""

    def __init__(self, place: Place) -> None:
        self._file, self._number = place.file, place.row_group
        self._start, self._part = 0, pa.table({})
        self._parts = self._read()

    def is_of(self, place: Place) -> bool:
        """Whether the place lies in this group."""
        return (place.file, place.row_group) == (self._file, self._number)

    def row(self, place: Place) -> pa.Table:
        """The answer at the place, as a table of one row."""
        if place.row < self._start:
            self._start, self._part = 0, pa.table({})
            self._parts = self._read()
        while place.row >= self._start + self._part.num_rows:
            self._start += self._part.num_rows
            part = next(self._parts, None)
            if part is None:
                raise OSError(f"row group {self._number} ends before row {place.row}")
            self._part = part
        return self._part.slice(place.row - self._start, 1)

    def _read(self) -> Iterator[pa.Table]:
        with pq.ParquetFile(self._file, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet:
            columns = _answer_columns(parquet)
            for batch in parquet.iter_batches(PART_ROWS, [self._number], columns):
                yield pa.Table.from_batches([batch])


def _answer_columns(parquet: pq.ParquetFile) -> list[str]:
    names = ("http_status", "content", "outcome")
    return [name for name in names if name in parquet.schema_arrow.names]
