"""GATv2 attention over dense, masked neighbourhoods; parameters and results of PyG's GATv2Conv."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graph.attention import FusedAttention

NEGATIVE_SLOPE = 0.2


class EdgeGatv2(nn.Module):
    """One edge-aware GATv2 layer from sources to targets of another kind.

    A fixed fanout makes a neighbourhood a row, so that the softmax over neighbours is a softmax
    over a dimension and needs no scatter.

    Args:
        source_dim, target_dim, edge_dim: Widths of the inputs.
        dim: Width of the output over all heads.
        heads: Attention heads; divides dim.
        attend: False weighs all neighbours alike, for comparison.

    Source: Brody et al. 2022, eq. 7, arXiv:2105.14491; names as in
        `torch_geometric.nn.GATv2Conv(..., edge_dim=..., add_self_loops=False)`.
    """

    def __init__(
        self,
        source_dim: int,
        target_dim: int,
        edge_dim: int,
        dim: int,
        heads: int,
        *,
        attend: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.attend = heads, attend
        self.lin_l = nn.Linear(source_dim, dim)
        self.lin_r = nn.Linear(target_dim, dim)
        self.lin_edge = nn.Linear(edge_dim, dim, bias=False)
        self.att = nn.Parameter(torch.empty(1, heads, dim // heads))
        self.bias = nn.Parameter(torch.zeros(dim))
        for linear in (self.lin_l, self.lin_r, self.lin_edge):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.lin_l.bias)
        nn.init.zeros_(self.lin_r.bias)
        nn.init.xavier_uniform_(self.att)

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        edge: Tensor,
        slot: Tensor,
        mask: Tensor,
        *,
        bias_NF: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Messages into each target, and how it weighed its neighbours.

        Axes: M sources, N targets, F neighbours, H heads.

        Args:
            source: float [M, source_dim].
            target: float [N, target_dim].
            edge: float [N, F, edge_dim].
            slot: int64 [N, F], neighbours as rows of `source`; any valid row where masked.
            mask: bool [N, F].
            bias_NF: float, added to the scores of every head.

        Returns:
            (out, alpha_NFH): float [N, dim]; attention in [0, 1] that sums to 1 per head over the
            neighbours that are not masked. A target without any gets the bias and zeros.
        """
        left, right = self.lin_l(source), self.lin_r(target)
        if self.attend and left.device.type == "cpu" and left.dtype == torch.float32:
            weight, att = self.lin_edge.weight, self.att[0]
            out, alpha = FusedAttention.apply(left, right, edge, weight, att, slot, mask, bias_NF)
            return out + self.bias, alpha
        shape = (*slot.shape, self.heads, -1)
        message = left[slot].view(shape)
        hidden = message + right.view(len(target), 1, self.heads, -1)
        hidden = hidden + self.lin_edge(edge).view(shape)
        score = (nn.functional.leaky_relu(hidden, NEGATIVE_SLOPE) * self.att).sum(dim=-1)
        score = score if bias_NF is None else score + bias_NF[..., None]
        alpha = masked_softmax(score if self.attend else 0 * score, mask[..., None])
        out = (message * alpha[..., None]).sum(dim=1).flatten(1)
        return out + self.bias, alpha


def masked_softmax(score: Tensor, mask: Tensor) -> Tensor:
    """Softmax over dimension 1 of the entries that are not masked; zeros where all are."""
    lowest = torch.finfo(score.dtype).min
    filled = score.masked_fill(~mask, lowest)
    exponential = (filled - filled.amax(dim=1, keepdim=True).detach()).exp() * mask
    return exponential / exponential.sum(dim=1, keepdim=True).clamp(min=1e-16)
