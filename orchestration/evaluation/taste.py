"""Taste: does p(z_u) name the planted factors, and do the no-network baselines?

Every method makes one vector a user in CLIP's space; all are scored alike: minus the mean over
users, against the tags of each planted facet, each minus its facet's mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tags:
    """Tags of one vocabulary: names by facet, vectors `[tags of the facet, D]`, centred."""

    names: dict[str, list[str]]
    vectors: dict[str, Floats]

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> Tags:
        """Tags of `TAG_EMBEDDINGS`, each facet minus its mean and made unit."""
        names, vectors = {}, {}
        for (facet,), group in table.sort("facet", "tag").group_by("facet", maintain_order=True):
            x_ND = matrix(group["embedding"])
            names[str(facet)] = group["tag"].to_list()
            vectors[str(facet)] = unit(x_ND - x_ND.mean(axis=0))
        return cls(names=names, vectors=vectors)


def taste_top1(
    vectors_UD: Floats,
    user_ids: list[str],
    factors: dict[str, dict[str, str]],
    tags: Tags,
    centre_D: Floats | None = None,
) -> float:
    """Share of planted (user, facet) pairs whose best tag is the planted value.

    Args:
        vectors_UD: One vector a user, in CLIP's space.
        user_ids: Their ids; those without planted factors are left out.
        factors: user_id -> {facet: planted value}.
        tags: The vocabulary.
        centre_D: Subtracted from every vector; None: the mean over the users given.

    Returns:
        In [0, 1]; NaN if no user has planted factors.
    """
    centre_D = vectors_UD.mean(axis=0) if centre_D is None else centre_D
    x_UD = vectors_UD - centre_D
    hits = []
    for row, user_id in enumerate(user_ids):
        for facet, value in factors.get(user_id, {}).items():
            best = int(np.argmax(tags.vectors[facet] @ x_UD[row]))
            hits.append(tags.names[facet][best] == value)
    return float(np.mean(hits)) if hits else float("nan")


def subreddit_means(features: pl.DataFrame) -> tuple[list[str], Floats]:
    """Names and mean images `[S, D]` of the subreddits that have images, against the global mean.

    Made unit: else subreddits of one look would outweigh those of many, which lowers every
    baseline.
    """
    with_images = features.filter(pl.col("num_images") > 0).sort("subreddit")
    sum_SD = matrix(with_images["image_sum"])
    num_S = with_images["num_images"].to_numpy().astype(np.float32)
    mean_SD = sum_SD / num_S[:, None]
    return with_images["subreddit"].to_list(), unit(mean_SD - sum_SD.sum(axis=0) / num_S.sum())


def weighted_mean(
    edges: pl.DataFrame, weight: str, names: list[str], mean_SD: Floats, user_ids: list[str]
) -> Floats:
    """Each user's mean over subreddits, weighted by the column `weight` of `edges`.

    Args:
        edges: user_id, subreddit and `weight`.
        names, mean_SD: Subreddits and their vectors; edges to others count for nothing.
        user_ids: Rows of the result, in order; a user without usable edges has zeros.

    Returns:
        `[users, D]` float32.
    """
    subreddit = pl.DataFrame({"subreddit": names, "column": range(len(names))})
    user = pl.DataFrame({"user_id": user_ids, "row": range(len(user_ids))})
    joined = edges.join(subreddit, on="subreddit").join(user, on="user_id").sort("row", "column")
    rows, columns = joined["row"].to_numpy(), joined["column"].to_numpy()
    weight_E = joined[weight].to_numpy().astype(np.float32)
    x_UD = np.zeros((len(user_ids), mean_SD.shape[1]), np.float32)
    np.add.at(x_UD, rows, weight_E[:, None] * mean_SD[columns])
    total_U = np.zeros(len(user_ids), np.float32)
    np.add.at(total_U, rows, weight_E)
    mean_UD: Floats = np.divide(x_UD, np.maximum(total_U, 1e-12)[:, None], dtype=np.float32)
    return mean_UD


def baseline_weights(interactions: pl.DataFrame) -> pl.DataFrame:
    """Edges with the weights of the no-network baselines: activity, uniform, idf."""
    edges = interactions.group_by("user_id", "subreddit").agg(
        activity=(pl.col("num_submissions") + pl.col("num_comments")).sum()
    )
    num_users = edges["user_id"].n_unique()
    degree = pl.col("user_id").len().over("subreddit")
    return edges.with_columns(uniform=pl.lit(1.0), idf=(pl.lit(float(num_users)) / degree).log())


def matrix(column: pl.Series) -> Floats:
    """A vector column as `[rows, D]` float32."""
    rows = list(column.to_numpy())
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 1), np.float32)


def unit(x_ND: Floats) -> Floats:
    """Rows scaled to unit L2 norm; zero rows stay zero."""
    norm_N = np.linalg.norm(x_ND, axis=1, keepdims=True)
    scaled: Floats = x_ND / np.maximum(norm_N, 1e-12)
    return scaled
