"""Baselines on a drawn graph of two communities and a hub."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array

from graph import baselines
from graph.baselines import (
    GF_CF,
    Damping,
    Scorer,
    ease,
    item_cosine,
    linear_filter,
    matrix,
    matrix_factorisation,
    popularity,
    tfidf_items,
    tfidf_users,
)
from tests.graph.drawn import csr

HUB, CATS, KITTENS, TRAINS, TRAMS = range(5)
ROWS = [
    [HUB, CATS, KITTENS],
    [HUB, CATS, KITTENS],
    [HUB, CATS],
    [HUB, TRAINS, TRAMS],
    [HUB, TRAINS, TRAMS],
    [TRAINS],
]
TRAIN = matrix(csr(ROWS), num_subreddits=5)


def new_user(*subreddits: int) -> csr_array:
    """A row that no baseline was fitted on."""
    return matrix(csr([sorted(subreddits)]), num_subreddits=5)


def factorise(train: csr_array) -> Scorer:
    """Of rank two: one factor a community."""
    return matrix_factorisation(train, rank=2, seed=0)


def test_matrix_holds_the_edges() -> None:
    expected = np.zeros((6, 5))
    for user, row in enumerate(ROWS):
        expected[user, row] = 1
    assert (TRAIN.toarray() == expected).all()


def test_popularity_counts_users_whoever_asks() -> None:
    scores = popularity(TRAIN)(TRAIN[:2])
    assert scores.tolist() == [[5, 3, 2, 3, 2]] * 2


def regress(train: csr_array) -> Scorer:
    """With a penalty of one user."""
    return ease(train, 1.0)


@pytest.mark.parametrize(
    "fit", [item_cosine, tfidf_items, tfidf_users, linear_filter, regress, factorise]
)
def test_a_new_user_gets_its_community(fit: Callable[[csr_array], Scorer]) -> None:
    score = fit(TRAIN)
    cat_lover, engineer = score(new_user(CATS))[0], score(new_user(TRAMS))[0]
    assert cat_lover[KITTENS] > max(cat_lover[TRAINS], cat_lover[TRAMS])
    assert engineer[TRAINS] > max(engineer[CATS], engineer[KITTENS])


def test_item_neighbours_are_cosines_of_weighted_columns() -> None:
    scores = tfidf_items(TRAIN)(new_user(CATS))[0]
    idf = np.log(7 / (1 + np.array([5, 3, 2, 3, 2])))
    cosine = 2 / np.sqrt(3 * 2)  # columns of cats and kittens; a common weight cancels
    assert scores[KITTENS] == pytest.approx(idf[CATS] * cosine)
    assert scores[CATS] == 0  # not its own neighbour
    assert scores[TRAINS] == 0


def test_ease_solves_its_regression() -> None:
    dense, penalty = TRAIN.toarray(), 0.7
    weights = ease(TRAIN, penalty)(csr_array(np.eye(5)))
    for target in range(5):
        others = [i for i in range(5) if i != target]
        x, y = dense[:, others], dense[:, target]
        solved = np.linalg.solve(x.T @ x + penalty * np.eye(4), x.T @ y)
        assert weights[others, target] == pytest.approx(solved, abs=1e-5)
    assert np.diag(weights).tolist() == [0] * 5


def test_a_filter_walks_over_shared_users_by_its_damping() -> None:
    scores = linear_filter(TRAIN, Damping(via=1.0, source=1.0, target=0.5))(new_user(CATS))[0]
    # Cats has 3 users; two of them, of 3 subreddits each, share kittens, which has 2 users.
    assert scores[KITTENS] == pytest.approx(2 / 3 / 3 / 2**0.5)
    assert scores[TRAINS] == scores[CATS] == 0
    even = linear_filter(TRAIN, GF_CF)(new_user(CATS))[0]
    assert even[HUB] == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)


def test_cosines_are_of_columns() -> None:
    assert item_cosine(TRAIN)(new_user(CATS))[0][HUB] == pytest.approx(3 / np.sqrt(3 * 5))


def test_sparse_and_dense_weights_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = item_cosine(TRAIN)(TRAIN)
    monkeypatch.setattr(baselines, "DENSE_SHARE", 2.0)
    assert np.allclose(item_cosine(TRAIN)(TRAIN), dense)


def test_factorisation_does_not_depend_on_the_rest_of_the_batch() -> None:
    score = factorise(TRAIN)
    assert np.allclose(score(TRAIN)[3], score(TRAIN[3:4])[0])
    assert np.allclose(score(TRAIN), factorise(TRAIN)(TRAIN))


def test_rank_is_cut_to_what_the_matrix_has() -> None:
    assert matrix_factorisation(TRAIN, rank=64, seed=0)(TRAIN).shape == (6, 5)
