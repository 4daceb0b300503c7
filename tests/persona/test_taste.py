"""Tags are what a user likes more than others do; exemplars are near the user's point."""

from __future__ import annotations

import numpy as np
import pytest

from persona.taste import (
    TagVocabulary,
    image_scores,
    measure_population,
    tag_scores,
    top_tags,
)

# Four axes: neon, pastel, cat, dog. Everybody is near neon; only the last two like dogs.
VOCABULARY = TagVocabulary(
    ("palette", "palette", "subject", "subject"),
    ("neon", "pastel", "cat", "dog"),
    np.eye(4, dtype=np.float32),
)
USERS = np.array(
    [[0.9, 0.0, 0.4, 0.0], [0.9, 0.0, 0.4, 0.0], [0.9, 0.1, 0.0, 0.4], [0.9, 0.1, 0.0, 0.4]],
    np.float32,
)


def test_the_population_is_the_same_in_any_batches() -> None:
    whole = measure_population([USERS], VOCABULARY)
    parts = measure_population([USERS[:1], USERS[1:]], VOCABULARY)
    np.testing.assert_allclose(whole.mean, USERS.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(whole.std, USERS.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(parts.std, whole.std, atol=1e-12)
    assert whole.num_users == parts.num_users == 4


def test_what_all_like_says_nothing() -> None:
    z_UT = tag_scores(USERS, VOCABULARY, measure_population([USERS], VOCABULARY))
    expected = [[0, -1, 1, -1], [0, -1, 1, -1], [0, 1, -1, 1], [0, 1, -1, 1]]
    np.testing.assert_allclose(z_UT, expected, atol=1e-5)


def test_best_tags_come_by_user_then_strength() -> None:
    z_UT = np.array([[0.4, 0.8, 3.0, 1.0], [0.0, 0.0, 0.0, 0.75], [-1.0, 0.0, 0.1, 0.2]])
    user_K, tag_K = top_tags(z_UT, VOCABULARY, per_facet=1)
    assert list(zip(user_K.tolist(), tag_K.tolist(), strict=True)) == [(0, 2), (0, 1), (1, 3)]
    user_K, tag_K = top_tags(z_UT, VOCABULARY, per_facet=2)
    assert list(zip(user_K.tolist(), tag_K.tolist(), strict=True)) == [
        (0, 2),
        (0, 3),
        (0, 1),
        (1, 3),
    ]


def test_no_tags_and_no_users_are_no_error() -> None:
    empty = TagVocabulary((), (), np.zeros((0, 4), np.float32))
    population = measure_population([], VOCABULARY)
    assert population.num_users == 0
    z_UT = tag_scores(USERS, VOCABULARY, population)
    assert not z_UT.any()
    assert top_tags(np.zeros((3, 0)), empty, 2)[0].tolist() == []


def test_images_are_scored_against_their_own_user() -> None:
    images_ID = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float16)
    scores = image_scores(np.eye(4, dtype=np.float32), np.array([0, 1, 3]), images_ID)
    np.testing.assert_allclose(scores, [1.0, 0.0, 1.0])


def test_a_vocabulary_must_be_whole() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\)"):
        TagVocabulary(("palette",), ("neon", "pastel"), np.zeros((2, 4), np.float32))
