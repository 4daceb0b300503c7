"""GATv2 attention over neighbourhoods, forward and backward in one pass each, on CPUs.

The layer's tensors by slot ([targets, fanout, dim]) are never made: most slots of a heavy-tailed
graph are empty, and what is left fits in registers. Results and gradients are those of the tensor
operations in `graph.gatv2`, up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

SLOPE = np.float32(0.2)

kernel = njit(nogil=True, cache=True, fastmath=True, error_model="numpy", boundscheck=False)


class FusedAttention(torch.autograd.Function):
    """(out [N, d], alpha [N, F, H]) from projected sources and targets.

    Inputs: left [M, d], right [N, d], edge [N, F, E], weight [d, E] of the edges' projection, att
    [H, d / H], slot int64 [N, F], mask bool [N, F], bias [N, F] of all heads' scores or None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        edge: Tensor,
        weight: Tensor,
        att: Tensor,
        slot: Tensor,
        mask: Tensor,
        bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """One pass over the slots that are not masked."""
        added = left.new_zeros(0, 0) if bias is None else bias
        tensors = [x.detach().contiguous() for x in (left, right, edge, weight.T, att)]
        rest = [x.detach().contiguous() for x in (slot, mask, added)]
        arrays = [x.numpy() for x in (*tensors, *rest)]
        out = np.zeros(right.shape, np.float32)
        alpha = np.zeros((*slot.shape, len(att)), np.float32)
        attend(*arrays, out, alpha)
        ctx.arrays, ctx.alpha = arrays, alpha
        ctx.wants_edge, ctx.wants_bias = ctx.needs_input_grad[2], ctx.needs_input_grad[7]
        return torch.from_numpy(out), torch.from_numpy(alpha)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """One pass, in which scores are computed again rather than kept."""
        left, right, edge, weight, att = ctx.arrays[:5]
        found = [np.zeros(x.shape, np.float32) for x in (left, right, weight, att)]
        by_edge = np.zeros(edge.shape if ctx.wants_edge else (0, 0, edge.shape[2]), np.float32)
        by_bias = np.zeros(ctx.arrays[7].shape, np.float32)
        grad_out, grad_alpha = (grad.contiguous().numpy() for grad in grads)
        attend_backward(*ctx.arrays, ctx.alpha, grad_out, grad_alpha, *found, by_edge, by_bias)
        d_left, d_right, d_weight, d_att = (torch.from_numpy(x) for x in found)
        d_edge = torch.from_numpy(by_edge) if ctx.wants_edge else None
        d_bias = torch.from_numpy(by_bias) if ctx.wants_bias else None
        return d_left, d_right, d_edge, d_weight.T, d_att, None, None, d_bias


@kernel
def _hide(left, right, edge, weight, hidden):
    """Before the activation: the sum of source, target and projected edge."""
    for k in range(len(hidden)):
        hidden[k] = left[k] + right[k]
    for e in range(len(edge)):
        for k in range(len(hidden)):
            hidden[k] += edge[e] * weight[e, k]


@kernel
def attend(left, right, edge, weight, att, slot, mask, bias, out, alpha):
    """Forward; `weight` is [E, d], `bias` may be empty, `out` and `alpha` are zeros before."""
    heads, size = att.shape
    dim = heads * size
    hidden = np.empty(dim, np.float32)
    flat = att.copy().reshape(dim)
    for n in range(slot.shape[0]):
        for f in range(slot.shape[1]):
            if not mask[n, f]:
                continue
            source = slot[n, f]
            _hide(left[source], right[n], edge[n, f], weight, hidden)
            for h in range(heads):
                score = bias[n, f] if bias.shape[0] else np.float32(0.0)
                for k in range(h * size, (h + 1) * size):
                    score += max(hidden[k], SLOPE * hidden[k]) * flat[k]
                alpha[n, f, h] = score
        for h in range(heads):
            highest = np.float32(-3.0e38)
            for f in range(slot.shape[1]):
                if mask[n, f]:
                    highest = max(highest, alpha[n, f, h])
            total = np.float32(0.0)
            for f in range(slot.shape[1]):
                if mask[n, f]:
                    alpha[n, f, h] = np.exp(alpha[n, f, h] - highest)
                    total += alpha[n, f, h]
            for f in range(slot.shape[1]):
                if mask[n, f]:
                    alpha[n, f, h] /= total
                    source, share = slot[n, f], alpha[n, f, h]
                    for k in range(h * size, (h + 1) * size):
                        out[n, k] += share * left[source, k]


@kernel
def attend_backward(
    left,
    right,
    edge,
    weight,
    att,
    slot,
    mask,
    bias,
    alpha,
    grad_out,
    grad_alpha,
    d_left,
    d_right,
    d_weight,
    d_att,
    d_edge,
    d_bias,
):
    """Backward; gradients are zeros before. `d_edge` and `d_bias` of no rows are left out."""
    heads, size = att.shape
    dim, width = heads * size, slot.shape[1]
    hidden, by_hidden = np.empty(dim, np.float32), np.empty(dim, np.float32)
    by_alpha = np.zeros((width, heads), np.float32)
    for n in range(slot.shape[0]):
        for f in range(width):
            if mask[n, f]:
                source = slot[n, f]
                for h in range(heads):
                    found = grad_alpha[n, f, h]
                    share = alpha[n, f, h]
                    for k in range(h * size, (h + 1) * size):
                        found += grad_out[n, k] * left[source, k]
                        d_left[source, k] += share * grad_out[n, k]
                    by_alpha[f, h] = found
        for h in range(heads):
            mean = np.float32(0.0)
            for f in range(width):
                if mask[n, f]:
                    mean += alpha[n, f, h] * by_alpha[f, h]
            for f in range(width):
                if mask[n, f]:
                    by_alpha[f, h] = alpha[n, f, h] * (by_alpha[f, h] - mean)
        for f in range(width):
            if not mask[n, f]:
                continue
            source = slot[n, f]
            _hide(left[source], right[n], edge[n, f], weight, hidden)
            for h in range(heads):
                by_score = by_alpha[f, h]
                for c in range(size):
                    k = h * size + c
                    slope = np.float32(1.0) if hidden[k] > 0 else SLOPE
                    d_att[h, c] += by_score * slope * hidden[k]
                    by_hidden[k] = by_score * slope * att[h, c]
            if d_bias.shape[0]:
                for h in range(heads):
                    d_bias[n, f] += by_alpha[f, h]
            for k in range(dim):
                d_left[source, k] += by_hidden[k]
                d_right[n, k] += by_hidden[k]
            for e in range(edge.shape[2]):
                value = edge[n, f, e]
                for k in range(dim):
                    d_weight[e, k] += value * by_hidden[k]
            if d_edge.shape[0]:
                for e in range(edge.shape[2]):
                    found = np.float32(0.0)
                    for k in range(dim):
                        found += weight[e, k] * by_hidden[k]
                    d_edge[n, f, e] = found
