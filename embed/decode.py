"""Untrusted bytes -> an upright RGB picture, its size and perceptual hash, or an error class."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from embed.outcomes import Outcome
from embed.phash import fingerprint

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF", b"BM")
# What Pillow's readers of the formats above are seen to raise on damaged files.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    RuntimeError, struct.error, zlib.error, MemoryError,
)  # fmt: skip
# Longer pictures are cut to their middle: what a model sees of them is a square of that middle, and
# a strip of 1 x 60,000 px would else be enlarged to gigabytes on its way there.
MAX_ASPECT = 8
ORIENTATION = 0x0112
# EXIF 2.3, 4.6.4 A: what turns a picture upright, by its orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THE_SIDE = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture and what is recorded of it.

    Args:
        picture: RGB, upright, first frame, maybe reduced while decoding.
        width, height: Pixels of the upright original.
        phash, colours: What tells it from others (`embed.phash`).
    """

    picture: Image.Image
    width: int
    height: int
    phash: int
    colours: int


def decode(body: bytes, max_pixels: int, target_px: int) -> Decoded | Outcome:
    """The picture in `body`, reduced while it is decoded as far as its format and `target_px` let.

    Args:
        body: Untrusted bytes.
        max_pixels: Pictures that declare more are refused before any pixel is decoded.
        target_px: Side of what the model takes; both sides of the picture stay at least as long.

    Returns:
        `Decoded`, or `EMPTY`, `NOT_IMAGE`, `TOO_MANY_PIXELS`, `TRUNCATED` or `CORRUPT`.
    """
    if not body:
        return Outcome.EMPTY
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > max_pixels:
                return Outcome.TOO_MANY_PIXELS
            if opened.format in {"JPEG", "MPO"}:  # MPO: with further pictures behind it.
                opened.draft("RGB", (target_px, target_px))
            opened.load()
            orientation = _orientation(opened)
            picture = _trim(_reduced(to_rgb(opened), target_px))
            if orientation in _TURNS:
                picture = picture.transpose(_TURNS[orientation])
            if orientation in _ON_THE_SIDE:
                width, height = height, width
    except Image.DecompressionBombError:
        return Outcome.TOO_MANY_PIXELS
    except UnidentifiedImageError:
        return Outcome.CORRUPT if body.startswith(_MAGIC) else Outcome.NOT_IMAGE
    except _DAMAGE as error:
        return Outcome.TRUNCATED if _says_truncated(error) else Outcome.CORRUPT
    phash, colours = fingerprint(picture)
    return Decoded(picture=picture, width=width, height=height, phash=phash, colours=colours)


def _orientation(opened: Image.Image) -> int:
    """Of EXIF; 1, upright, where that is damaged: the picture need not be."""
    try:
        return int(opened.getexif().get(ORIENTATION, 1))
    except _DAMAGE:
        return 1


def to_rgb(picture: Image.Image) -> Image.Image:
    """The picture as 8-bit RGB: 16-bit scaled, transparency laid on white, CMYK converted."""
    if picture.mode.startswith("I"):
        wide_YX = np.asarray(picture).astype(np.int64)
        return Image.fromarray((wide_YX.clip(0, 65_535) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, clear).convert("RGB")
    return picture.convert("RGB")


def _trim(picture: Image.Image) -> Image.Image:
    """The middle of a picture longer than `MAX_ASPECT` times its breadth, else the picture."""
    width, height = picture.size
    limit = MAX_ASPECT * min(width, height)
    if max(width, height) <= limit:
        return picture
    left, top = max(0, (width - limit) // 2), max(0, (height - limit) // 2)
    return picture.crop((left, top, left + min(width, limit), top + min(height, limit)))


def _reduced(picture: Image.Image, target_px: int) -> Image.Image:
    """Averaged over squares of pixels to no less than twice `target_px`, if larger than that."""
    factor = min(picture.size) // (2 * target_px)
    return picture.reduce(factor) if factor > 1 else picture


def _says_truncated(error: Exception) -> bool:
    # Pillow tells a short file from a damaged one in words only.
    text = str(error).lower()
    return "truncated" in text or isinstance(error, EOFError)
