import numpy as np
import pytest

from embed.tiny_clip.bank import held_out_triples, picture_of
from embed.tiny_clip.pictures import FACETS, Picture, draw

CAT = Picture(palette="neon", subject="cat", treatment="flat", composition="centered")


def test_the_grammar_has_the_promised_numbers_of_values() -> None:
    assert {facet: len(values) for facet, values in FACETS.items()} == {
        "palette": 8,
        "subject": 10,
        "treatment": 8,
        "composition": 6,
    }


@pytest.mark.parametrize("size", [32, 64, 160])
def test_a_picture_has_the_size_asked_for_in_rgb(size: int) -> None:
    picture = draw(CAT, np.random.default_rng(0), size)
    assert (picture.size, picture.mode) == ((size, size), "RGB")


def test_the_same_seed_draws_the_same_picture_and_another_seed_another() -> None:
    first, again, other = (draw(CAT, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("facet", list(FACETS))
def test_every_value_of_a_facet_changes_the_picture(facet: str) -> None:
    drawn = {
        value: draw(Picture(**{**vars(CAT), facet: value}), np.random.default_rng(3)).tobytes()
        for value in FACETS[facet]
    }
    assert len(set(drawn.values())) == len(FACETS[facet])


def test_every_subject_can_be_drawn_in_every_composition_and_treatment() -> None:
    rng = np.random.default_rng(0)
    for subject in range(10):
        for treatment in range(8):
            values = np.array([(subject + treatment) % 8, subject, treatment, treatment % 6])
            pixels = np.asarray(draw(picture_of(values), rng, 32))
            assert pixels.std() > 5, picture_of(values)


def test_a_value_that_no_facet_has_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Picture\.subject is 'dog'"):
        Picture(palette="neon", subject="dog", treatment="flat", composition="centered")


def test_a_size_too_small_for_the_treatments_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 16"):
        draw(CAT, np.random.default_rng(0), 16)


def test_a_tenth_of_all_triples_is_held_out_and_no_value_is_missing_from_them() -> None:
    triples = held_out_triples()
    assert len(triples) == 64
    for position, facet in enumerate(("palette", "subject", "treatment")):
        assert {triple[position] for triple in triples} == set(FACETS[facet])
