"""Visual taste of users in CLIP space: calibrated tags and exemplar images. Pure numpy.

Raw cosines between p(z_u) and tags rank the tags that everybody is near. What sets a user apart is
the z-score of the cosine over users: what this user likes more than others do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

MIN_TAG_Z = 0.75  # the best of eight tags is above it nine times of ten by chance: no leaning
_TINY = 1e-9


@dataclass(frozen=True)
class TagPopulation:
    """Mean and standard deviation of every tag's cosine over users, [T] each."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_users: int


@dataclass(frozen=True)
class TagVocabulary:
    """Tags with their CLIP text embeddings, unit rows [T, D]."""

    facets: tuple[str, ...]
    tags: tuple[str, ...]
    embeddings: Floats

    def __post_init__(self) -> None:
        lengths = (len(self.facets), len(self.tags), len(self.embeddings))
        if len(set(lengths)) > 1:
            raise ValueError(f"(facets, tags, embeddings) are {lengths}: expected as many of each")


def measure_population(batches: Iterable[Floats], vocabulary: TagVocabulary) -> TagPopulation:
    """Population of cosines between users and tags, in one pass over batches of p(z_u).

    Args:
        batches: Arrays [N, D] of unit rows.
        vocabulary: Unit rows, too.

    Returns:
        Means and standard deviations in float64; no users: zeros.
    """
    num_tags = len(vocabulary.tags)
    x_DT = np.asarray(vocabulary.embeddings, np.float64).T
    total_T, squares_T, num_users = np.zeros(num_tags), np.zeros(num_tags), 0
    for batch_ND in batches:
        cosine_NT = np.asarray(batch_ND, np.float64) @ x_DT
        total_T += cosine_NT.sum(axis=0)
        squares_T += (cosine_NT**2).sum(axis=0)
        num_users += len(cosine_NT)
    mean_T = total_T / max(num_users, 1)
    variance_T = squares_T / max(num_users, 1) - mean_T**2
    return TagPopulation(mean_T, np.sqrt(np.maximum(variance_T, 0.0)), num_users)


def tag_scores(
    users_UD: Floats, vocabulary: TagVocabulary, population: TagPopulation
) -> NDArray[np.float64]:
    """z-score of every tag for every user, [U, T]; 0 where the population does not vary."""
    cosine_UT = np.asarray(users_UD, np.float64) @ np.asarray(vocabulary.embeddings, np.float64).T
    varies_T = population.std > _TINY
    scale_T = np.where(varies_T, population.std, 1.0)
    z_UT: NDArray[np.float64] = np.where(varies_T, (cosine_UT - population.mean) / scale_T, 0.0)
    # Rounding makes ranks the same for any batch shape: matrix products differ in the last bits.
    return np.round(z_UT, 6)


def top_tags(
    z_UT: NDArray[np.float64], vocabulary: TagVocabulary, per_facet: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and tags of the best tags of each facet, those with z of at least 0.75.

    Returns:
        (user_K, tag_K): users in order; within a user the highest z first, ties by tag order.
    """
    users: list[NDArray[np.int64]] = []
    tags: list[NDArray[np.int64]] = []
    for facet in dict.fromkeys(vocabulary.facets):
        columns_F = np.flatnonzero(np.array(vocabulary.facets) == facet)
        order_UF = np.argsort(-z_UT[:, columns_F], axis=1, kind="stable")[:, :per_facet]
        users.append(np.repeat(np.arange(len(z_UT)), order_UF.shape[1]))
        tags.append(columns_F[order_UF].ravel())
    if not users:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    user_K, tag_K = np.concatenate(users), np.concatenate(tags)
    z_K = z_UT[user_K, tag_K]
    keep_K = z_K >= MIN_TAG_Z
    user_K, tag_K, z_K = user_K[keep_K], tag_K[keep_K], z_K[keep_K]
    order_K = np.lexsort((tag_K, -z_K, user_K))
    return user_K[order_K], tag_K[order_K]


def image_scores(
    users_UD: Floats, user_I: NDArray[np.int64], images_ID: Floats
) -> NDArray[np.float64]:
    """Cosine of each image to p(z_u) of the user who posted it. Axes: I user-image pairs."""
    products_ID = np.asarray(users_UD, np.float64)[user_I] * np.asarray(images_ID, np.float64)
    return np.asarray(np.round(products_ID.sum(axis=1), 6), np.float64)
