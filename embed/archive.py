"""Images downloaded before: where each url lies in the shards of an archive, and its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from embed.tables import IMAGE_ARCHIVE
from pipelines.contract import ContractError, MissingInputError

PLACE_SCHEMA = {
    "url": pl.String(),
    "file": pl.String(),
    "row_group": pl.Int32(),
    "row": pl.Int32(),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """One row of an archive: its file, row group, and row in that group."""

    file: Path
    row_group: int
    row: int


def archive_files(folder: Path) -> list[Path]:
    """The Parquet shards of an archive, sorted.

    Raises:
        MissingInputError: There is no such folder, or no shard in it.
        ContractError: A shard does not have the columns of `IMAGE_ARCHIVE`.
    """
    files = sorted(folder.rglob("*.parquet"), key=str) if folder.is_dir() else []
    if not files:
        raise MissingInputError(
            f"archive={str(folder)!r}: no Parquet shard there; expected columns "
            f"{', '.join(IMAGE_ARCHIVE.schema.names)}; or leave archive empty and set fetch=true"
        )
    for file in files:
        try:
            IMAGE_ARCHIVE.check(pq.read_schema(file).empty_table())
        except ContractError as error:
            raise ContractError(f"{file}: {error}") from error
    return files


def locate(files: Sequence[Path], urls: pl.Series) -> pl.DataFrame:
    """Where each of `urls` lies: columns url, file, row_group, row.

    A url that lies in several places is taken where the host answered with success, else first.
    Urls that lie nowhere have no row.
    """
    wanted = urls.unique().to_frame("url")
    found = [pl.DataFrame(schema={**PLACE_SCHEMA, "failed": pl.Boolean()})]
    for file in files:
        for row_group, part in enumerate(_answers(file)):
            here = part.with_row_index("row").join(wanted, on="url", how="semi")
            found.append(
                here.select(
                    "url",
                    pl.lit(str(file)).alias("file"),
                    pl.lit(row_group, pl.Int32()).alias("row_group"),
                    pl.col("row").cast(pl.Int32()),
                    (~pl.col("http_status").is_between(200, 299)).alias("failed"),
                )
            )
    order = ["url", "failed", "file", "row_group", "row"]
    return (
        pl.concat(found).sort(order).unique("url", keep="first", maintain_order=True).drop("failed")
    )


def _answers(file: Path) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(file) as parquet:
        for row_group in range(parquet.num_row_groups):
            table = parquet.read_row_group(row_group, columns=["url", "http_status"])
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            yield frame


class ArchiveReader:
    """Reads answers; holds the row group read last, so places in order cost one read a group."""

    def __init__(self) -> None:
        self._held: tuple[Path, int] | None = None
        self._table = IMAGE_ARCHIVE.empty()

    def answer(self, place: Place) -> tuple[int, bytes]:
        """(HTTP status, content) at `place`."""
        if self._held != (place.file, place.row_group):
            with pq.ParquetFile(place.file) as parquet:
                self._table = parquet.read_row_group(
                    place.row_group, columns=["http_status", "content"]
                )
            self._held = (place.file, place.row_group)
        row = self._table.slice(place.row, 1)
        return row["http_status"][0].as_py(), row["content"][0].as_py()
