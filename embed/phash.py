"""A picture -> what tells it from others however it was scaled or compressed."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
KEPT = 8
LEVEL_BITS = 5
NUM_LEVELS = 12  # 2 x 2 quarters x red, green, blue


def fingerprint(picture: Image.Image) -> tuple[int, int]:
    """`perceptual_hash` and `colour_levels` of an RGB picture, which is scaled down but once."""
    small = picture.resize((2 * SIDE, 2 * SIDE), Image.Resampling.BOX)
    return perceptual_hash(small), colour_levels(small)


def perceptual_hash(picture: Image.Image) -> int:
    """64-bit hash, in [0, 2**64), of the low frequencies of brightness.

    Bit 8*row+column is set where that coefficient of the cosine transform of the picture, made 32 x
    32, is above their median.

    Source: C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010.
    """
    small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey_YX = np.asarray(small, dtype=np.float64)
    # Rounded: of a flat picture, all but the mean is zero.
    low_VU = np.round(_cosines() @ grey_YX @ _cosines().T, 3)
    bits = low_VU.ravel() > np.median(low_VU.ravel()[1:])
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def colour_levels(picture: Image.Image) -> int:
    """60-bit number: of each quarter of the picture its mean red, green and blue, in 32 levels.

    The hash knows brightness alone: recoloured pictures share it.
    """
    quarters = picture.convert("RGB").resize((2, 2), Image.Resampling.BOX)
    levels = np.asarray(quarters, dtype=np.uint64).ravel() >> np.uint64(8 - LEVEL_BITS)
    return sum(int(level) << (LEVEL_BITS * i) for i, level in enumerate(levels))


@cache
def _cosines() -> NDArray[np.float64]:
    """The first rows of the type-II cosine transform over `SIDE` samples: [KEPT, SIDE]."""
    k, n = np.arange(KEPT)[:, None], np.arange(SIDE)[None, :]
    return np.asarray(np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE)), dtype=np.float64)
