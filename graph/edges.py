"""Interactions -> edges of the bipartite graph, with the features that the encoder reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.contract import ContractError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

DAY_S = 86_400.0

EDGE_FEATURES = (
    "log1p_submissions",
    "log1p_comments",
    "signed_log_score",
    "log1p_decayed_actions",
    "log1p_days_since_last",
    "log1p_span_days",
    "log1p_months_active",
    "log1p_actions_per_month_active",
)
DECAYED = EDGE_FEATURES.index("log1p_decayed_actions")


@dataclass(frozen=True, kw_only=True)
class EdgeRules:
    """Which interactions become edges.

    Args:
        min_subreddits: Users with fewer are left out.
        min_users: Subreddits with fewer are left out, before users are judged.
        half_life_days: Of the time-decayed activity.
    """

    min_subreddits: int
    min_users: int
    half_life_days: float


def check_interactions(interactions: pl.LazyFrame) -> tuple[int, int]:
    """(rows, last activity in epoch seconds), if every row can be.

    Raises:
        ContractError: Rows without any action, with negative counts, or that end before they begin.
    """
    actions = pl.col("num_submissions").cast(pl.Int64) + pl.col("num_comments")
    negative = (pl.col("num_submissions") < 0) | (pl.col("num_comments") < 0)
    checked = interactions.select(
        rows=pl.len(),
        clock_utc=pl.col("last_utc").max().fill_null(0),
        negative=negative.sum(),
        without_action=(actions == 0).sum(),
        ends_before_it_begins=(pl.col("last_utc") < pl.col("first_utc")).sum(),
    ).collect(engine="streaming")
    rows, clock_utc, *problems = checked.row(0)
    wrong = [f"{n} rows {name}" for name, n in zip(checked.columns[2:], problems, strict=True) if n]
    if wrong:
        raise ContractError(f"table 'interactions': {'; '.join(wrong)}; run the interactions step")
    return int(rows), int(clock_utc)


def aggregate(interactions: pl.LazyFrame, half_life_days: float, clock_utc: int) -> pl.DataFrame:
    """One row for each (user_id, subreddit), over all months, in no particular order.

    Args:
        interactions: Rows of INTERACTIONS.
        half_life_days: Of the decayed activity.
        clock_utc: Epoch seconds at which activity has its full weight: the last activity in the
            data, never the wall clock.
    """
    actions = pl.col("num_submissions").cast(pl.Int64) + pl.col("num_comments")
    age_s = clock_utc - pl.col("last_utc")
    monthly = interactions.with_columns(
        actions=actions,
        decayed=actions * 2.0 ** (-age_s / (DAY_S * half_life_days)),
        since_last_s=age_s,
    )
    return (
        monthly.group_by("user_id", "subreddit")
        .agg(
            pl.col("num_submissions").cast(pl.Int64).sum(),
            pl.col("num_comments").cast(pl.Int64).sum(),
            pl.col("score").sum(),
            pl.col("actions").sum(),
            pl.col("decayed").sort_by("active_month").sum(),
            pl.col("first_utc").min(),
            pl.col("last_utc").max(),
            pl.col("since_last_s").min(),
            months=pl.col("active_month").n_unique(),
            rows=pl.len(),
        )
        .collect(engine="streaming")
    )


def filter_small(edges: pl.DataFrame, rules: EdgeRules) -> tuple[pl.DataFrame, dict[str, int]]:
    """Edges that the rules keep, and the interaction rows dropped, by rule."""
    kept = edges.filter(pl.len().over("subreddit") >= rules.min_users)
    dropped = {"subreddit_below_min_users": _rows(edges) - _rows(kept)}
    final = kept.filter(pl.len().over("user_id") >= rules.min_subreddits)
    dropped["user_below_min_subreddits"] = _rows(kept) - _rows(final)
    return final, {rule: rows for rule, rows in dropped.items() if rows}


def _rows(edges: pl.DataFrame) -> int:
    return int(edges.select(pl.col("rows").sum()).item())


def edge_features(edges: pl.DataFrame) -> Floats:
    """float32 [E, len(EDGE_FEATURES)] in the order of `edges`; what each means is in the name."""
    columns = edges.select(
        pl.col("num_submissions").cast(pl.Float64).log1p(),
        pl.col("num_comments").cast(pl.Float64).log1p(),
        pl.col("score").sign() * pl.col("score").abs().cast(pl.Float64).log1p(),
        pl.col("decayed").log1p(),
        (pl.col("since_last_s") / DAY_S).log1p(),
        ((pl.col("last_utc") - pl.col("first_utc")) / DAY_S).log1p().alias("span"),
        pl.col("months").cast(pl.Float64).log1p().alias("months"),
        (pl.col("actions") / pl.col("months")).log1p().alias("rate"),
    )
    return np.ascontiguousarray(columns.to_numpy(), dtype=np.float32)
