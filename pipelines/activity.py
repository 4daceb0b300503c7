"""Submissions and comments -> what each user did where, and the texts that show it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pipelines.base36 import base36_series
from pipelines.config import InteractionsConfig
from pipelines.text import one_line

PAIR = ("user_id", "subreddit")


@dataclass(frozen=True)
class Actions:
    """Submissions or comments in one form.

    Args:
        activity: user_id, subreddit, active_month, num_submissions, num_comments (0 or 1), score,
            created_utc.
        snippets: user_id, subreddit, kind (t1 or t3), id, text, score, created_utc; only texts
            that are long enough.
    """

    activity: pl.DataFrame
    snippets: pl.DataFrame


def submission_actions(rows: pl.DataFrame, config: InteractionsConfig) -> Actions:
    """Rows of SUBMISSIONS; their text is title and selftext."""
    text = pl.concat_str("title", "selftext", separator=" ")
    return _actions(rows, "t3", pl.col("submission_id"), text, config)


def comment_actions(rows: pl.DataFrame, config: InteractionsConfig) -> Actions:
    """Rows of COMMENTS."""
    return _actions(rows, "t1", pl.col("comment_id"), pl.col("body"), config)


def _actions(
    rows: pl.DataFrame, kind: str, id_: pl.Expr, text: pl.Expr, config: InteractionsConfig
) -> Actions:
    is_submission = kind == "t3"
    when = pl.from_epoch("created_utc", time_unit="s")
    activity = rows.select(
        *PAIR,
        when.dt.strftime("%Y-%m").alias("active_month"),
        pl.lit(int(is_submission), pl.Int32()).alias("num_submissions"),
        pl.lit(int(not is_submission), pl.Int32()).alias("num_comments"),
        pl.col("score").fill_null(0).cast(pl.Int64()),
        "created_utc",
    )
    snippets = rows.select(
        *PAIR,
        pl.lit(kind).alias("kind"),
        id_.alias("id"),
        one_line(text, config.snippet_chars).alias("text"),
        "score",
        "created_utc",
    ).filter(pl.col("text").str.len_chars() >= config.min_snippet_chars)
    return Actions(activity, snippets)


def partial_activity(activity: pl.DataFrame) -> pl.DataFrame:
    """Sums over each user, subreddit and month of some of the actions."""
    return activity.group_by(*PAIR, "active_month").agg(
        pl.col("num_submissions", "num_comments", "score").sum(),
        pl.col("created_utc").min().alias("first_utc"),
        pl.col("created_utc").max().alias("last_utc"),
    )


def merged_activity(partial: pl.DataFrame) -> pl.DataFrame:
    """Rows of INTERACTIONS, in order of their key, from partial sums."""
    merged = partial.group_by(*PAIR, "active_month").agg(
        pl.col("num_submissions", "num_comments", "score").sum(),
        pl.col("first_utc").min(),
        pl.col("last_utc").max(),
    )
    return merged.sort(*PAIR, "active_month")


def active(activity: pl.DataFrame, min_actions: int) -> tuple[pl.DataFrame, int]:
    """The rows of users who did enough, and how many actions the others' rows sum.

    Args:
        activity: Rows of INTERACTIONS, all of every user among them.
        min_actions: Submissions and comments.
    """
    num_actions = pl.col("num_submissions") + pl.col("num_comments")
    is_active = num_actions.sum().over("user_id") >= min_actions
    dropped = activity.filter(~is_active).select(num_actions.sum()).item()
    return activity.filter(is_active), int(dropped)


def best_snippets(snippets: pl.DataFrame, max_snippets: int) -> pl.DataFrame:
    """The best scored texts of each user and subreddit, equal texts once.

    An unknown score is the lowest; of equal ones the earlier counts, then the lower id. The best of
    the best of parts are the best of all, so this can run before and after a shuffle.
    """
    order = [*PAIR, "score", "created_utc", "kind", "id"]
    descending = [name == "score" for name in order]
    ranked = snippets.sort(order, descending=descending, nulls_last=True)
    distinct = ranked.unique([*PAIR, "text"], keep="first", maintain_order=True)
    return distinct.group_by(*PAIR, maintain_order=True).head(max_snippets)


def snippet_rows(snippets: pl.DataFrame) -> pl.DataFrame:
    """Rows of SNIPPETS, in the order given."""
    name = pl.concat_str("kind", pl.lit("_"), pl.col("id").map_batches(base36_series, pl.String()))
    return snippets.with_columns(name.alias("snippet_id"))
