"""MEDIA, archives and the table before -> distinct images and where each lies, out of core.

Images meet what is known of them by their id or by their url, a bucket at a time, so memory does
not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from embed.archive import ANSWER_SCHEMA, PLACE_SCHEMA, answers, best
from embed.bodies import HELD_SCHEMA
from embed.buckets import Buckets, gathered, hashed, num_buckets

KEPT_SCHEMA = pl.Schema({"image_id": pl.String(), "kept_file": pl.String(), "kept_row": pl.Int64()})
POSTED_SCHEMA = pl.Schema(
    {"image_id": pl.String(), "created_utc": pl.Int64(), "is_new": pl.Boolean()}
)
IMAGE_SCHEMA = {"image_id": pl.String(), "url": pl.String(), "created_utc": pl.Int64()}
_PLACES = {name: dtype for name, dtype in PLACE_SCHEMA.items() if name != "url"}
ROW_SCHEMA = pl.Schema({"url": pl.String(), **KEPT_SCHEMA, **_PLACES, **HELD_SCHEMA})


@dataclass(frozen=True, kw_only=True)
class PlacedImages:
    """Distinct images.

    Args:
        rows: `ROW_SCHEMA`: where the bytes of each lie, and where its row lay before.
        posted: `POSTED_SCHEMA`, by `hashed("image_id", len(posted))`: when each was posted first,
            and whether it has no row from before.
        damaged: Shards of archives that cannot be read to their end: path and what is wrong.
    """

    rows: Buckets
    posted: Buckets
    damaged: dict[str, str]


def place_images(
    media: ds.Dataset,
    published: Iterable[pl.DataFrame],
    archived: Sequence[Path],
    kept: Sequence[Path],
    folder: Path,
) -> PlacedImages:
    """Each image of MEDIA once, and what is known of it.

    Args:
        media: Columns of MEDIA.
        published: `KEPT_SCHEMA`.
        archived: Shards of the archive.
        kept: Shards of answers kept by earlier runs, newest first. They grow while a run is under
            way, so they decide neither the order nor the hash of its shards.
        folder: Of buckets.
    """
    num = num_buckets(media.count_rows())
    damaged: dict[str, str] = {}
    by_id, posted = images_by_id(media, published, num, folder)
    by_url = Buckets(folder / "by_url", by_id.schema, num)
    for images in by_id:
        by_url.add(images, hashed("url", num))
    by_id.remove()
    places = [
        _by_url(answers(files, damaged), num, folder / name)
        for name, files in (("archived", archived), ("kept", kept))
    ]
    rows = Buckets(folder / "rows", ROW_SCHEMA, num)
    for number, images in enumerate(by_url):
        found, held = (best(place[number]) for place in places)
        held = held.rename({name: f"held_{name}" for name in _PLACES})
        placed = images.join(found, on="url", how="left").join(held, on="url", how="left")
        rows.add(placed, pl.lit(number))
    for done in (by_url, *places):
        done.remove()
    return PlacedImages(rows=rows, posted=posted, damaged=damaged)


def images_by_id(
    media: ds.Dataset, published: Iterable[pl.DataFrame], num: int, folder: Path
) -> tuple[Buckets, Buckets]:
    """Distinct images with where their row lay before, and `PlacedImages.posted`."""
    shown = Buckets(folder / "shown", IMAGE_SCHEMA, num)
    for rows in gathered(_frames(media, list(IMAGE_SCHEMA))):
        shown.add(distinct_images(rows), hashed("image_id", num))
    made = Buckets(folder / "made", KEPT_SCHEMA, num)
    for rows in gathered(published):
        made.add(rows, hashed("image_id", num))
    images = Buckets(folder / "images", {**KEPT_SCHEMA, "url": pl.String()}, num)
    posted = Buckets(folder / "posted", POSTED_SCHEMA, num)
    for number, rows in enumerate(shown):
        known = distinct_images(rows).join(made[number], on="image_id", how="left")
        images.add(known, pl.lit(number))
        posted.add(known.with_columns(is_new=pl.col("kept_file").is_null()), pl.lit(number))
    for done in (shown, made):
        done.remove()
    return images, posted


def distinct_images(media: pl.DataFrame) -> pl.DataFrame:
    """One row an image, sorted: image_id, url (the least, should urls share an id), created_utc
    (of its first posting)."""
    first = media.group_by("image_id").agg(pl.col("url").min(), pl.col("created_utc").min())
    return first.sort("image_id")


def _by_url(found: Iterable[pl.DataFrame], num: int, folder: Path) -> Buckets:
    buckets = Buckets(folder, ANSWER_SCHEMA, num)
    for rows in gathered(found):
        buckets.add(rows, hashed("url", num))
    return buckets


def _frames(table: ds.Dataset, columns: list[str]) -> Iterator[pl.DataFrame]:
    # One file after the other: a scan of the dataset reads ahead, by more the more files there are.
    for file in table.files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(columns=columns):
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                yield frame
