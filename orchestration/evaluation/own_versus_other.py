"""Own versus other: does a persona fit its user's held-out images better than someone else's?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float32]


def own_versus_other(
    persona_UD: Floats, image_UD: Floats, permutations: int, seed: int
) -> tuple[float, float]:
    """How often a user's own persona beats another's on the user's images, and by chance how often.

    Args:
        persona_UD: CLIP text of each user's persona, unit.
        image_UD: Mean CLIP of each user's held-out images, unit; same order.
        permutations: Random assignments of personas to users that estimate chance.
        seed: Of the permutations.

    Returns:
        (share of (user, other) pairs won, ties half; one-sided permutation p-value).
    """
    num_users = len(persona_UD)
    if num_users < 2:
        return float("nan"), float("nan")
    # Centred, for the cosine of any text with any image is dominated by what all share.
    score_UU = (image_UD - image_UD.mean(0)) @ (persona_UD - persona_UD.mean(0)).T
    # How many of the other personas each one beats on each user's images, ties half.
    beaten_UU = rankdata(score_UU, axis=1) - 1
    rng = np.random.default_rng(seed)
    assigned = [np.arange(num_users), *(rng.permutation(num_users) for _ in range(permutations))]
    observed, *chance = (
        float(beaten_UU[assigned[0], other_U].mean() / (num_users - 1)) for other_U in assigned
    )
    p_value = (1 + sum(c >= observed for c in chance)) / (1 + permutations)
    return observed, p_value
