"""Salience: are the subreddits that attention ranks first the ones that carry the taste?"""

from __future__ import annotations

import polars as pl


def precision_at(ranked: pl.DataFrame, own: dict[str, frozenset[str]], k: int = 3) -> float:
    """Mean share of planted subreddits among the first `k`, over users with at least `k` planted.

    Fewer planted subreddits than `k` would cap the precision below 1, so those users are left out.

    Args:
        ranked: user_id, subreddit, rank (from 0).
        own: user_id -> subreddits that carry the user's taste.
        k: Depth.

    Returns:
        In [0, 1]; NaN if no user has `k` planted subreddits.
    """
    planted = [(user, name) for user, names in own.items() if len(names) >= k for name in names]
    carriers = pl.DataFrame(
        planted, schema={"user_id": pl.String, "subreddit": pl.String}, orient="row"
    )
    top = ranked.filter(pl.col("rank") < k).join(carriers.select("user_id").unique(), on="user_id")
    if top.is_empty():
        return float("nan")
    return len(top.join(carriers, on=["user_id", "subreddit"])) / (k * top["user_id"].n_unique())


def rank_by(edges: pl.DataFrame, weight: str) -> pl.DataFrame:
    """user_id, subreddit, rank: each user's subreddits by falling `weight`, ties by name."""
    ordered = edges.sort(["user_id", weight, "subreddit"], descending=[False, True, False])
    return ordered.select(
        "user_id", "subreddit", rank=pl.int_range(pl.len()).over("user_id").cast(pl.Int32)
    )
