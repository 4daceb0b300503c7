from pathlib import Path

import polars as pl
import pyarrow.dataset as ds
import pytest

from embed import buckets
from embed.archive import archive_files, locate
from embed.buckets import in_order
from embed.places import KEPT_SCHEMA, distinct_images, place_images
from embed.shards import ORDER
from tests.embed.samples import id_of, url_of, write_archive

NUM = 500


@pytest.fixture(params=[7, 1 << 18])
def bucket_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many buckets, and one."""
    monkeypatch.setattr(buckets, "BUCKET_ROWS", request.param)
    monkeypatch.setattr(buckets, "SAMPLES_A_BUCKET", 3)


def test_an_image_under_two_urls_is_one_image() -> None:
    media = pl.DataFrame(
        {"image_id": ["b", "a", "b"], "url": ["u2", "u3", "u1"], "created_utc": [5, 6, 7]}
    )
    assert distinct_images(media).rows() == [("a", "u3", 6), ("b", "u1", 5)]


def test_images_meet_their_places_and_their_rows_from_before_whatever_the_buckets(
    tmp_path: Path, bucket_rows: None
) -> None:
    media = pl.DataFrame(
        {
            "image_id": [id_of(i * 7 % NUM) for i in range(2 * NUM)],
            "url": [url_of(i * 7 % NUM) for i in range(2 * NUM)],
            "created_utc": [5 * NUM - i for i in range(2 * NUM)],
        }
    )
    media.write_parquet(tmp_path / "media.parquet", row_group_size=100)
    write_archive(tmp_path / "a", {url_of(i): (200, b"x") for i in range(0, NUM, 2)}, shards=3)
    write_archive(tmp_path / "b", {url_of(i): (404, b"x") for i in range(0, NUM + 9, 3)})
    ids = [id_of(i) for i in range(0, NUM, 5)]
    made = pl.DataFrame({"image_id": ids, "kept_file": "f", "kept_row": range(len(ids))})
    archived, kept = archive_files(tmp_path / "a"), archive_files(tmp_path / "b")
    placed = place_images(
        ds.dataset(tmp_path / "media.parquet"),
        made.cast(KEPT_SCHEMA).iter_slices(9),
        archived,
        kept,
        tmp_path / "work",
    )
    found = list(in_order(placed.rows, ORDER, tmp_path / "ordered"))

    images = distinct_images(media)
    held = locate(kept, images["url"])
    held = held.rename({name: f"held_{name}" for name in ("file", "row_group", "row")})
    expected = images.join(locate(archived, images["url"]), on="url", how="left")
    expected = expected.join(held, on="url", how="left").join(made, on="image_id", how="left")
    expected = expected.sort(ORDER, nulls_last=True)
    rows = pl.concat(found)
    assert rows.equals(expected.select(rows.columns).cast(rows.schema))
    posted = pl.concat(placed.posted).sort("image_id")
    is_new = ~pl.col("image_id").is_in(ids)
    assert posted.equals(images.select("image_id", "created_utc", is_new=is_new))
