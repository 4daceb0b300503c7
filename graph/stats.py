"""Activity statistics of a node from its edges: inductive features, for rows and for samples."""

from __future__ import annotations

import torch
from torch import Tensor

from graph.csr import Csr

ROWS_AT_ONCE = 1 << 20


def row_stats(rows: Csr) -> Tensor:
    """float32 [N, F + 1]: log1p of the degree, then means of the edge features; zeros if none."""
    parts = [_part_stats(rows, part) for part in torch.arange(rows.num_rows).split(ROWS_AT_ONCE)]
    return torch.cat(parts) if parts else torch.zeros(0, rows.features.shape[1] + 1)


def _part_stats(rows: Csr, part: Tensor) -> Tensor:
    owner, edge = rows.expand(part)
    sums = torch.zeros(len(part), rows.features.shape[1], dtype=torch.float64)
    sums.index_add_(0, owner, rows.features[edge].to(torch.float64))
    return _stats(sums, rows.degrees(part))


def sample_stats(edge_BFE: Tensor, mask_BF: Tensor, degree_B: Tensor) -> Tensor:
    """The same for nodes of which only a sample of edges may be seen.

    Args:
        edge_BFE: float32, edge features.
        mask_BF: bool, the edges seen.
        degree_B: int64, how many there are to see.
    """
    seen = mask_BF.sum(dim=1).clamp(min=1)[:, None]
    sums = (edge_BFE.to(torch.float64) * mask_BF[..., None]).sum(dim=1)
    return _stats(sums / seen * degree_B[:, None], degree_B)


def _stats(sums: Tensor, degree: Tensor) -> Tensor:
    means = sums / degree.clamp(min=1)[:, None]
    log_degree = degree.to(torch.float64).log1p()[:, None]
    return torch.cat([log_degree, means], dim=1).to(torch.float32)
