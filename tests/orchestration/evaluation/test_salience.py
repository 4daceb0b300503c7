from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from orchestration.evaluation.salience import precision_at, rank_by

EDGES = pl.DataFrame(
    {
        "user_id": ["u"] * 4 + ["v"] * 2,
        "subreddit": ["a", "b", "c", "hub", "a", "hub"],
        "activity": [3, 2, 3, 90, 1, 50],
    }
)


def test_ranks_fall_with_the_weight_and_break_ties_by_name() -> None:
    ranked = rank_by(EDGES, "activity").filter(pl.col("user_id") == "u").sort("rank")
    assert ranked["subreddit"].to_list() == ["hub", "a", "c", "b"]


def test_precision_counts_users_with_enough_planted_subreddits_only() -> None:
    own = {"u": frozenset({"a", "b", "c"}), "v": frozenset({"a"})}
    assert precision_at(rank_by(EDGES, "activity"), own) == pytest.approx(2 / 3)


def test_precision_without_such_users_is_nan() -> None:
    assert np.isnan(precision_at(rank_by(EDGES, "activity"), {"v": frozenset({"a"})}))
