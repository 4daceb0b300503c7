import io
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from PIL import Image

from embed.archive import archive_files
from embed.bodies import Sources
from embed.clip import Clip, load_clip
from embed.fetch import FetchLimits
from embed.hosts import Hosts
from embed.tables import IMAGE_EMBEDDINGS
from embed.worker import WorkerSettings, ahead, embed_rows
from tests.embed.loopback import reply, serve
from tests.embed.samples import id_of, jpeg, planned_rows, url_of, write_archive

SETTINGS = WorkerSettings(
    sources=Sources(fetch=False, limits=FetchLimits(), hosts=Hosts()),
    max_pixels=10**6,
    batch_images=4,
    threads=2,
)


def rows_for(urls: list[str], archive: Path | None) -> pl.DataFrame:
    """Planned rows, in the order of `urls`."""
    media = {"image_id": [id_of(i) for i in range(len(urls))], "url": urls, "created_utc": 0}
    archived = archive_files(archive) if archive else []
    with TemporaryDirectory() as folder:
        return planned_rows(pl.DataFrame(media), archived, Path(folder)).sort("image_id")


def test_every_image_has_a_row_in_order_with_its_class(tmp_path: Path) -> None:
    good, html = jpeg(0), b"<html>gone</html>"
    write_archive(
        tmp_path,
        {
            url_of(0): (200, good),
            url_of(1): (404, b""),
            url_of(2): (200, html),
            url_of(3): (200, good[: len(good) // 2]),
            url_of(4): (200, b""),
            url_of(6): (200, jpeg(6, size=96)),
        },
    )
    clip = load_clip("tiny")
    table = embed_rows(rows_for([url_of(i) for i in range(7)], tmp_path), clip, SETTINGS)
    IMAGE_EMBEDDINGS.check(table)
    assert table["image_id"].to_pylist() == [id_of(i) for i in range(7)]
    assert table["status"].to_pylist() == [
        "ok", "not_found", "not_image", "truncated", "empty", "not_archived", "ok",
    ]  # fmt: skip
    assert table["width"].to_pylist() == [80, None, None, None, None, None, 96]
    assert [any(vector) for vector in table["embedding"].to_pylist()] == [
        status == "ok" for status in table["status"].to_pylist()
    ]


def test_an_embedding_is_the_clips_own_of_the_picture(tmp_path: Path) -> None:
    write_archive(tmp_path, {url_of(i): (200, jpeg(i)) for i in range(5)})
    clip = load_clip("tiny")
    table = embed_rows(rows_for([url_of(i) for i in range(5)], tmp_path), clip, SETTINGS)
    found_ND = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    pictures = [Image.open(io.BytesIO(jpeg(i))) for i in range(5)]
    np.testing.assert_allclose(found_ND, clip.encode_images(pictures), atol=2e-3)


def test_what_the_archive_lacks_is_fetched_if_told_to(tmp_path: Path) -> None:
    with serve() as server:
        server.answers |= {f"/{i}.jpg": reply(content=jpeg(i)) for i in (1, 2)}
        write_archive(tmp_path, {url_of(0): (200, jpeg(0))})
        urls = [url_of(0), *(f"http://{server.host}/{i}.jpg" for i in (1, 2, 3))]
        settings = WorkerSettings(
            sources=Sources(
                fetch=True,
                limits=FetchLimits(backoff_s=0.01, allowed_private=frozenset({server.host})),
                hosts=Hosts(),
            ),
            max_pixels=10**6,
            batch_images=2,
            threads=2,
        )
        table = embed_rows(rows_for(urls, tmp_path), load_clip("tiny"), settings)
        archived = embed_rows(rows_for(urls, tmp_path), load_clip("tiny"), SETTINGS)
    assert table["status"].to_pylist() == ["ok", "ok", "ok", "not_found"]
    assert archived["status"].to_pylist() == ["ok", *["not_archived"] * 3]
    assert table["embedding"][0] == archived["embedding"][0]


def test_batches_made_ahead_keep_their_order_and_raise_their_error() -> None:
    assert list(ahead(i for i in range(5))) == [0, 1, 2, 3, 4]

    def failing() -> Generator[int]:
        yield 1
        raise OSError("disk gone")

    seen = []
    with pytest.raises(OSError, match="disk gone"):
        for item in ahead(failing()):
            seen.append(item)
    assert seen == [1]


def test_leaving_early_closes_the_source() -> None:
    closed = []

    def source() -> Generator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    batches = ahead(source())
    assert next(iter(batches)) == 0
    batches.close()
    assert closed == [True]


def test_the_same_pixels_are_encoded_once_and_share_the_vector(tmp_path: Path) -> None:
    contents = [jpeg(1), jpeg(0), jpeg(2), jpeg(0), jpeg(0), b"none", jpeg(3), jpeg(1)]
    write_archive(tmp_path, {url_of(i): (200, c) for i, c in enumerate(contents)})
    rows = rows_for([url_of(i) for i in range(len(contents))], tmp_path)
    clip = load_clip("tiny")
    encoded: list[int] = []

    class Counting:
        dim, image_px, preprocess = clip.dim, clip.image_px, staticmethod(clip.preprocess)

        def __getattr__(self, name: str) -> Any:
            return getattr(clip, name)

        def launch(self, pixels: Any) -> Any:
            encoded.append(len(pixels))
            return clip.launch(pixels)

    table = embed_rows(rows, cast(Clip, Counting()), SETTINGS)
    shared = [with_ and int(with_, 16) for with_ in table["shared_with"].to_pylist()]
    assert shared == [None, None, None, 1, 1, None, None, 0]
    assert sum(encoded) == 4
    vectors = table["embedding"].to_pylist()
    assert vectors[3] == vectors[4] == vectors[1] and vectors[7] == vectors[0]
    alone = embed_rows(rows, clip, replace(SETTINGS, encode_once=False))
    assert alone["shared_with"].null_count == len(contents)
    assert alone["embedding"][6].as_py() == vectors[6]


def test_rows_that_are_kept_are_written_as_the_bytes_that_they_were(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", {url_of(i): (200, jpeg(i % 4)) for i in range(9)})
    rows, clip = rows_for([url_of(i) for i in range(10)], tmp_path / "archive"), load_clip("tiny")
    first = IMAGE_EMBEDDINGS.write(tmp_path, embed_rows(rows, clip, SETTINGS), "a", {"m": "1"})
    for new in ([], [9], [2, 3, 9]):
        kept = pl.lit(str(first)).alias("kept_file"), pl.int_range(pl.len()).alias("kept_row")
        is_new = pl.col("image_id").is_in([id_of(i) for i in new])
        again = rows.with_columns(*kept).with_columns(
            pl.when(~is_new).then(pl.col("kept_file")).alias("kept_file")
        )
        table = embed_rows(again, clip, SETTINGS)
        assert (
            IMAGE_EMBEDDINGS.write(tmp_path, table, "b", {"m": "1"}).read_bytes()
            == first.read_bytes()
        )
