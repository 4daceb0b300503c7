"""Whose held-out images are these? Recall of the right user among all, from p(z_u)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
BATCH = 1024


def image_recall(query_UD: Floats, target_UD: Floats, depths: tuple[int, ...]) -> dict[int, float]:
    """Share of users whose own images are among the nearest, by depth; ties count half.

    Args:
        query_UD: float, unit; row u is what is thought of user u.
        target_UD: float, unit; row u is the mean of the images that user u posted.
        depths: How many nearest count.
    """
    ranks = []
    for start in range(0, len(query_UD), BATCH):
        score = query_UD[start : start + BATCH] @ target_UD.T
        own = score[np.arange(len(score)), np.arange(start, start + len(score))][:, None]
        above, ties = (score > own).sum(axis=1), (score == own).sum(axis=1) - 1
        ranks.append(above + ties / 2 + 1)
    rank = np.concatenate(ranks) if ranks else np.array([np.nan])
    return {depth: float(np.mean(rank <= depth)) if ranks else float("nan") for depth in depths}
