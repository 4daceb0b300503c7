"""The map: users in two dimensions, near where their embeddings are near."""

from __future__ import annotations

import numpy as np
import polars as pl

from orchestration.evaluation.taste import Floats, matrix, unit
from orchestration.evaluation.truth import Truth

MIN_STAYING = 0.5  # share of the users on a map; of fewer a new one is drawn


def user_map(
    users: pl.DataFrame,
    truth: Truth | None,
    max_users: int,
    seed: int,
    last: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """user_id, x, y, taste ("" if unknown) of at most `max_users` users, by t-SNE on p(z_u).

    Args:
        users: user_id, clip_embedding.
        truth: Planted tastes, if there are any.
        max_users: The first of them by id.
        seed: Of the layout.
        last: A map by the same encoder: who is on it stays in place, and who is not lies where the
            nearest of them does, so that maps can be compared and cost nothing.

    Source: van der Maaten and Hinton 2008, Visualizing Data using t-SNE.
    """
    chosen = users.sort("user_id").head(max_users)
    vectors_UD = matrix(chosen["clip_embedding"])
    vectors_UD = vectors_UD - vectors_UD.mean(axis=0)
    place_UX = _staying(chosen["user_id"], vectors_UD, last)
    if place_UX is None:
        place_UX = _laid_out(vectors_UD, seed)
    return pl.DataFrame(
        {
            "user_id": chosen["user_id"],
            "x": place_UX[:, 0],
            "y": place_UX[:, 1],
            "taste": [_label(truth, user_id) for user_id in chosen["user_id"]],
        }
    )


def _staying(ids: pl.Series, vectors_UD: Floats, last: pl.DataFrame | None) -> Floats | None:
    """Places from the last map; None where too few are on it."""
    if last is None:
        return None
    found = pl.DataFrame({"user_id": ids}).join(
        last.select("user_id", "x", "y"), on="user_id", how="left", maintain_order="left"
    )
    known_U = found["x"].is_not_null().to_numpy()
    if known_U.mean() < MIN_STAYING or not known_U.any():
        return None
    place_UX = found.select("x", "y").to_numpy().astype(np.float32)
    # The rows that are looked up need no unit length: it changes nothing about which is nearest.
    nearest_N = np.argmax(vectors_UD[~known_U] @ unit(vectors_UD[known_U]).T, axis=1)
    place_UX[~known_U] = place_UX[known_U][nearest_N]
    return place_UX


def _laid_out(vectors_UD: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    if len(vectors_UD) <= 3:
        return vectors_UD[:, :2]
    perplexity = min(30.0, max(1.0, (len(vectors_UD) - 1) / 3))
    tsne = TSNE(
        init="pca",
        metric="cosine",
        perplexity=perplexity,
        angle=0.7,  # coarser than the default, twice as fast, the same islands
        max_iter=300,
        random_state=seed,
    )
    return np.asarray(tsne.fit_transform(vectors_UD), np.float32)


def _label(truth: Truth | None, user_id: str) -> str:
    if truth is None:
        return ""
    return " + ".join(sorted(truth.factors.get(user_id, {}).values()))
