"""JPEGs that cost what photos cost to decode: made from a seed, in the sizes that people post."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


@dataclass(frozen=True, kw_only=True)
class SizeClass:
    """Photos of one size.

    Args:
        name: As printed.
        size: Width and height in pixels; every other one is turned.
        share: Of all photos.
    """

    name: str
    size: tuple[int, int]
    share: float


SIZE_CLASSES = (
    SizeClass(name="320", size=(320, 240), share=0.10),
    SizeClass(name="640", size=(640, 480), share=0.25),
    SizeClass(name="1080", size=(1080, 1350), share=0.35),
    SizeClass(name="1920", size=(1920, 1080), share=0.20),
    SizeClass(name="4000", size=(4000, 3000), share=0.10),
)
NAMES = tuple(size_class.name for size_class in SIZE_CLASSES)
# As `jpeg_bytes` writes them, about 2 bits a pixel: what cameras and hosts of pictures write.
QUALITIES = (75, 82, 88, 92)
NUM_SHAPES = 24
NOISE_TILE = 512
# Falls off as the spectra of photos do: amplitude by 1/f (Field 1987).
OCTAVE_GAIN = 1.8


def photos(num: int, seed: int) -> dict[str, list[bytes]]:
    """At least one distinct JPEG of each size class, `num` by share, made on all processors."""
    wanted = [
        (size_class, index)
        for size_class in SIZE_CLASSES
        for index in range(max(1, round(num * size_class.share)))
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(partial(_photo, seed=seed), wanted, chunksize=2))
    found: dict[str, list[bytes]] = {size_class.name: [] for size_class in SIZE_CLASSES}
    for (size_class, _), content in zip(wanted, made, strict=True):
        found[size_class.name].append(content)
    return found


def mixed(
    made: Mapping[str, Sequence[bytes]],
    num: int,
    seed: int,
    names: Sequence[str] = NAMES,
) -> Iterator[bytes]:
    """`num` JPEGs in random order, no two of the same bytes.

    Args:
        made: From `photos`.
        num: JPEGs.
        seed: Of the order.
        names: Size classes to take, each by its share.
    """
    rng = np.random.default_rng(seed)
    share_S = np.array(
        [size_class.share for size_class in SIZE_CLASSES if size_class.name in names]
    )
    for index, name in enumerate(rng.choice(list(names), num, p=share_S / share_S.sum())):
        chosen = made[str(name)]
        yield with_comment(chosen[index % len(chosen)], f"photo {index}")


def with_comment(jpeg: bytes, comment: str) -> bytes:
    """The same picture in other bytes: a comment segment after the first marker."""
    text = comment.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def _photo(wanted: tuple[SizeClass, int], seed: int) -> bytes:
    size_class, index = wanted
    rng = np.random.default_rng([seed, size_class.size[0], index])
    width, height = size_class.size if index % 2 == 0 else size_class.size[::-1]
    return jpeg_bytes(scene(rng, width, height), QUALITIES[index % len(QUALITIES)])


def jpeg_bytes(picture: Image.Image, quality: int) -> bytes:
    """The picture as a baseline JPEG with halved chroma, as cameras write them."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def scene(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Textured shapes with sharp outlines before a textured ground, and the noise of a sensor."""
    # Lenses draw large pictures softer than their pixels; only the noise is as fine as those.
    soft = max(1, min(width, height) // 1200)
    small = (width // soft, height // soft)
    weights_C = rng.uniform(-0.3, 0.3, 3).astype(np.float32)
    grey_YX, tint_YX = _texture(rng, *small), _texture(rng, *small)
    pixels_YXC = rng.uniform(60, 190, 3).astype(np.float32) + 55 * grey_YX[:, :, None]
    pixels_YXC += 40 * tint_YX[:, :, None] * weights_C
    picture = Image.fromarray(pixels_YXC.clip(0, 255).astype(np.uint8))
    shapes, mask = Image.new("RGB", small), Image.new("L", small)
    draw_shapes(rng, ImageDraw.Draw(shapes), ImageDraw.Draw(mask), *small)
    picture = Image.composite(Image.blend(picture, shapes, 0.5), picture, mask)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    tile_YX1 = rng.normal(0, 4.0, (NOISE_TILE, NOISE_TILE, 1)).round().astype(np.int16)
    repeats = (-(-height // NOISE_TILE), -(-width // NOISE_TILE), 1)
    noisy_YXC = np.asarray(picture, np.int16) + np.tile(tile_YX1, repeats)[:height, :width]
    return Image.fromarray(noisy_YXC.clip(0, 255).astype(np.uint8))


def draw_shapes(
    rng: np.random.Generator,
    shapes: ImageDraw.ImageDraw,
    mask: ImageDraw.ImageDraw,
    width: int,
    height: int,
) -> None:
    """Ellipses of random place, size and colour, on a picture and on its mask."""
    for _ in range(NUM_SHAPES):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        a, b = rng.uniform(0.02, 0.25, 2) * min(width, height)
        box = (x - a, y - b, x + a, y + b)
        red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
        shapes.ellipse(box, fill=(red, green, blue))
        mask.ellipse(box, fill=255)


def _texture(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Random field [height, width] of unit deviation whose amplitude falls off by frequency."""
    total_YX = np.zeros((height, width), np.float32)
    cells, gain = 2, 1.0
    while cells < min(width, height):
        grid = rng.normal(0, gain, (cells * height // width + 2, cells + 2)).astype(np.float32)
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total_YX += np.asarray(smooth)
        cells, gain = cells * 2, gain / OCTAVE_GAIN
    return total_YX / total_YX.std()
