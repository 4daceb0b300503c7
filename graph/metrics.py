"""Ranking metrics over all subreddits, with what a user is known for masked. Torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

METRICS = ("mrr", "hits_at_10", "recall_at_20", "ndcg_at_20")
MAX_COMPARED = 1 << 24  # Scores that are compared at once: 64 MB.


def ranking_metrics(score_BS: Tensor, known_BS: Tensor, relevant_BS: Tensor) -> Tensor:
    """Metrics of each user, in the order of `METRICS`.

    mrr and hits rank every relevant subreddit among those that are neither known nor relevant
    (filtered ranking, Bordes et al. 2013) and average over the user's relevant ones; recall (over
    all relevant ones) and ndcg look at the first twenty of one list. Ties count half in ranks; the
    list breaks them by index.

    Args:
        score_BS: float, higher is better; NaN, of a model that diverged, is worst.
        known_BS: bool, masked: never ranked.
        relevant_BS: bool, to be found; disjoint from known.

    Returns:
        float64 [B, 4]; NaN for users with nothing relevant.
    """
    score_BS = score_BS.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    count = relevant_BS.sum(dim=1)
    owner, item = relevant_BS.nonzero(as_tuple=True)
    rank = _filtered_ranks(score_BS, known_BS | relevant_BS, owner, item)
    per_edge = torch.stack([1 / rank, (rank <= 10).to(torch.float64)], dim=1)
    means = torch.zeros(len(count), 2, dtype=torch.float64).index_add(0, owner, per_edge)
    means = means / count[:, None]
    listed = _listed(score_BS.masked_fill(known_BS, -torch.inf), relevant_BS, depth=20)
    return torch.cat([means, listed], dim=1)


def _filtered_ranks(score_BS: Tensor, out_BS: Tensor, owner: Tensor, item: Tensor) -> Tensor:
    """float64: rank, from 1, of each edge's subreddit among those of its user that are not out."""
    own = score_BS[owner, item]
    others = score_BS.masked_fill(out_BS, -torch.inf)
    parts = []
    for edges in torch.arange(len(owner)).split(max(1, MAX_COMPARED // score_BS.shape[1])):
        rows, threshold = others[owner[edges]], own[edges][:, None]
        above = (rows > threshold).count_nonzero(dim=1)
        ties = (rows == threshold).count_nonzero(dim=1)
        parts.append(above.to(torch.float64) + ties / 2 + 1)
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def _listed(score_BS: Tensor, relevant_BS: Tensor, depth: int) -> Tensor:
    """Recall and NDCG of the first `depth` entries, float64 [B, 2]."""
    count = relevant_BS.sum(dim=1)
    depth = min(depth, score_BS.shape[1])
    hit = relevant_BS.gather(1, first_columns(score_BS, depth)).to(torch.float64)
    discount = 1 / torch.log2(torch.arange(depth, dtype=torch.float64) + 2)
    best = torch.cat([torch.zeros(1, dtype=torch.float64), discount.cumsum(0)])
    ideal = best[count.clamp(max=depth)]
    return torch.stack([hit.sum(dim=1) / count, (hit @ discount) / ideal], dim=1)


def first_columns(score_BS: Tensor, depth: int) -> Tensor:
    """int64 [B, depth]: the columns of the highest scores of each row, ties by index.

    As a stable sort would give, without sorting what is not listed.
    """
    width = min(depth + 1, score_BS.shape[1])
    top = score_BS.topk(width, dim=1, sorted=True)
    listed = top.indices[:, :depth].sort(dim=1).values
    if width > depth:
        last = top.values[:, depth - 1]
        tied = (last == top.values[:, depth]).nonzero()[:, 0]
        listed[tied] = _first_tied(score_BS[tied], last[tied, None], depth)
    order = score_BS.gather(1, listed).argsort(dim=1, descending=True, stable=True)
    return listed.gather(1, order)


def _first_tied(score_BS: Tensor, last_B1: Tensor, depth: int) -> Tensor:
    """int64 [B, depth], sorted: columns above the last score, and the first of those that tie."""
    above, equal = score_BS > last_B1, score_BS == last_B1
    wanted = depth - above.count_nonzero(dim=1)
    chosen = above | (equal & (equal.cumsum(dim=1) <= wanted[:, None]))
    return chosen.nonzero()[:, 1].view(-1, depth)


def average(rows: Iterable[Tensor]) -> tuple[dict[str, float], int]:
    """Mean of each metric over the users with anything relevant, and how many those are."""
    table = torch.cat(list(rows))
    table = table[~table[:, 0].isnan()]
    if not len(table):
        return dict.fromkeys(METRICS, float("nan")), 0
    return dict(zip(METRICS, table.mean(dim=0).tolist(), strict=True)), len(table)
