"""Choices are made on validation edges alone, and what is too large says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from graph import tuning
from graph.evaluate import Held, ScoreUsers, rank_users
from graph.splits import Split
from graph.tuning import Hybrid, baseline_scorers, best_fit, left_out, tune, tune_hybrid
from tests.graph.conftest import Small


def table_of(held: Held, split: Split) -> Tensor:
    """Scores [U, S] that know the edges of one split."""
    by_user = held.graph.by_user
    chosen = held.splits.edge == split
    scores = torch.zeros(held.graph.num_users, held.graph.num_subreddits)
    scores[by_user.rows_of_edges()[chosen], by_user.neighbours[chosen].long()] = 1.0
    return scores


def knows(table: Tensor) -> ScoreUsers:
    """The rows of a table of scores."""
    return lambda users: table[users]


def test_what_knows_validation_edges_is_chosen_not_what_knows_test_edges(small: Small) -> None:
    tables = [table_of(small.held, split) for split in (Split.TEST, Split.VALIDATION, Split.TRAIN)]
    fits = [lambda table=table: knows(table) for table in tables]
    assert best_fit(small.held, fits, seed=0) == 1


def test_test_edges_do_not_change_a_choice(small: Small) -> None:
    held, by_user = small.held, small.graph.by_user
    generator = torch.Generator().manual_seed(0)
    is_test = held.splits.edge == Split.TEST
    # Other subreddits under the test edges: nobody who chooses may notice.
    swapped = by_user.neighbours.clone()
    swapped[is_test] = swapped[is_test][torch.randperm(int(is_test.sum()), generator=generator)]
    graph = replace(held.graph, by_user=replace(by_user, neighbours=swapped))
    other = replace(held, graph=graph)
    shape = (graph.num_users, graph.num_subreddits)
    encoder = knows(torch.randn(shape, generator=generator))
    chosen = tune(held, 0)
    assert tune(other, 0) == chosen
    assert tune_hybrid(other, encoder, chosen, 0) == tune_hybrid(held, encoder, chosen, 0)


def test_a_filter_is_added_where_it_helps_and_only_there(small: Small) -> None:
    held, chosen = small.held, tune(small.held, 0)
    shape = (held.graph.num_users, held.graph.num_subreddits)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    helped = tune_hybrid(held, knows(noise), chosen, 0)
    assert helped.filter in tuning.FILTERS
    assert helped.weight > 0
    oracle = 1e6 * table_of(held, Split.VALIDATION)
    assert tune_hybrid(held, knows(oracle), chosen, 0) == Hybrid(filter="", weight=0.0)


def test_a_hybrid_is_the_weighted_sum() -> None:
    hybrid = Hybrid(filter="ease", weight=0.5)
    score = hybrid.scorer(lambda users: users[:, None] * 1.0, lambda users: users[:, None] * 4.0)
    assert score(torch.tensor([1, 2])).tolist() == [[3.0], [6.0]]


def test_what_does_not_fit_in_memory_is_left_out_by_name(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert left_out(small.graph) == {}
    assert "ease" in dict(baseline_scorers(small.held, 0))
    monkeypatch.setattr(tuning, "MAX_EASE_SUBREDDITS", 10)
    monkeypatch.setattr(tuning, "MAX_PAIRS", 10)
    monkeypatch.setattr(tuning, "MAX_NEIGHBOUR_USERS", 10)
    reasons = left_out(small.graph)
    assert "GB" in reasons["ease"]
    assert "more than 10" in reasons["item_cosine"]
    assert [name for name, _ in baseline_scorers(small.held, 0)] == ["popularity", "mf"]
    before = dict(baseline_scorers(small.held, 0))["popularity"](torch.arange(3))
    monkeypatch.setattr(tuning, "MAX_EDGES", 10)
    assert set(left_out(small.graph)) == {*tuning.SPARSE, "ease", "tfidf_users", "mf"}
    ((name, score),) = baseline_scorers(small.held, 0)
    assert name == "popularity"
    assert torch.equal(score(torch.arange(3)).double(), before.double())


def test_every_baseline_beats_chance_on_users_it_was_not_fitted_on(small: Small) -> None:
    users = small.held.users(Split.TEST, inductive=True)
    shape = (small.graph.num_users, small.graph.num_subreddits)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    chance = rank_users(small.held, Split.TEST, users, knows(noise))[0]["mrr"]
    for name, score in baseline_scorers(small.held, 0):
        assert rank_users(small.held, Split.TEST, users, score)[0]["mrr"] > 1.5 * chance, name
