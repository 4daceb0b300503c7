"""Ranking metrics over all subreddits, with what a user is known for masked. Torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

METRICS = ("mrr", "hits_at_10", "recall_at_20", "ndcg_at_20")


def ranking_metrics(score_BS: Tensor, known_BS: Tensor, relevant_BS: Tensor) -> Tensor:
    """Metrics of each user, in the order of `METRICS`.

    mrr and hits rank every relevant subreddit among those that are neither known nor relevant
    (filtered ranking, Bordes et al. 2013) and average over the user's relevant ones; recall (over
    min(20, number relevant)) and ndcg look at the first twenty of one list. Ties count half.

    Args:
        score_BS: float, higher is better.
        known_BS: bool, masked: never ranked.
        relevant_BS: bool, to be found; disjoint from known.

    Returns:
        float64 [B, 4]; NaN for users with nothing relevant.
    """
    score_BS = score_BS.to(torch.float64)
    count = relevant_BS.sum(dim=1)
    owner, item = relevant_BS.nonzero(as_tuple=True)
    wrong = ~(known_BS | relevant_BS)[owner]
    own = score_BS[owner, item][:, None]
    above = ((score_BS[owner] > own) & wrong).sum(dim=1)
    ties = ((score_BS[owner] == own) & wrong).sum(dim=1)
    rank = above + ties / 2 + 1
    per_edge = torch.stack([1 / rank, (rank <= 10).to(torch.float64)], dim=1)
    means = torch.zeros(len(count), 2, dtype=torch.float64).index_add(0, owner, per_edge)
    means = means / count[:, None]
    listed = _listed(score_BS.masked_fill(known_BS, -torch.inf), relevant_BS, depth=20)
    return torch.cat([means, listed], dim=1)


def _listed(score_BS: Tensor, relevant_BS: Tensor, depth: int) -> Tensor:
    """Recall and NDCG of the first `depth` entries, float64 [B, 2]."""
    depth = min(depth, score_BS.shape[1])
    top = score_BS.argsort(dim=1, descending=True, stable=True)[:, :depth]
    hit = relevant_BS.gather(1, top).to(torch.float64)
    discount = 1 / torch.log2(torch.arange(depth, dtype=torch.float64) + 2)
    findable = relevant_BS.sum(dim=1).clamp(max=depth)
    ideal = torch.cat([torch.zeros(1, dtype=torch.float64), discount.cumsum(0)])[findable]
    return torch.stack([hit.sum(dim=1) / findable, (hit @ discount) / ideal], dim=1)


def average(rows: Iterable[Tensor]) -> tuple[dict[str, float], int]:
    """Mean of each metric over the users with anything relevant, and how many those are."""
    table = torch.cat(list(rows))
    table = table[~table[:, 0].isnan()]
    if not len(table):
        return dict.fromkeys(METRICS, float("nan")), 0
    return dict(zip(METRICS, table.mean(dim=0).tolist(), strict=True)), len(table)
