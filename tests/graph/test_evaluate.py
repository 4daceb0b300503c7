from __future__ import annotations

import math

import pytest
import torch

from graph import evaluate
from graph.evaluate import by_degree, evaluate_links, rank_users
from graph.metrics import METRICS
from graph.splits import Split
from tests.graph.conftest import Small


def oracle(small: Small, split: Split) -> torch.Tensor:
    """Scores [U, S] that know the edges of one split."""
    by_user, splits = small.graph.by_user, small.held.splits
    chosen = splits.edge == split
    scores = torch.zeros(small.graph.num_users, small.graph.num_subreddits)
    scores[by_user.rows_of_edges()[chosen], by_user.neighbours[chosen].long()] = 1.0
    return scores


def test_an_oracle_is_perfect_on_both_groups(small: Small) -> None:
    scores = oracle(small, Split.TEST)
    found = evaluate_links(small.held, [("oracle", lambda users: scores[users])])
    results = [r for r in found if r.degree == "all"]
    assert [r.split for r in results] == ["transductive", "inductive"]
    for result in results:
        assert result.metrics == dict.fromkeys(METRICS, 1.0)
        users = small.held.users(Split.TEST, inductive=result.split == "inductive")
        assert result.num_users == len(users)
    assert sum(r.num_users for r in results) == len(
        small.graph.by_user.rows_of_edges()[small.held.splits.edge == Split.TEST].unique()
    )


def test_known_edges_are_masked_and_cannot_help_or_hurt(small: Small) -> None:
    test, users = oracle(small, Split.TEST), small.held.users(Split.TEST, inductive=False)
    known = oracle(small, Split.TRAIN) + oracle(small, Split.VALIDATION)
    for scores in (test - 5 * known, test + 5 * known):
        metrics, _ = rank_users(small.held, Split.TEST, users, scores.__getitem__)
        assert metrics["mrr"] == 1.0


def test_test_edges_are_no_answer_in_validation(small: Small) -> None:
    users = small.held.users(Split.VALIDATION, inductive=False)
    right, wrong = oracle(small, Split.VALIDATION), oracle(small, Split.TEST)
    found, _ = rank_users(small.held, Split.VALIDATION, users, lambda part: right[part])
    misled, _ = rank_users(small.held, Split.VALIDATION, users, lambda part: wrong[part])
    assert found["mrr"] == 1.0
    assert misled["mrr"] < 0.5


def test_no_users_is_nan_and_not_an_error(small: Small) -> None:
    nobody = torch.zeros(0, dtype=torch.int64)
    metrics, count = rank_users(small.held, Split.TEST, nobody, lambda users: users)
    assert count == 0
    assert all(math.isnan(value) for value in metrics.values())


def test_means_by_degree_are_those_of_its_users() -> None:
    rows = torch.arange(5, dtype=torch.float64)[:, None].expand(5, len(METRICS))
    found = by_degree("time", "gat", rows, torch.tensor([0, 1, 4, 5, 200]))
    assert {r.degree: (r.metrics["mrr"], r.num_users) for r in found} == {
        "all": (2.0, 5),
        "1-4": (1.5, 2),
        "5-14": (3.0, 1),
        "50+": (4.0, 1),
    }


def test_of_many_users_the_same_sample_is_ranked_for_all(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def score(users: torch.Tensor) -> torch.Tensor:
        asked.append(users.tolist())
        return torch.zeros(len(users), small.graph.num_subreddits)

    monkeypatch.setattr(evaluate, "MAX_TEST_USERS", 7)
    found = evaluate_links(small.held, [("one", score), ("two", score)], ("transductive",))
    assert {r.num_users for r in found if r.degree == "all"} == {7}
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == 7


def test_only_the_splits_asked_for_are_ranked(small: Small) -> None:
    scores = oracle(small, Split.TEST)
    results = evaluate_links(small.held, [("oracle", lambda u: scores[u])], ("inductive",))
    assert {r.split for r in results} == {"inductive"}
