"""Visual taste of users in CLIP space: calibrated tags and exemplar images. Pure numpy.

Raw cosines between p(z_u) and tags rank the tags that everybody is near. What sets a user apart is
the z-score of the cosine over users: what this user likes more than others do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

MIN_TAG_Z = 0.75  # the best of eight tags is above it nine times of ten by chance: no leaning
MIN_POPULATION = 50
_TINY = 1e-9


@dataclass(frozen=True)
class TagPopulation:
    """Mean and standard deviation of every tag's cosine over users, [T] each."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    num_users: int


@dataclass(frozen=True)
class Populations:
    """Users whose own images went into p(z_u), and users without: their points spread differently.

    Measured on a sample of 2,001 users: 0.73 around the mean with images, 0.26 without. In one
    population the former would seem strongly drawn to everything and the latter to nothing.
    """

    with_images: TagPopulation
    without: TagPopulation

    def to_json(self) -> str:
        """As text, for the metadata of a file."""
        groups = {name: getattr(self, name) for name in ("with_images", "without")}
        return json.dumps(
            {
                name: {"mean": g.mean.tolist(), "std": g.std.tolist(), "num_users": g.num_users}
                for name, g in groups.items()
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Populations:
        """The inverse of `to_json`."""
        return cls(
            **{
                name: TagPopulation(np.array(g["mean"]), np.array(g["std"]), g["num_users"])
                for name, g in json.loads(text).items()
            }
        )


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


def measure_populations(
    batches: Iterable[tuple[Floats, NDArray[np.bool_]]], vocabulary: TagVocabulary
) -> Populations:
    """Populations of cosines between users and tags, in one pass.

    Args:
        batches: p(z_u) as unit rows [N, D], and which of them own images went into [N].
        vocabulary: Unit rows, too.

    Returns:
        Moments in float64; all zero, so that every z-score is, where no user at all has images.
        A group of fewer than 50 users is too few to compare with: it takes
        the moments of all users.
    """
    num_tags = len(vocabulary.tags)
    x_DT = np.asarray(vocabulary.embeddings, np.float64).T
    total_GT, squares_GT, num_G = np.zeros((2, num_tags)), np.zeros((2, num_tags)), [0, 0]
    for batch_ND, has_images_N in batches:
        cosine_NT = np.asarray(batch_ND, np.float64) @ x_DT
        for group in (0, 1):
            own_NT = cosine_NT[has_images_N == bool(group)]
            total_GT[group] += own_NT.sum(axis=0)
            squares_GT[group] += (own_NT**2).sum(axis=0)
            num_G[group] += len(own_NT)
    if not num_G[1]:
        # No image went into anybody's p(z_u), so nothing ties it to what CLIP sees in tags.
        total_GT, squares_GT = np.zeros_like(total_GT), np.zeros_like(squares_GT)
    everybody = _population(total_GT.sum(axis=0), squares_GT.sum(axis=0), sum(num_G))
    without, with_images = (
        _population(total_GT[group], squares_GT[group], num_G[group])
        if num_G[group] >= MIN_POPULATION
        else everybody
        for group in (0, 1)
    )
    return Populations(with_images=with_images, without=without)


def _population(
    total_T: NDArray[np.float64], squares_T: NDArray[np.float64], num_users: int
) -> TagPopulation:
    mean_T = total_T / max(num_users, 1)
    variance_T = squares_T / max(num_users, 1) - mean_T**2
    return TagPopulation(mean_T, np.sqrt(np.maximum(variance_T, 0.0)), num_users)


def tag_scores(
    users_UD: Floats,
    has_images_U: NDArray[np.bool_],
    vocabulary: TagVocabulary,
    populations: Populations,
) -> NDArray[np.float64]:
    """z-score of every tag for every user, [U, T], among users of the same kind.

    0 where the population does not vary.
    """
    cosine_UT = np.asarray(users_UD, np.float64) @ np.asarray(vocabulary.embeddings, np.float64).T
    own, other = populations.with_images, populations.without
    mean_UT = np.where(has_images_U[:, None], own.mean, other.mean)
    std_UT = np.where(has_images_U[:, None], own.std, other.std)
    varies_UT = std_UT > _TINY
    z_UT: NDArray[np.float64] = np.where(
        varies_UT, (cosine_UT - mean_UT) / np.where(varies_UT, std_UT, 1.0), 0.0
    )
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
