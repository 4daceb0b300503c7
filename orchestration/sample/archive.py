"""The image archive of the sample world: images -> bodies as hosts would send them, in shards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image as Pixels

from embed.tables import IMAGE_ARCHIVE
from embed.tiny_clip.pictures import draw
from orchestration.sample.activity import Image, State

_PAGE = (
    b"<!DOCTYPE html><html><head><title>media</title></head>"
    b"<body><p>Open the app to see this image.</p></body></html>"
)
_HTTP_STATUS = {State.NOT_FOUND: 404, State.REMOVED: 302}
# A near duplicate is what a second upload makes of an image: a little smaller, coarser.
_NEAR_SCALE, _NEAR_QUALITY_LOSS = 0.9, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What one archive shard is made from.

    Args:
        seed, size, quality: Of the world: seed, side in pixels, JPEG quality.
        images: With their canonical urls.
        part: Name of the file without suffix.
        folder: Where it is written.
    """

    seed: int
    size: int
    quality: int
    images: Sequence[tuple[str, Image]]
    part: str
    folder: Path


def write_shard(shard: Shard) -> int:
    """Draw the images of a shard and write it; returns how many."""
    contents = [body(image, shard.seed, shard.size, shard.quality) for _, image in shard.images]
    statuses = [_HTTP_STATUS.get(image.state, 200) for _, image in shard.images]
    batch = pa.table(
        {
            "url": pa.array([url for url, _ in shard.images], pa.string()),
            "http_status": pa.array(statuses, pa.int16()),
            "content": pa.array(contents, pa.binary()),
        }
    )
    IMAGE_ARCHIVE.write(shard.folder, batch, shard.part)
    return len(shard.images)


def body(image: Image, seed: int, size: int, quality: int) -> bytes:
    """What the host answers with: a JPEG, a broken one, a web page, or nothing."""
    match image.state:
        case State.OK:
            return _jpeg(image, seed, size, quality)
        case State.NEAR_DUPLICATE:
            again = max(8, round(size * _NEAR_SCALE))
            return _jpeg(image, seed, size, max(1, quality - _NEAR_QUALITY_LOSS), again)
        case State.TRUNCATED:
            data = _jpeg(image, seed, size, quality)
            return data[: len(data) // 3]
        case State.HTML:
            return _PAGE
    return b""


def _jpeg(image: Image, seed: int, size: int, quality: int, resized: int | None = None) -> bytes:
    picture = draw(image.picture, np.random.default_rng([seed, 4, image.drawn_as]), size)
    if resized is not None:
        picture = picture.resize((resized, resized), Pixels.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()
