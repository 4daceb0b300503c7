import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pixels

from embed.tables import IMAGE_ARCHIVE
from embed.tiny_clip.pictures import Picture
from orchestration.sample.activity import Image, State
from orchestration.sample.archive import Shard, body, write_shard

PICTURE = Picture(palette="ocean", subject="waves", treatment="flat", composition="framed")


def _body(state: State, number: int = 5, drawn_as: int = 5) -> bytes:
    return body(Image(number, PICTURE, state, drawn_as), seed=0, size=64, quality=85)


def _pixels(data: bytes, side: int = 32) -> np.ndarray:
    return np.asarray(Pixels.open(io.BytesIO(data)).resize((side, side)), dtype=float)


def test_an_image_is_a_jpeg_of_the_size() -> None:
    picture = Pixels.open(io.BytesIO(_body(State.OK)))
    assert (picture.format, picture.size, picture.mode) == ("JPEG", (64, 64), "RGB")


def test_strokes_depend_on_the_image_number() -> None:
    assert _body(State.OK) == _body(State.OK) != _body(State.OK, number=6, drawn_as=6)


def test_a_near_duplicate_has_other_bytes_and_looks_alike() -> None:
    original, other = _body(State.OK), _body(State.OK, 6, 6)
    near = _body(State.NEAR_DUPLICATE, number=6)
    assert near != original and Pixels.open(io.BytesIO(near)).size == (58, 58)
    distance = np.abs(_pixels(near) - _pixels(original)).mean()
    assert distance < 5 < np.abs(_pixels(other) - _pixels(original)).mean()


def test_broken_bodies() -> None:
    truncated = _body(State.TRUNCATED)
    assert truncated and _body(State.OK).startswith(truncated)
    with pytest.raises(OSError, match="truncated"):
        Pixels.open(io.BytesIO(truncated)).load()
    assert _body(State.HTML).startswith(b"<!DOCTYPE html>")
    assert _body(State.EMPTY) == _body(State.NOT_FOUND) == _body(State.REMOVED) == b""


def test_a_shard_has_the_archive_contract(tmp_path: Path) -> None:
    states = [State.OK, State.NOT_FOUND, State.REMOVED, State.EMPTY, State.HTML]
    images = [(f"https://i.redd.it/{n}.jpg", Image(n, PICTURE, s, n)) for n, s in enumerate(states)]
    shard = Shard(seed=0, size=40, quality=80, images=images, part="part-0", folder=tmp_path)
    assert write_shard(shard) == 5
    table = IMAGE_ARCHIVE.check(pq.read_table(tmp_path / "part-0.parquet"))
    assert table["http_status"].to_pylist() == [200, 404, 302, 200, 200]
    assert table["url"].to_pylist() == [url for url, _ in images]
