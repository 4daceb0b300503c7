"""Ranking metrics of lists short enough to count by hand."""

from __future__ import annotations

import math

import pytest
import torch

from graph import metrics
from graph.metrics import METRICS, average, first_columns, ranking_metrics


def row(scores: list[float], known: list[int], relevant: list[int]) -> list[float]:
    """Metrics of one user, by positions."""
    masks = torch.zeros(2, 1, len(scores), dtype=torch.bool)
    masks[0, 0, known] = True
    masks[1, 0, relevant] = True
    metrics: list[float] = ranking_metrics(torch.tensor([scores]), *masks)[0].tolist()
    return metrics


def test_metrics_of_one_relevant_at_rank_two() -> None:
    assert METRICS == ("mrr", "hits_at_10", "recall_at_20", "ndcg_at_20")
    assert row([4.0, 3.0, 2.0, 1.0], [], [1]) == pytest.approx([0.5, 1, 1, 1 / math.log2(3)])


def test_known_subreddits_are_not_ranked() -> None:
    assert row([4.0, 3.0, 2.0, 1.0], [0], [1]) == pytest.approx([1, 1, 1, 1])


def test_relevant_ones_do_not_push_each_other_down() -> None:
    # Filtered ranks are 1 and 2: only position 1 stands above position 2.
    mrr, hits, recall, ndcg = row([4.0, 3.0, 2.0, 1.0], [], [0, 2])
    assert [mrr, hits, recall] == pytest.approx([0.75, 1, 1])
    assert ndcg == pytest.approx((1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3)))


def test_ties_count_half() -> None:
    assert row([1.0, 1.0, 1.0, 0.0], [], [1])[0] == pytest.approx(1 / 2)


def test_cuts_are_at_ten_and_twenty() -> None:
    scores = [float(-i) for i in range(30)]
    assert row(scores, [], [9])[1] == 1
    assert row(scores, [], [10])[1] == 0
    assert row(scores, [], [19])[2:] == pytest.approx([1, 1 / math.log2(21)])
    assert row(scores, [], [20])[2:] == [0, 0]
    # Of 25 relevant ones no list of twenty can hold more than twenty.
    assert row(scores, [], list(range(25)))[2:] == pytest.approx([20 / 25, 1])


def test_a_model_that_diverged_ranks_nothing_first() -> None:
    mrr, hits, *_ = row([math.nan] * 50, [], [7])
    assert mrr < 0.05
    assert hits == 0
    assert row([math.nan, 3.0, 2.0], [], [0])[0] == pytest.approx(2 / 7)


def test_average_skips_users_without_anything_relevant() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0]]).expand(2, 3)
    relevant = torch.tensor([[False, True, False], [False, False, False]])
    rows = ranking_metrics(scores, torch.zeros(2, 3, dtype=torch.bool), relevant)
    assert rows[1].isnan().all()
    mean, count = average([rows[:1], rows[1:]])
    assert count == 1
    assert mean["mrr"] == pytest.approx(0.5)
    nobody, none = average([rows[1:]])
    assert none == 0
    assert all(math.isnan(value) for value in nobody.values())


def test_a_list_is_that_of_a_stable_sort_also_among_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    for levels in (2, 5, 1000):
        scores = torch.randint(levels, (50, 40), generator=generator).float()
        sorted_whole = scores.argsort(dim=1, descending=True, stable=True)
        for depth in (1, 20, 39, 40):
            assert torch.equal(first_columns(scores, depth), sorted_whole[:, :depth])


def test_comparing_in_parts_changes_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(9, (30, 50), generator=generator).float()
    kind = torch.randint(4, scores.shape, generator=generator)
    whole = ranking_metrics(scores, kind == 0, kind == 1)
    monkeypatch.setattr(metrics, "MAX_COMPARED", 150)
    assert torch.equal(ranking_metrics(scores, kind == 0, kind == 1), whole)
