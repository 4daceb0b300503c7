from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from orchestration.evaluation.taste import (
    Tags,
    baseline_weights,
    subreddit_means,
    taste_top1,
    weighted_mean,
)

RED, BLUE, CAT, HOUSE = np.eye(4, dtype=np.float32)


def tags() -> Tags:
    table = pl.DataFrame(
        {
            "facet": ["palette", "palette", "subject", "subject"],
            "tag": ["blue", "red", "cat", "house"],
            "embedding": [BLUE, RED, CAT, HOUSE],
        }
    )
    return Tags.from_table(table)


def test_top1_counts_every_planted_facet_of_a_user() -> None:
    vectors = np.stack([RED + CAT, BLUE + CAT])
    factors = {"u": {"palette": "red", "subject": "cat"}, "v": {"palette": "red"}}
    zero = np.zeros(4, np.float32)
    assert taste_top1(vectors, ["u", "v"], factors, tags(), zero) == pytest.approx(2 / 3)


def test_top1_is_relative_to_the_population() -> None:
    """What everybody likes says nothing about anybody."""
    vectors = np.stack([3 * RED + BLUE, 3 * RED])
    assert taste_top1(vectors, ["u", "v"], {"u": {"palette": "blue"}}, tags()) == 1.0


def test_top1_of_nobody_is_nan() -> None:
    assert np.isnan(taste_top1(np.stack([RED]), ["u"], {}, tags()))


def test_baselines_weigh_the_same_edges_differently() -> None:
    interactions = pl.DataFrame(
        {
            "user_id": ["u", "u", "u", "v"],
            "subreddit": ["hub", "hub", "cats", "hub"],
            "num_submissions": [0, 1, 1, 5],
            "num_comments": [7, 0, 0, 0],
        }
    )
    edges = baseline_weights(interactions).sort("user_id", "subreddit")
    assert edges["activity"].to_list() == [1, 8, 5]
    assert edges["uniform"].to_list() == [1.0, 1.0, 1.0]
    assert edges["idf"].to_list() == pytest.approx([np.log(2), 0.0, 0.0])


def test_users_average_their_subreddits() -> None:
    edges = pl.DataFrame(
        {"user_id": ["u", "u", "v"], "subreddit": ["a", "b", "unseen"], "w": [1.0, 3.0, 1.0]}
    )
    mean = weighted_mean(edges, "w", ["a", "b"], np.stack([RED, BLUE]), ["v", "u"])
    np.testing.assert_allclose(mean, [np.zeros(4), 0.25 * RED + 0.75 * BLUE])


def test_subreddit_means_leave_out_those_without_images_and_the_global_mean() -> None:
    features = pl.DataFrame(
        {
            "subreddit": ["b", "a", "none"],
            "image_sum": [2 * BLUE, 2 * RED, 0 * RED],
            "num_images": [2, 2, 0],
        }
    )
    names, mean = subreddit_means(features)
    assert names == ["a", "b"]
    np.testing.assert_allclose(mean, np.stack([RED - BLUE, BLUE - RED]) / np.sqrt(2), rtol=1e-6)
