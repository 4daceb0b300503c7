"""How many tokens each piece of evidence costs, and how a budget is divided. Pure polars."""

from __future__ import annotations

import polars as pl

# OpenAI-style vision models charge 85 tokens for an image at low detail; others charge more, but
# no more than four images are ever sent.
IMAGE_TOKENS = 85
# Evidence is shown as `id | text`: an id such as "t1_abc1234" and the mark-up cost about 8 tokens.
ITEM_TOKENS = 8
# Visual evidence may not crowd out what the user wrote.
VISUAL_SHARE = 0.5


def estimate_tokens(text: pl.Expr) -> pl.Expr:
    """Tokens of `id | text`: a quarter of its UTF-8 bytes, rounded up, and 8 for the frame.

    English has about 4 bytes a token in byte-pair vocabularies; scripts of 3 bytes a character have
    about one token a character, which this counts as 0.75: close enough to divide a budget, and no
    tokenizer has to be downloaded.
    """
    return ((text.str.len_bytes() + 3) // 4 + ITEM_TOKENS).cast(pl.Int32)


def divide_budget(shares: pl.DataFrame) -> pl.DataFrame:
    """Whole tokens for each subreddit of each user, by the method of largest remainders.

    Args:
        shares: Columns user_id, rank (distinct within a user), attention (at least 0), budget (of
            the user, the same in all rows of the user).

    Returns:
        `shares` with the column `quota` (int64): within a user it sums to the budget. Equal
        remainders go to the better rank; users whose attention is 0 throughout share equally.
    """
    user = "user_id"
    total = pl.col("attention").cast(pl.Float64).sum().over(user)
    share = (
        pl.when(total > 0)
        .then(pl.col("attention").cast(pl.Float64) / total)
        .otherwise(1.0 / pl.len().over(user))
    )
    exact = shares.with_columns(exact=(pl.col("budget") * share).round(9))
    whole = exact.with_columns(whole=pl.col("exact").floor().cast(pl.Int64))
    ordered = whole.with_columns(
        left=pl.col("budget") - pl.col("whole").sum().over(user),
        remainder=pl.col("exact") - pl.col("whole"),
    ).sort(user, "remainder", "rank", descending=[False, True, False])
    place = pl.int_range(pl.len()).over(user)
    quota = pl.col("whole") + (place < pl.col("left")).cast(pl.Int64)
    return (
        ordered.with_columns(quota=quota)
        .drop("exact", "whole", "left", "remainder")
        .sort(user, "rank")
    )


def within(rows: pl.DataFrame, by: list[str], limit: pl.Expr) -> pl.DataFrame:
    """The leading rows of each group whose tokens together stay within `limit`.

    Args:
        rows: In order of preference within each group; column tokens.
        by: Columns that name the group.
        limit: Tokens of the group.
    """
    return rows.filter(pl.col("tokens").cum_sum().over(by) <= limit)
