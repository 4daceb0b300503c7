"""Photographs that come with libraries of this project, and generated ones, as JPEG."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import sklearn.datasets
from PIL import Image

from orchestration.bench.photos import jpeg_bytes, scene

_FILES = (
    Path(sklearn.datasets.__file__).parent / "images" / "china.jpg",
    Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg",
    Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg",
)
SIZES = ((1080, 1350), (1600, 900), (700, 467))


@cache
def photographs() -> tuple[bytes, ...]:
    """Three photographs, enlarged, and three generated ones, in sizes that people post."""
    rng = np.random.default_rng(0)
    real = [Image.open(file).convert("RGB") for file in _FILES]
    shown = [p.resize(size, Image.Resampling.LANCZOS) for p, size in zip(real, SIZES, strict=True)]
    shown += [scene(rng, *size) for size in SIZES]
    return tuple(jpeg_bytes(picture, 88) for picture in shown)


def opened(body: bytes) -> Image.Image:
    """All pixels of a JPEG, decoded plainly."""
    return Image.open(io.BytesIO(body)).convert("RGB")
