"""Interactions -> edges of the bipartite graph, with the features that the encoder reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from graph.kernels import fold_activity
from pipelines.contract import ContractError

Halves = npt.NDArray[np.float16]
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
COUNTS = ("num_submissions", "num_comments", "score")
TIMES = ("first_utc", "last_utc")


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


def aggregate(
    rows: pl.DataFrame, half_life_days: float, earlier: pl.DataFrame | None = None
) -> pl.DataFrame:
    """One row for each (user_id, subreddit), over all months, sorted by both.

    Args:
        rows: Of INTERACTIONS, in any order.
        half_life_days: Of the decayed activity.
        earlier: Result for the months before those of `rows`. The same bits come out as if all
            were aggregated at once.

    Returns:
        user_id, subreddit, num_submissions, num_comments, score, first_utc, last_utc, `decayed`
        (actions, at the weight that they have at `last_utc`), `months` (active), `active_month`
        (the last), `rows` (of INTERACTIONS).
    """
    rows = _as_edges(rows)
    if earlier is not None:
        rows = pl.concat([earlier.select(rows.columns), rows])
    users = _sorted_names(rows["user_id"])
    subreddits = _sorted_names(rows["subreddit"])
    months = _sorted_names(rows["active_month"])
    keyed = (
        rows.lazy()
        .join(users.lazy().with_row_index("user"), on="user_id")
        .join(subreddits.lazy().with_row_index("place"), on="subreddit")
        .join(months.lazy().with_row_index("month"), on="active_month")
        .select(
            ((pl.col("user").cast(pl.Int64) * len(subreddits) + pl.col("place")) * len(months))
            + pl.col("month"),
            pl.col(*COUNTS, *TIMES, "decayed", "months", "rows"),
        )
        .sort("user")
        .collect()
    )
    key = keyed["user"].to_numpy()
    if not np.diff(key).all():
        # Sums of floats depend on their order: ties must not come as the files happen to lie.
        keyed = keyed.sort("user", "last_utc", "decayed")
    pair, month = key // max(1, len(months)), key % max(1, len(months))
    folded = fold_activity(
        pair,
        month,
        _ints(keyed, *COUNTS),
        _ints(keyed, *TIMES),
        keyed["decayed"].to_numpy(),
        _ints(keyed, "months")[:, 0],
        _ints(keyed, "rows")[:, 0],
        half_life_days * DAY_S,
    )
    pair_E, counts_E3, times_E2, decayed_E, months_E, rows_E = folded
    last = np.append(np.flatnonzero(np.diff(pair)), len(pair) - 1) if len(pair) else pair
    columns = {name: counts_E3[:, i] for i, name in enumerate(COUNTS)}
    columns |= {name: times_E2[:, i] for i, name in enumerate(TIMES)}
    return pl.DataFrame(
        {
            "user_id": users["user_id"].gather(pair_E // max(1, len(subreddits))),
            "subreddit": subreddits["subreddit"].gather(pair_E % max(1, len(subreddits))),
            "active_month": months["active_month"].gather(month[last]),
            **columns,
            "decayed": decayed_E,
            "months": months_E,
            "rows": rows_E,
        }
    )


def _as_edges(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of INTERACTIONS as results of `aggregate` over one month."""
    actions = pl.col("num_submissions").cast(pl.Int64) + pl.col("num_comments")
    return rows.select(
        "user_id",
        "subreddit",
        "active_month",
        pl.col(*COUNTS, *TIMES).cast(pl.Int64),
        actions.cast(pl.Float64).alias("decayed"),
        pl.lit(1, dtype=pl.Int64).alias("months"),
        pl.lit(1, dtype=pl.Int64).alias("rows"),
    )


def _sorted_names(names: pl.Series) -> pl.DataFrame:
    return names.unique().sort().to_frame()


def _ints(frame: pl.DataFrame, *columns: str) -> Ints:
    """int64 [rows, columns], one row after the other."""
    return np.ascontiguousarray(
        frame.select(pl.col(*columns).cast(pl.Int64)).to_numpy(), dtype=np.int64
    )


def edge_features(edges: pl.DataFrame, clock_utc: int, half_life_days: float) -> Halves:
    """float16 [E, len(EDGE_FEATURES)] in the order of `edges`; what each means is in the name.

    Half precision tells logarithms apart by a thousandth: no model needs more, and the graph of
    all users fits in memory.

    Args:
        edges: Of `aggregate`.
        clock_utc: Epoch seconds at which activity has its full weight: the last activity in the
            data, never the wall clock. Edges to predict may be later: nothing reads what they say.
        half_life_days: Of the decayed activity.
    """
    age_days = (clock_utc - pl.col("last_utc")).clip(lower_bound=0) / DAY_S
    months = pl.col("months").cast(pl.Float64)
    actions = pl.col("num_submissions") + pl.col("num_comments")
    columns = edges.select(
        pl.col("num_submissions").cast(pl.Float64).log1p(),
        pl.col("num_comments").cast(pl.Float64).log1p(),
        pl.col("score").sign() * pl.col("score").abs().cast(pl.Float64).log1p(),
        (pl.col("decayed") * 2.0 ** (-age_days / half_life_days)).log1p(),
        age_days.log1p(),
        ((pl.col("last_utc") - pl.col("first_utc")) / DAY_S).log1p().alias("span"),
        months.log1p().alias("months"),
        (actions / months).log1p().alias("rate"),
    )
    return np.ascontiguousarray(columns.to_numpy(), dtype=np.float16)
