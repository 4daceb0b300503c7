"""How well embeddings and attention find the planted tastes: the checks of the sample world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tests.graph.synthetic import Floats, World, unit


def taste_accuracy(
    world: World, projected: Floats, users: npt.NDArray[np.bool_] | None = None
) -> float:
    """Share of planted facets whose best tag is the planted one, over the users chosen.

    Args:
        world: The truth.
        projected: float [U, D] in CLIP space; the population mean is taken out here.
        users: bool [U]; all if None.
    """
    x = projected - projected.mean(axis=0)
    chosen = np.ones(len(x), dtype=bool) if users is None else users
    hits = []
    for facet in range(world.taste_values.shape[1]):
        tags = world.tags[world.tag_facet == facet]
        best = (unit(x) @ unit(tags - tags.mean(axis=0)).T).argmax(axis=1)
        planted = world.taste_values[world.user_taste, facet]
        rows = chosen & (planted >= 0)
        hits.append(best[rows] == planted[rows])
    return float(np.concatenate(hits).mean())


def salience_precision(world: World, ranked: Mapping[str, Sequence[str]], depth: int = 3) -> float:
    """Share of own-taste subreddits among the first `depth`, over users with that many planted."""
    scores = [
        sum(place in own for place in ranked[user][:depth]) / depth
        for user, own in zip(world.user_ids, world.own, strict=True)
        if len(own) >= depth
    ]
    return float(np.mean(scores))


def count_matrix(world: World) -> Floats:
    """float [U, S]: actions of each user in each subreddit."""
    counts = np.zeros((len(world.user_ids), len(world.subreddits)))
    for user, place, *_ in world.actions:
        counts[user, place] += 1
    return counts


def subreddit_means(world: World) -> Floats:
    """float [S, D]: centred mean image of each subreddit, without held-out images."""
    seen = ~world.image_heldout
    sums = np.zeros((len(world.subreddits), world.image_vectors.shape[1]))
    np.add.at(sums, world.image_subreddit[seen], world.image_vectors[seen])
    counts = np.bincount(world.image_subreddit[seen], minlength=len(sums))
    means: Floats = sums / np.maximum(counts, 1)[:, None]
    return means - world.image_vectors[seen].mean(axis=0)


def own_image_means(world: World) -> Floats:
    """float [U, D]: centred mean of a user's images that are not held out; zeros if none."""
    seen = ~world.image_heldout
    centre = world.image_vectors[seen].mean(axis=0)
    sums = np.zeros((len(world.user_ids), world.image_vectors.shape[1]))
    np.add.at(sums, world.image_user[seen], world.image_vectors[seen] - centre)
    return sums


def baseline_accuracies(world: World, users: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Taste accuracy of means that need no network, and of the oracle that knows the planting."""
    counts, means = count_matrix(world), subreddit_means(world)
    present = (counts > 0).astype(float)
    idf = np.log(len(counts) / present.sum(axis=0))
    oracle = np.array([[s in own for s in world.subreddits] for own in world.own], dtype=float)
    weights = {"activity": counts, "uniform": present, "idf": present * idf, "oracle": oracle}
    return {name: taste_accuracy(world, w @ means, users) for name, w in weights.items()}
