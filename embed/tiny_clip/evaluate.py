"""Zero-shot accuracy of a tiny CLIP package, loaded by open_clip, on the held-out combinations.

`python -m embed.tiny_clip.evaluate` prints the accuracies of the shipped weights.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from embed.tiny_clip.bank import held_out_values, jpeg_round_trip, picture_of
from embed.tiny_clip.captions import prompts
from embed.tiny_clip.package import CONTEXT_LENGTH, MERGES, SHIPPED
from embed.tiny_clip.pictures import FACETS, draw

Accuracies = dict[str, float]
_PICTURE_SEED = 7


def held_out_pictures(
    copies: int, size: int
) -> tuple[list[Image.Image], np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """`copies` JPEG-worn drawings of every held-out combination, and values int64 [N, 4]."""
    values_NF = np.repeat(held_out_values(), copies, axis=0)
    pictures = []
    for index, values_F in enumerate(values_NF):
        rng = np.random.default_rng((_PICTURE_SEED, size, index))
        pictures.append(jpeg_round_trip(draw(picture_of(values_F), rng, size), 88))
    return pictures, values_NF


def zero_shot(folder: Path, copies: int = 4, size: int = 160) -> Accuracies:
    """Top-1 share a facet: nearest prompt-ensembled text for each held-out picture.

    Args:
        folder: A package as `embed.tiny_clip.package` writes it.
        copies: Drawings per held-out combination.
        size: Side in pixels at which the pictures are drawn before preprocessing.
    """
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(
        name, bpe_path=str(folder / MERGES), context_length=CONTEXT_LENGTH
    )
    model.eval()
    pictures, values_NF = held_out_pictures(copies, size)
    with torch.inference_mode():
        image_ND = torch.cat(
            [
                model.encode_image(
                    torch.stack([preprocess(p) for p in pictures[at : at + 256]]), normalize=True
                )
                for at in range(0, len(pictures), 256)
            ]
        )
        accuracies: Accuracies = {}
        for facet_index, (facet, values) in enumerate(FACETS.items()):
            text_VD = torch.stack(
                [
                    model.encode_text(tokenizer(prompts(facet, v)), normalize=True).mean(dim=0)
                    for v in values
                ]
            )
            guess_N = (image_ND @ unit_rows(text_VD).T).argmax(dim=1).numpy()
            accuracies[facet] = round(float((guess_N == values_NF[:, facet_index]).mean()), 4)
    return accuracies


def unit_rows(rows_ND: torch.Tensor) -> torch.Tensor:
    """Rows scaled to unit L2 norm."""
    return torch.nn.functional.normalize(rows_ND, dim=1)


def main() -> None:
    """Print the accuracies of one package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=SHIPPED)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--size", type=int, default=160)
    arguments = parser.parse_args()
    print(json.dumps(zero_shot(arguments.package, arguments.copies, arguments.size)))


if __name__ == "__main__":
    main()
