from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from graph.edges import (
    DAY_S,
    EDGE_FEATURES,
    aggregate,
    check_interactions,
    edge_features,
)
from pipelines.contract import ContractError

DAY = int(DAY_S)


def row(user: str, subreddit: str, month: str, **values: int) -> dict[str, object]:
    defaults: dict[str, object] = {
        "num_submissions": 0,
        "num_comments": 1,
        "score": 0,
        "first_utc": 0,
        "last_utc": 0,
    }
    return {"user_id": user, "subreddit": subreddit, "active_month": month, **defaults, **values}


def frame(*rows: dict[str, object]) -> pl.LazyFrame:
    return pl.LazyFrame(list(rows))


def test_months_of_a_pair_become_one_edge() -> None:
    rows = frame(
        row("u", "s", "2019-01", num_submissions=2, score=-3, first_utc=DAY, last_utc=2 * DAY),
        row("u", "s", "2019-02", num_comments=4, score=5, first_utc=40 * DAY, last_utc=52 * DAY),
        row("v", "s", "2019-02", last_utc=62 * DAY, first_utc=62 * DAY),
    )
    edges = aggregate(rows.collect(), half_life_days=10.0)
    first = edges.row(0, named=True)
    assert first["num_submissions"] == 2
    assert first["num_comments"] == 5
    assert first["score"] == 2
    assert first["months"] == 2
    assert (first["first_utc"], first["last_utc"]) == (DAY, 52 * DAY)
    assert first["decayed"] == pytest.approx(3 * 2 ** (-50 / 10) + 4)
    assert edges["decayed"][1] == 1.0


def test_edge_features_are_what_their_names_say() -> None:
    rows = frame(
        row("u", "s", "2019-01", num_submissions=3, num_comments=0, score=-7, first_utc=0),
        row("u", "s", "2019-02", first_utc=30 * DAY, last_utc=30 * DAY),
        row("v", "s", "2019-02", first_utc=40 * DAY, last_utc=40 * DAY),
    )
    edges = aggregate(rows.collect(), half_life_days=40.0)
    expected = {
        "log1p_submissions": np.log1p(3),
        "log1p_comments": np.log1p(1),
        "signed_log_score": -np.log1p(7),
        "log1p_decayed_actions": np.log1p(3 * 0.5 + 2 ** (-10 / 40)),
        "log1p_days_since_last": np.log1p(10),
        "log1p_span_days": np.log1p(30),
        "log1p_months_active": np.log1p(2),
        "log1p_actions_per_month_active": np.log1p(2),
    }
    features = edge_features(edges, clock_utc=40 * DAY, half_life_days=40.0)
    assert features.dtype == np.float16
    np.testing.assert_allclose(features[0], [expected[n] for n in EDGE_FEATURES], rtol=1e-3)


def test_rows_that_cannot_be_are_named_with_their_number() -> None:
    good = row("u", "s", "2019-01", last_utc=9)
    assert check_interactions(frame(good, good)) == (2, 9)
    bad = frame(
        good,
        row("u", "s", "2019-01", num_comments=0),
        row("u", "s", "2019-01", num_comments=-1),
        row("u", "s", "2019-01", first_utc=5, last_utc=4),
    )
    with pytest.raises(ContractError, match=r"1 rows negative.*1 rows without_action.*1 rows ends"):
        check_interactions(bad)
