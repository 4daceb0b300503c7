"""The two contrastive objectives: links to subreddits, and alignment with posted images. Torch."""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

# 0.5 MB, so that what is made of them stays in a core's cache; a GPU is better filled.
SCORES_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 26}
LOWEST = -1e4  # Stands for the log of nothing: finite, so that costs and gradients are.


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Subreddits that every user of a batch is scored against, each once.

    Axes: C candidates, P edges to predict, K edges. A column of a pair of rows is (user,
    candidate), as their positions; columns ascend by user.

    Args:
        subreddits: int64 [C], distinct: targets of the batch and uniform draws.
        positive_2P: int64, edges to predict.
        edge_2K: int64, all edges of training between users and candidates, those to predict among
            them: none of them is a negative (accidental hits).
        log_q_C: float, log of the probability that a subreddit is among the candidates.
    """

    subreddits: Tensor
    positive_2P: Tensor
    edge_2K: Tensor
    log_q_C: Tensor

    def to(self, device: torch.device) -> Candidates:
        """On another device."""
        return Candidates(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def inclusion_log_q(expected_draws_C: Tensor) -> Tensor:
    """Log probability to be among the candidates, from the expected number of draws.

    Draws are Poisson, so a subreddit is in with 1 - exp(-draws). Where everything is surely in,
    that is log 1: no correction, and the loss is the exact softmax.
    """
    return torch.log((-torch.expm1(-expected_draws_C)).clamp(min=1e-12))


def link_loss(
    query_Bd: Tensor, answer_Cd: Tensor, prior_C: Tensor, candidates: Candidates
) -> Tensor:
    """InfoNCE of each user's positives against the candidates it has no edge to, nats.

    Every positive is contrasted with the negatives alone, not with the other positives. Negatives
    are corrected for how likely they were drawn; a positive is not drawn and so is not corrected.

    Args:
        query_Bd: float, users over temperature.
        answer_Cd, prior_C: float, candidates: a logit is query times answer, plus prior.
        candidates: What they are, and whose.

    Returns:
        float scalar, mean over users with positives; each user's positives are averaged. Zero if
        no user has any.

    Source: Yi et al. 2019 (logQ), and "Correcting the LogQ Correction", arXiv:2507.09331.
    """
    scored = _scored(candidates, len(query_Bd))
    offset_C = prior_C - candidates.log_q_C
    loss: Tensor = _ContrastiveLoss.apply(query_Bd[scored.user_A], answer_Cd, offset_C, scored)
    return loss


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """The users with positives, A of them: nobody else is in the mean, so nobody else is scored.

    Args:
        user_A: int64, their positions in the batch.
        positive_2P, edge_2K: As in `Candidates`, positions of users being those in `user_A`.
        weight_P: float, of each positive in the loss.
        log_q_P: float, of its candidate.
    """

    user_A: Tensor
    positive_2P: Tensor
    edge_2K: Tensor
    weight_P: Tensor
    log_q_P: Tensor


def _scored(candidates: Candidates, num_users: int) -> _Scored:
    user, row, count = candidates.positive_2P[0].unique_consecutive(
        return_inverse=True, return_counts=True
    )
    place = torch.full((num_users,), -1, device=user.device)
    place[user] = torch.arange(len(user), device=user.device)
    owner = place[candidates.edge_2K[0]]
    is_scored = owner >= 0
    return _Scored(
        user_A=user,
        positive_2P=torch.stack([row, candidates.positive_2P[1]]),
        edge_2K=torch.stack([owner[is_scored], candidates.edge_2K[1][is_scored]]),
        weight_P=1.0 / (count[row] * max(len(user), 1)).to(candidates.log_q_C.dtype),
        log_q_P=candidates.log_q_C[candidates.positive_2P[1]],
    )


class _ContrastiveLoss(torch.autograd.Function):
    """`link_loss` and its gradients, some rows of scores at a time: all rows of [users, candidates]
    would be written and read a dozen times, and most of a step is that."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, answer: Tensor, offset: Tensor, scored: _Scored) -> Tensor:
        """The loss; its gradients for when they are asked for."""
        # The offset is a dimension more, in which every query is one.
        query = torch.cat([query, torch.ones_like(query[:, :1])], dim=1)
        answer = torch.cat([answer, offset[:, None]], dim=1)
        by_query, by_answer = torch.zeros_like(query), torch.zeros_like(answer)
        loss = query.new_zeros(())
        rows = max(1, SCORES_AT_ONCE[query.device.type] // max(1, len(answer)))
        cuts = torch.arange(0, len(query) + rows, rows, device=query.device)
        (owner, asked), (holder, known) = scored.positive_2P, scored.edge_2K
        positives = torch.searchsorted(owner, cuts).tolist()
        edges = torch.searchsorted(holder, cuts).tolist()
        for part, start in enumerate(range(0, len(query), rows)):
            p, e = slice(*positives[part : part + 2]), slice(*edges[part : part + 2])
            some, here = query[start : start + rows], (owner[p] - start, asked[p])
            score = some @ answer.T
            logit = score[here] + scored.log_q_P[p]
            score[holder[e] - start, known[e]] = -torch.inf
            loss += _contrast(score, here, logit, scored.weight_P[p])
            by_query[start : start + rows] = score @ answer
            by_answer += score.T @ some
        ctx.save_for_backward(by_query[:, :-1], by_answer[:, :-1], by_answer[:, -1])
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Those of the forward pass, scaled."""
        return *(grads[0] * found for found in ctx.saved_tensors), None


def _contrast(
    score_RC: Tensor, positive: tuple[Tensor, Tensor], logit_P: Tensor, weight_P: Tensor
) -> Tensor:
    """Weighted sum of the positives' costs; `score_RC`, those of negatives, becomes the gradient.

    The cost of a positive is -log(e^p / (e^p + sum of e^n over negatives)).
    """
    top = score_RC.amax(dim=1, keepdim=True).clamp(min=LOWEST)
    total = score_RC.sub_(top).exp_().sum(dim=1)
    log_negatives = (top[:, 0] + total.log()).clamp(min=LOWEST)
    margin = log_negatives[positive[0]] - logit_P
    slope = weight_P * margin.sigmoid()
    by_row = torch.zeros_like(total).index_add_(0, positive[0], slope)
    score_RC.mul_((by_row / total.clamp(min=1e-30))[:, None])
    score_RC[positive] -= slope
    return (weight_P * torch.nn.functional.softplus(margin)).sum()


def image_loss(direction_BD: Tensor, target_BD: Tensor, present_B: Tensor, tau: Tensor) -> Tensor:
    """Symmetric InfoNCE between where p(z_u) lies and the images that the user posted, nats.

    Args:
        direction_BD: float, unit; of every user of the batch.
        target_BD: float, unit; anything where absent.
        present_B: bool, users with a target; the others are neither positives nor negatives.
        tau: float scalar, temperature.

    Returns:
        float scalar, mean over users with a target and both directions; zero if fewer than two.
    """
    direction, target = direction_BD[present_B], target_BD[present_B]
    if len(direction) < 2:
        return direction_BD.sum() * 0.0
    logits = direction @ target.T / tau
    labels = torch.arange(len(logits), device=logits.device)
    there = torch.nn.functional.cross_entropy(logits, labels)
    back = torch.nn.functional.cross_entropy(logits.T, labels)
    return (there + back) / 2
