"""Pictures a second on one core: ours, and plain Pillow's decode and resize."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg
from PIL import Image

from embed.decode import Decoded, decode
from embed.pixels import to_pixels
from orchestration.bench.photos import SIZE_CLASSES

SIDE = 224
MAX_PIXELS = 100_000_000
ROUNDS = 3


def ours(body: bytes, side: int = SIDE) -> NDArray[np.uint8]:
    """As the step does it: with the size, the hash and all checks, uint8 [side, side, 3]."""
    found = decode(body, MAX_PIXELS, side)
    assert isinstance(found, Decoded), found
    pixels: NDArray[np.uint8] = to_pixels(found.picture, PreprocessCfg(size=side)).numpy()
    return pixels


def plain_pillow(body: bytes) -> NDArray[np.uint8]:
    """Decode all pixels, resize the shorter side with the bicubic filter, cut the middle."""
    picture = Image.open(io.BytesIO(body)).convert("RGB")
    scale = SIDE / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    resized = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (resized.width - SIDE) // 2, (resized.height - SIDE) // 2
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


def decode_speeds(
    made: Mapping[str, Sequence[bytes]], seconds: float
) -> dict[str, dict[str, float]]:
    """By size class: ours_per_s, pil_per_s and ratio, of one thread's processor time.

    Args:
        made: JPEGs by size class.
        seconds: Of each measurement; the best of a few counts.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for name, bodies in made.items():
        fast, plain = (_per_second(work, bodies, seconds) for work in (ours, plain_pillow))
        found[name] = {"ours_per_s": fast, "pil_per_s": plain, "ratio": fast / plain}
    torch.set_num_threads(threads)
    return found


def mixed_per_second(made: Mapping[str, Sequence[bytes]], side: int, seconds: float) -> float:
    """Pictures of all size classes, each by its share, that one core makes ready for a model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    work = partial(ours, side=side)
    took_s = sum(c.share / _per_second(work, made[c.name], seconds) for c in SIZE_CLASSES)
    torch.set_num_threads(threads)
    return 1 / took_s


def _per_second(
    work: Callable[[bytes], NDArray[np.uint8]], bodies: Sequence[bytes], seconds: float
) -> float:
    best = 0.0
    for _ in range(ROUNDS):
        start, times = time.thread_time(), 0
        # Whole passes: qualities differ, and so do their costs.
        while time.thread_time() - start < seconds or times % len(bodies):
            work(bodies[times % len(bodies)])
            times += 1
        best = max(best, times / (time.thread_time() - start))
    return best
