"""Does attention tell what an embedding rests on? Take subreddits away and see how far it moves.

Attention weights need not be what a prediction depends on (GAtt, AAAI 2025). So the subreddits that
attention ranks first are taken from each user, the user is encoded again, and the shift is compared
with that of taking as many at random, and as many of the most active ones.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graph.contents import user_inputs
from graph.counter_random import Stream, uniform
from graph.edges import EDGE_FEATURES
from graph.encode import EncodedUsers, SubredditStates, encode_all_users, encode_subreddits
from graph.evaluate import sampled
from graph.model import Neighbourhood, TasteEncoder
from graph.prepare import View
from graph.stats import sample_stats

MAX_USERS = 2048
RANKINGS = ("attention", "activity", "random")
ACTIVITY = [EDGE_FEATURES.index(name) for name in ("log1p_submissions", "log1p_comments")]


@torch.inference_mode()
def deletion_shift(
    model: TasteEncoder, view: View, *, removed: int, seed: int
) -> dict[str, dict[str, float]]:
    """Mean shift (1 - cosine) of users who lose `removed` subreddits, by ranking of what is lost.

    Args:
        model: In evaluation mode.
        view: Whose users; at most `MAX_USERS` that have more than twice as many subreddits.
        removed: Subreddits taken from each user.
        seed: Of the random ranking and the sample of users.

    Returns:
        By ranking of `RANKINGS`: `z`, the shift of z_u, and `taste`, that of where p(z_u) lies;
        NaN without such users.
    """
    by_user = view.graph.by_user
    users = sampled(torch.nonzero(by_user.degrees() > 2 * removed)[:, 0], MAX_USERS, seed)
    if not len(users):
        return {name: _means([]) for name in RANKINGS}
    rows = torch.arange(view.graph.num_subreddits) + 1
    states = encode_subreddits(
        model, view.graph.by_subreddit, view.features, view.contents, rows=rows, seed=seed
    )
    shifts: dict[str, list[Tensor]] = {name: [] for name in RANKINGS}
    for part in encode_all_users(model, states, by_user, view.contents, users=users, seed=seed):
        order = {
            "attention": part.encoded.attention_BF,
            "activity": by_user.edge_features(part.edge_BF)[..., ACTIVITY].expm1().sum(dim=-1),
            "random": uniform(Stream.BASELINE, seed, part.users[:, None], part.edge_BF),
        }
        for name in RANKINGS:
            left = part.mask_BF & ~_first(order[name], part.mask_BF, removed)
            shifts[name].append(_shift(model, states, view, part, left))
    return {name: _means(parts) for name, parts in shifts.items()}


def _shift(
    model: TasteEncoder, states: SubredditStates, view: View, was: EncodedUsers, left_BF: Tensor
) -> Tensor:
    """float [B, 2]: how far z_u and p(z_u) move when only these edges are left."""
    by_user = view.graph.by_user
    features = by_user.edge_features(was.edge_BF)
    near = Neighbourhood(
        slot_RF=by_user.neighbours[was.edge_BF].to(torch.int64), mask_RF=left_BF, edge_RFE=features
    )
    stats = sample_stats(features, left_BF, left_BF.sum(dim=1))
    inputs = replace(user_inputs(view.contents, was.users), stats_NK=stats)
    now = model.gather_subreddits(states.h_Sd, states.inputs, inputs, near)
    z = (was.encoded.z_Bd * now.z_Bd).sum(dim=1)
    taste = (was.encoded.direction_BD * now.direction_BD).sum(dim=1)
    return 1 - torch.stack([z, taste], dim=1)


def _first(order_BF: Tensor, mask_BF: Tensor, count: int) -> Tensor:
    """bool [B, F]: the `count` highest of each row, among those not masked."""
    ranked = order_BF.to(torch.float64).masked_fill(~mask_BF, -torch.inf)
    chosen = ranked.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(mask_BF).scatter(1, chosen, torch.ones_like(chosen).bool())


def _means(parts: list[Tensor]) -> dict[str, float]:
    z, taste = torch.cat(parts).mean(dim=0).tolist() if parts else (float("nan"),) * 2
    return {"z": z, "taste": taste}
