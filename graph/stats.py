"""Activity statistics of a node from its edges: inductive features, for rows and for samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graph.csr import Csr, bits
from graph.kernels import half_values, sum_by_target, sum_features

ROWS_AT_ONCE = 1 << 20
VALUE_OF = half_values()


def row_stats(rows: Csr) -> Tensor:
    """float32 [N, F + 1]: log1p of the degree, then means of the edge features; zeros if none."""
    if rows.origin is not None:
        return _column_stats(rows, rows.origin)
    stats = torch.zeros(rows.num_rows, rows.features.shape[1] + 1)
    for start in range(0, rows.num_rows, ROWS_AT_ONCE):
        values = bits(rows.afresh().features.to(torch.float16))
        offsets = rows.offsets[start : start + ROWS_AT_ONCE + 1]
        sums = np.zeros((len(offsets) - 1, rows.features.shape[1]))
        sum_features(offsets.numpy(), values, VALUE_OF, sums)
        stats[start : start + len(sums)] = mean_stats(torch.from_numpy(sums), offsets.diff())
    return stats


def _column_stats(rows: Csr, origin: Csr) -> Tensor:
    """The same in one pass over the features as they lie: in the order of `origin`."""
    sums = np.zeros((rows.num_rows, rows.features.shape[1]))
    for start, stop in origin.ranges():
        here, edges = slice(*origin.offsets[[start, stop]].tolist()), origin.afresh()
        values = bits(edges.features[here].to(torch.float16))
        sum_by_target(edges.neighbours[here].numpy(), values, VALUE_OF, sums)
    return mean_stats(torch.from_numpy(sums), rows.degrees())


def sample_stats(edge_BFE: Tensor, mask_BF: Tensor, degree_B: Tensor) -> Tensor:
    """The same for nodes of which only a sample of edges may be seen.

    Args:
        edge_BFE: float32, edge features.
        mask_BF: bool, the edges seen.
        degree_B: int64, how many there are to see.
    """
    seen = mask_BF.sum(dim=1).clamp(min=1)[:, None]
    sums = (edge_BFE.to(torch.float64) * mask_BF[..., None]).sum(dim=1)
    return mean_stats(sums / seen * degree_B[:, None], degree_B)


def mean_stats(sums: Tensor, degree: Tensor) -> Tensor:
    """The statistics from sums of edge features (float64 [N, F]) and degrees (int64 [N])."""
    means = sums / degree.clamp(min=1)[:, None]
    log_degree = degree.to(torch.float64).log1p()[:, None]
    return torch.cat([log_degree, means], dim=1).to(torch.float32)
