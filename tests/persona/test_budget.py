"""Budgets are divided without loss, and nobody overdraws."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from persona.budget import divide_budget, estimate_tokens, within


def shares(rows: list[tuple[str, int, float, int]]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "rank": pl.Int64, "attention": pl.Float64, "budget": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_largest_remainders_get_the_spare_tokens() -> None:
    # Exact shares of 10 tokens: 4.1, 3.5, 2.4 -> 4, 3, 2, and one more for the remainder of 0.5.
    divided = divide_budget(
        shares([("ann", 0, 0.41, 10), ("ann", 1, 0.35, 10), ("ann", 2, 0.24, 10)])
    )
    assert divided["quota"].to_list() == [4, 4, 2]


def test_equal_remainders_go_to_the_better_rank() -> None:
    rows = [("ann", rank, 1.0, 11) for rank in range(3)]
    assert divide_budget(shares(rows))["quota"].to_list() == [4, 4, 3]


def test_users_do_not_share_and_no_attention_means_equal_parts() -> None:
    rows = [("ann", 0, 0.9, 100), ("ann", 1, 0.1, 100), ("bob", 0, 0.0, 7), ("bob", 1, 0.0, 7)]
    expected = shares(rows).with_columns(quota=pl.Series([90, 10, 4, 3], dtype=pl.Int64))
    assert_frame_equal(divide_budget(shares(rows).reverse()), expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9), st.integers(0, 4096)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_quotas_sum_to_the_budget(users: list[tuple[list[float], int]]) -> None:
    rows = [
        (f"u{u}", rank, attention, budget)
        for u, (attentions, budget) in enumerate(users)
        for rank, attention in enumerate(attentions)
    ]
    divided = divide_budget(shares(rows))
    assert divided["quota"].min() >= 0  # type: ignore[operator]
    sums = divided.group_by("user_id").agg(pl.col("quota").sum(), pl.col("budget").first())
    assert (sums["quota"] == sums["budget"]).all()


def test_leading_rows_stay_within_the_limit() -> None:
    rows = pl.DataFrame({"g": ["a", "a", "a", "b"], "tokens": [3, 4, 1, 9], "limit": [7, 7, 7, 8]})
    kept = within(rows, ["g"], pl.col("limit"))
    assert kept.rows() == [("a", 3, 7), ("a", 4, 7)]


def test_tokens_count_bytes_in_fours_and_the_frame() -> None:
    texts = pl.DataFrame({"text": ["", "abcd", "abcde", "日本"]})
    assert texts.select(estimate_tokens(pl.col("text")))["text"].to_list() == [8, 9, 10, 10]
