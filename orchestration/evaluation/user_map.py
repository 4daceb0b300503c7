"""The map: users in two dimensions, near where their embeddings are near."""

from __future__ import annotations

import polars as pl

from orchestration.evaluation.taste import matrix
from orchestration.evaluation.truth import Truth


def user_map(users: pl.DataFrame, truth: Truth | None, max_users: int, seed: int) -> pl.DataFrame:
    """user_id, x, y, taste ("" if unknown) of at most `max_users` users, by t-SNE on p(z_u).

    Source: van der Maaten and Hinton 2008, Visualizing Data using t-SNE.
    """
    from sklearn.manifold import TSNE

    chosen = users.sort("user_id").head(max_users) if len(users) > max_users else users
    chosen = chosen.sort("user_id")
    vectors_UD = matrix(chosen["clip_embedding"])
    vectors_UD = vectors_UD - vectors_UD.mean(axis=0)
    perplexity = min(30.0, max(1.0, (len(chosen) - 1) / 3))
    tsne = TSNE(
        init="pca",
        metric="cosine",
        perplexity=perplexity,
        angle=0.7,  # coarser than the default, twice as fast, the same islands
        max_iter=300,
        random_state=seed,
    )
    place_UX = tsne.fit_transform(vectors_UD) if len(chosen) > 3 else vectors_UD[:, :2]
    return pl.DataFrame(
        {
            "user_id": chosen["user_id"],
            "x": place_UX[:, 0],
            "y": place_UX[:, 1],
            "taste": [_label(truth, user_id) for user_id in chosen["user_id"]],
        }
    )


def _label(truth: Truth | None, user_id: str) -> str:
    if truth is None:
        return ""
    return " + ".join(sorted(truth.factors.get(user_id, {}).values()))
