"""Tags are what a user likes more than others do; exemplars are near the user's point."""

from __future__ import annotations

import numpy as np
import pytest

from persona.taste import (
    TagVocabulary,
    image_scores,
    measure_populations,
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


WARM = np.array([True, True, False, False])


def test_few_users_are_one_population_in_any_batches() -> None:
    whole = measure_populations([(USERS, WARM)], VOCABULARY)
    parts = measure_populations([(USERS[:1], WARM[:1]), (USERS[1:], WARM[1:])], VOCABULARY)
    assert whole.with_images == whole.without
    np.testing.assert_allclose(whole.without.mean, USERS.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(whole.without.std, USERS.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(parts.without.std, whole.without.std, atol=1e-12)
    assert whole.without.num_users == parts.without.num_users == 4


def test_what_all_like_says_nothing() -> None:
    z_UT = tag_scores(USERS, WARM, VOCABULARY, measure_populations([(USERS, WARM)], VOCABULARY))
    expected = [[0, -1, 1, -1], [0, -1, 1, -1], [0, 1, -1, 1], [0, 1, -1, 1]]
    np.testing.assert_allclose(z_UT, expected, atol=1e-5)


def test_users_are_compared_with_users_of_their_kind() -> None:
    # Without images the points lie ten times closer together; taste is as clear.
    spread = np.tile(np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]), (50, 1))
    users = np.concatenate([spread, spread / 10]).astype(np.float32)
    warm = np.repeat([True, False], 100)
    populations = measure_populations([(users, warm)], VOCABULARY)
    z_UT = tag_scores(users, warm, VOCABULARY, populations)
    np.testing.assert_allclose(z_UT[:100], z_UT[100:], atol=1e-4)
    np.testing.assert_allclose(z_UT[0], [1, 0, 0, 0], atol=1e-4)


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
    populations = measure_populations([], VOCABULARY)
    assert populations.without.num_users == 0
    z_UT = tag_scores(USERS, WARM, VOCABULARY, populations)
    assert not z_UT.any()
    assert top_tags(np.zeros((3, 0)), empty, 2)[0].tolist() == []


def test_images_are_scored_against_their_own_user() -> None:
    images_ID = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float16)
    scores = image_scores(np.eye(4, dtype=np.float32), np.array([0, 1, 3]), images_ID)
    np.testing.assert_allclose(scores, [1.0, 0.0, 1.0])


def test_a_vocabulary_must_be_whole() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\)"):
        TagVocabulary(("palette",), ("neon", "pastel"), np.zeros((2, 4), np.float32))


def test_where_nobody_has_images_no_tag_can_be_read() -> None:
    """p(z_u) is tied to CLIP by images alone; without any, nearness to a tag means nothing."""
    vocabulary = TagVocabulary(("palette", "palette"), ("neon", "pastel"), np.eye(2))
    users = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    nobody, somebody = np.zeros(3, np.bool_), np.array([True, False, False])
    z_of = {
        bool(has.any()): tag_scores(
            users, has, vocabulary, measure_populations([(users, has)], vocabulary)
        )
        for has in (nobody, somebody)
    }
    assert not z_of[False].any()
    assert z_of[True].any()
