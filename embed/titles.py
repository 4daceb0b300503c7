"""What a subreddit says: its name and a few titles, chosen by hash so that no order matters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from embed.config import ProductsConfig


def pick_titles(files: Sequence[str], config: ProductsConfig) -> tuple[dict[str, list[str]], int]:
    """Up to `titles_per_subreddit` distinct titles by subreddit, and the submissions looked at.

    One file is held at a time.

    Args:
        files: Of SUBMISSIONS.
        config: Number of titles and seed.
    """
    chosen = pl.DataFrame(
        schema={"subreddit": pl.String(), "title": pl.String(), "rank": pl.UInt64()}
    )
    num_submissions = 0
    for file in files:
        frame = pl.read_parquet(
            file, columns=["submission_id", "subreddit", "title"], hive_partitioning=False
        )
        num_submissions += frame.height
        ranked = frame.with_columns(rank=rank_of(frame["submission_id"], config.seed))
        both = pl.concat([chosen, ranked.select(chosen.columns)])
        chosen = (
            both.sort("rank", "title")
            .unique(("subreddit", "title"), keep="first", maintain_order=True)
            .group_by("subreddit", maintain_order=True)
            .head(config.titles_per_subreddit)
        ).select(chosen.columns)
    titles = chosen.sort("subreddit", "rank", "title").group_by("subreddit", maintain_order=True)
    return {str(name): part["title"].to_list() for (name,), part in titles}, num_submissions


def rank_of(submission_ids: pl.Series, seed: int) -> pl.Series:
    """A uniform uint64 for each id, the same for ever: the finaliser of SplitMix64.

    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 17.
    """
    with np.errstate(over="ignore"):
        x_N = submission_ids.to_numpy().astype(np.uint64)
        x_N = x_N + np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
        x_N = (x_N ^ (x_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x_N = (x_N ^ (x_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return pl.Series("rank", x_N ^ (x_N >> np.uint64(31)), dtype=pl.UInt64())


def subreddit_texts(name: str, titles: Sequence[str]) -> list[str]:
    """The texts whose mean describes a subreddit: its name in words, then its titles."""
    return [name.replace("_", " "), *(title for title in titles if title.strip())]
