import io

import numpy as np
import pytest
from PIL import Image

from embed.once import are_near, fill_shared
from embed.phash import colour_levels, perceptual_hash
from embed.tables import IMAGE_EMBEDDINGS
from tests.embed.samples import embedding_rows


def smooth(seed: int, width: int = 400, height: int = 300) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = [rng.integers(0, 255, (n, n, 3), dtype=np.uint8) for n in (4, 12)]
    size = (width, height)
    first, second = [Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in coarse]
    return Image.blend(first, second, 0.4)


def copy(picture: Image.Image, scale: float, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    size = (int(picture.width * scale), int(picture.height * scale))
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def hashes(*pictures: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([perceptual_hash(picture) for picture in pictures], np.uint64),
        np.array([colour_levels(picture) for picture in pictures], np.uint64),
    )


@pytest.mark.parametrize(("scale", "quality"), [(1, 90), (1, 50), (0.5, 85), (0.25, 85), (1.5, 75)])
def test_copies_are_near_and_other_pictures_are_not(scale: float, quality: int) -> None:
    pictures = [smooth(seed) for seed in range(40)]
    phash, colours = hashes(*pictures)
    copied, copied_colours = hashes(*(copy(picture, scale, quality) for picture in pictures))
    assert are_near(phash, copied, colours, copied_colours, 2).mean() >= 0.95
    for apart in range(1, 40):
        assert not are_near(
            phash, np.roll(copied, apart), colours, np.roll(copied_colours, apart), 2
        ).any()


def test_a_recoloured_picture_is_another() -> None:
    picture = smooth(1)
    swapped = Image.merge("RGB", picture.split()[::-1])
    grey = Image.merge("RGB", [picture.convert("L")] * 3)
    (phash, other), (colours, other_colours) = hashes(picture, grey)
    assert (int(phash) ^ int(other)).bit_count() <= 2
    assert not are_near(np.array([phash]), other, np.array([colours]), other_colours, 2)[0]
    black, white = Image.new("RGB", (50, 50)), Image.new("RGB", (50, 50), "white")
    assert (perceptual_hash(black) ^ perceptual_hash(white)).bit_count() <= 1
    assert colour_levels(black) == 0 and colour_levels(white) == 2**60 - 1
    assert colour_levels(swapped) != colour_levels(picture)


def test_the_vector_that_is_shared_is_filled_in() -> None:
    table = fill_shared(embedding_rows([5, 1, 7], {5: 0, 1: 0, 7: 0}, {7: 5, 1: 99}))
    assert [vector[0] for vector in table["embedding"].to_pylist()] == [5, 1, 5]
    IMAGE_EMBEDDINGS.check(table)
