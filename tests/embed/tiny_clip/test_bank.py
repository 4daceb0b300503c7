import numpy as np
from PIL import Image

from embed.tiny_clip.bank import (
    held_out_triples,
    held_out_values,
    jpeg_round_trip,
    picture_of,
    reduce,
    training_bank,
)


def test_no_held_out_triple_is_in_the_training_bank() -> None:
    bank = training_bank(300, seed=4)
    pictures = [picture_of(values) for values in bank.values]
    assert not {(p.palette, p.subject, p.treatment) for p in pictures} & held_out_triples()


def test_held_out_values_are_the_held_out_triples_in_every_composition() -> None:
    pictures = [picture_of(values) for values in held_out_values()]
    assert {(p.palette, p.subject, p.treatment) for p in pictures} == held_out_triples()
    assert len(pictures) == len(set(pictures)) == 64 * 6


def test_the_bank_repeats_with_its_seed() -> None:
    first, again, other = (training_bank(24, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


def test_reduction_leaves_the_models_size_and_jpeg_leaves_the_picture() -> None:
    picture = Image.new("RGB", (160, 160), (200, 30, 90))
    worn = reduce(jpeg_round_trip(picture, 80))
    assert worn.shape == (64, 64, 3)
    assert np.abs(worn.astype(int) - (200, 30, 90)).max() <= 4
