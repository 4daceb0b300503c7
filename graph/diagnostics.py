"""Is an embedding collapsing? Alignment, uniformity and effective rank of user vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def alignment(a_BD: Tensor, b_BD: Tensor) -> float:
    """Mean squared distance of positive pairs of unit vectors; 0 is perfect, 2 is chance.

    Source: Wang and Isola 2020, arXiv:2005.10242.
    """
    return float((a_BD - b_BD).square().sum(dim=1).mean()) if len(a_BD) else float("nan")


def uniformity(x_BD: Tensor) -> float:
    """Log mean Gaussian potential (t = 2) over pairs of unit vectors; 0 is total collapse.

    Source: Wang and Isola 2020, arXiv:2005.10242.
    """
    if len(x_BD) < 2:
        return float("nan")
    return float(torch.pdist(x_BD.double()).square().mul(-2).exp().mean().log())


def effective_rank(x_BD: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values; 1 is total collapse.

    Source: Roy and Vetterli 2007.
    """
    values = torch.linalg.svdvals(x_BD.double())
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.special.entr(share).sum().exp())
