"""The two contrastive objectives: links to subreddits, and alignment with posted images. Torch."""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Subreddits that every user of a batch is scored against, each once.

    Axes: B users, C candidates.

    Args:
        subreddits: int64 [C], sorted and distinct: targets of the batch and uniform draws.
        positive_BC: bool, edges to predict.
        known_BC: bool, other edges of the user in training: neither positive nor negative
            (accidental hits).
        log_q_C: float, log of the probability that a subreddit is among the candidates.
    """

    subreddits: Tensor
    positive_BC: Tensor
    known_BC: Tensor
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


def link_loss(logit_BC: Tensor, candidates: Candidates) -> Tensor:
    """InfoNCE of each user's positives against the candidates it has no edge to, nats.

    Every positive is contrasted with the negatives alone, not with the other positives. Negatives
    are corrected for how likely they were drawn; a positive is not drawn and so is not corrected.

    Args:
        logit_BC: float, scores over temperature.
        candidates: What they are scores of.

    Returns:
        float scalar, mean over users with positives; each user's positives are averaged. Zero if
        no user has any.

    Source: Yi et al. 2019 (logQ), and "Correcting the LogQ Correction", arXiv:2507.09331.
    """
    excluded = candidates.positive_BC | candidates.known_BC
    negatives = (logit_BC - candidates.log_q_C).masked_fill(excluded, -torch.inf)
    log_negatives = torch.logsumexp(negatives, dim=1, keepdim=True)
    # -log(e^p / (e^p + sum of negatives)); finite also where a user knows every candidate.
    cost_BC = torch.nn.functional.softplus(log_negatives.clamp(min=-1e4) - logit_BC)
    count = candidates.positive_BC.sum(dim=1)
    per_user = (cost_BC * candidates.positive_BC).sum(dim=1) / count.clamp(min=1)
    return per_user.sum() / (count > 0).sum().clamp(min=1)


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
