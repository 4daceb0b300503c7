"""Zero-shot accuracy of a tiny CLIP package, loaded by open_clip, on the held-out combinations.

`python -m embed.tiny_clip.evaluate` prints the accuracies of the shipped weights.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embed.clip import load_clip, unit_rows
from embed.tiny_clip.bank import held_out_values, jpeg_round_trip, picture_of
from embed.tiny_clip.captions import prompts
from embed.tiny_clip.package import SHIPPED
from embed.tiny_clip.pictures import FACETS, draw

Accuracies = dict[str, float]
_PICTURE_SEED = 7
_BATCH = 256


def held_out_pictures(copies: int, size: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """`copies` JPEG-worn drawings of every held-out combination, and values int64 [N, 4]."""
    values_NF = np.repeat(held_out_values(), copies, axis=0)
    pictures = []
    for index, values_F in enumerate(values_NF):
        rng = np.random.default_rng((_PICTURE_SEED, size, index))
        pictures.append(jpeg_round_trip(draw(picture_of(values_F), rng, size), 88))
    return pictures, values_NF


def zero_shot_accuracy(folder: Path = SHIPPED, copies: int = 4, size: int = 160) -> Accuracies:
    """Top-1 share by facet: the value whose prompts' mean is nearest to each held-out picture.

    Args:
        folder: A package as `embed.tiny_clip.package` writes it.
        copies: Drawings per held-out combination.
        size: Side in pixels at which the pictures are drawn before preprocessing.
    """
    clip = load_clip(f"local-dir:{folder}")
    pictures, values_NF = held_out_pictures(copies, size)
    image_ND = np.concatenate(
        [clip.encode_images(pictures[at : at + _BATCH]) for at in range(0, len(pictures), _BATCH)]
    )
    accuracies: Accuracies = {}
    for column, (facet, values) in enumerate(FACETS.items()):
        means = [clip.encode_texts(prompts(facet, value)).mean(axis=0) for value in values]
        guess_N = (image_ND @ unit_rows(np.stack(means)).T).argmax(axis=1)
        accuracies[facet] = round(float((guess_N == values_NF[:, column]).mean()), 4)
    return accuracies


def main() -> None:
    """Print the accuracies of one package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=SHIPPED)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--size", type=int, default=160)
    arguments = parser.parse_args()
    print(json.dumps(zero_shot_accuracy(arguments.package, arguments.copies, arguments.size)))


if __name__ == "__main__":
    main()
