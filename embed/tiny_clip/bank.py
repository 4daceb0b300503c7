"""Pictures of the grammar as arrays: the bank that training draws from and the held-out pictures.

Training meets what the pipeline will meet: pictures drawn at several sizes, most of them through a
JPEG round trip, reduced to the model's size the way open_clip's preprocess reduces them.
"""

import io
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embed.tiny_clip.pictures import FACETS, Picture, draw

MODEL_SIZE = 64
HELD_OUT_SHARE = 0.1
_HELD_OUT_SEED = 20_240_601
# (size drawn at, share of the bank): the sample world draws at 160 px, smaller sizes are cheaper.
_SIZES = ((64, 0.6), (96, 0.25), (160, 0.15))


@dataclass(frozen=True, kw_only=True)
class Bank:
    """`pixels` uint8 [N, 64, 64, 3] and `values` int64 [N, 4], indices into each facet."""

    pixels: NDArray[np.uint8]
    values: NDArray[np.int64]


def held_out_triples() -> frozenset[tuple[str, str, str]]:
    """The fixed tenth of all (palette, subject, treatment) triples that training never sees."""
    triples = list(itertools.product(FACETS["palette"], FACETS["subject"], FACETS["treatment"]))
    rng = np.random.default_rng(_HELD_OUT_SEED)
    chosen = rng.choice(len(triples), size=round(HELD_OUT_SHARE * len(triples)), replace=False)
    return frozenset(triples[index] for index in chosen)


def picture_of(values_F: NDArray[np.int64]) -> Picture:
    """The combination whose facet values have these indices."""
    palette, subject, treatment, composition = (
        values[int(index)] for values, index in zip(FACETS.values(), values_F, strict=True)
    )
    return Picture(palette=palette, subject=subject, treatment=treatment, composition=composition)


def training_bank(num_pictures: int, seed: int) -> Bank:
    """`num_pictures` pictures of combinations that are not held out, each alike often."""
    held_out = held_out_triples()
    allowed = [values for values in _all_values() if _triple(values) not in held_out]
    rng = np.random.default_rng((seed, 1))
    order = np.concatenate(
        [rng.permutation(len(allowed)) for _ in range(-(-num_pictures // len(allowed)))]
    )
    values_NF = np.array(allowed, dtype=np.int64)[order[:num_pictures]]
    sizes, shares = zip(*_SIZES, strict=True)
    size_N = rng.choice(sizes, size=num_pictures, p=shares)
    pixels_NYXC = np.empty((num_pictures, MODEL_SIZE, MODEL_SIZE, 3), dtype=np.uint8)
    for index in range(num_pictures):
        picture = draw(picture_of(values_NF[index]), rng, int(size_N[index]))
        if rng.random() < 0.65:
            picture = jpeg_round_trip(picture, int(rng.integers(72, 96)))
        pixels_NYXC[index] = reduce(picture)
    return Bank(pixels=pixels_NYXC, values=values_NF)


def held_out_values() -> NDArray[np.int64]:
    """Every held-out triple in every composition, int64 [N, 4] in a fixed order."""
    held_out = held_out_triples()
    return np.array(
        [values for values in _all_values() if _triple(values) in held_out], dtype=np.int64
    )


def jpeg_round_trip(picture: Image.Image, quality: int) -> Image.Image:
    """The picture after being saved and opened as JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as opened:
        return opened.convert("RGB")


def reduce(picture: Image.Image) -> NDArray[np.uint8]:
    """The picture at the model's size, uint8 [64, 64, 3], as open_clip's preprocess reduces it."""
    if picture.size != (MODEL_SIZE, MODEL_SIZE):
        picture = picture.resize((MODEL_SIZE, MODEL_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _all_values() -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(len(values)) for values in FACETS.values())))


def _triple(values: tuple[int, ...]) -> tuple[str, str, str]:
    palette, subject, treatment = (FACETS[f][v] for f, v in zip(FACETS, values[:3], strict=False))
    return palette, subject, treatment
