"""GATv2 attention over neighbourhoods, forward and backward in one pass each, on CPUs.

The layer's tensors by slot ([targets, fanout, dim]) are never made: most slots of a heavy-tailed
graph are empty, and what is left fits in registers. Results and gradients are those of the tensor
operations in `graph.gatv2`, up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.compiled import compiled

SLOPE, ZERO, ONE = np.float32(0.2), np.float32(0.0), np.float32(1.0)
LOWEST = np.float32(-3.0e38)
TOGETHER = 4  # Edge features that one pass over the hidden state takes.

kernel = compiled(fastmath=True)


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
        projection = torch.nn.functional.pad(
            weight.detach().T, (0, 0, 0, -len(weight.T) % TOGETHER)
        )
        tensors = [x.detach().contiguous() for x in (left, right, edge, projection, att)]
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
        d_weight = d_weight[: edge.shape[2]].T
        return d_left, d_right, d_edge, d_weight, d_att, None, None, d_bias


# Loops run from zero over rows of one axis: where Numba cannot tell that an index is not negative
# it looks at each, and nothing is vectorised.


@kernel
def _real_slots(mask, real):
    """Places that are not masked, into `real`; returns how many."""
    count = 0
    for f in range(len(mask)):
        if mask[f]:
            real[count] = f
            count += 1
    return count


@kernel
def _hide(left, right, edge, value, weight, hidden):
    """Before the activation: the sum of source, target and projected edge, which is copied to
    `value`: as long as `weight`, zeros beyond the edge."""
    for e in range(len(edge)):
        value[e] = edge[e]
    for k in range(len(hidden)):
        hidden[k] = left[k] + right[k]
    for e in range(0, len(weight), TOGETHER):
        v0, v1, v2, v3 = value[e], value[e + 1], value[e + 2], value[e + 3]
        w0, w1, w2, w3 = weight[e], weight[e + 1], weight[e + 2], weight[e + 3]
        for k in range(len(hidden)):
            hidden[k] += v0 * w0[k] + v1 * w1[k] + v2 * w2[k] + v3 * w3[k]


@kernel
def _softmax(alpha, real, count):
    """Over the slots that are real, in place, per head."""
    for h in range(alpha.shape[1]):
        highest, total = LOWEST, ZERO
        for i in range(count):
            highest = max(highest, alpha[real[i], h])
        for i in range(count):
            alpha[real[i], h] = np.exp(alpha[real[i], h] - highest)
            total += alpha[real[i], h]
        for i in range(count):
            alpha[real[i], h] /= total


@kernel
def attend(left, right, edge, weight, att, slot, mask, bias, out, alpha):
    """Forward; `weight` is [E, d], E a multiple of `TOGETHER`, `bias` may be empty, `out` and
    `alpha` are zeros before."""
    heads, size = att.shape
    left_h, out_h = left.reshape(len(left), heads, size), out.reshape(len(out), heads, size)
    hidden, value = np.empty(heads * size, np.float32), np.zeros(len(weight), np.float32)
    hidden_h, flat = hidden.reshape(heads, size), att.copy().reshape(heads * size)
    real = np.empty(slot.shape[1], np.int64)
    for n in range(slot.shape[0]):
        count = _real_slots(mask[n], real)
        for i in range(count):
            f = real[i]
            _hide(left[slot[n, f]], right[n], edge[n, f], value, weight, hidden)
            for k in range(len(hidden)):
                hidden[k] = max(hidden[k], SLOPE * hidden[k]) * flat[k]
            for h in range(heads):
                score, of_head = bias[n, f] if len(bias) else ZERO, hidden_h[h]
                for k in range(size):
                    score += of_head[k]
                alpha[n, f, h] = score
        _softmax(alpha[n], real, count)
        for i in range(count):
            f = real[i]
            for h in range(heads):
                share, to, source = alpha[n, f, h], out_h[n, h], left_h[slot[n, f], h]
                for k in range(size):
                    to[k] += share * source[k]


@kernel
def _by_score(alpha, by_alpha, left, grad, slot, real, count, by_score):
    """Gradients of one target's scores [F, H] from those of its output and of its attention."""
    heads, size = grad.shape
    for i in range(count):
        f = real[i]
        for h in range(heads):
            found, a, b = by_alpha[f, h], grad[h], left[slot[f], h]
            for k in range(size):
                found += a[k] * b[k]
            by_score[f, h] = found
    for h in range(heads):
        mean = ZERO
        for i in range(count):
            mean += alpha[real[i], h] * by_score[real[i], h]
        for i in range(count):
            by_score[real[i], h] = alpha[real[i], h] * (by_score[real[i], h] - mean)


@kernel
def _spread(by_head, by_dim):
    """Values of heads over the dimensions of each."""
    for h in range(by_dim.shape[0]):
        row, x = by_dim[h], by_head[h]
        for k in range(len(row)):
            row[k] = x


@kernel
def _back_to_edge(by_hidden, weight, d_edge):
    """Gradient of an edge."""
    for e in range(len(d_edge)):
        row, found = weight[e], ZERO
        for k in range(len(by_hidden)):
            found += row[k] * by_hidden[k]
        d_edge[e] = found


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
    share, slope = np.empty(dim, np.float32), np.empty(dim, np.float32)
    share_h, slope_h = share.reshape(heads, size), slope.reshape(heads, size)
    flat, d_flat = att.copy().reshape(dim), np.zeros(dim, np.float32)
    left_h, grad_h = left.reshape(len(left), heads, size), grad_out.reshape(-1, heads, size)
    value, by_score = np.zeros(len(weight), np.float32), np.empty((width, heads), np.float32)
    real = np.empty(width, np.int64)
    for n in range(slot.shape[0]):
        count = _real_slots(mask[n], real)
        _by_score(alpha[n], grad_alpha[n], left_h, grad_h[n], slot[n], real, count, by_score)
        grad, d_target = grad_out[n], d_right[n]
        for i in range(count):
            f = real[i]
            source = slot[n, f]
            _hide(left[source], right[n], edge[n, f], value, weight, hidden)
            _spread(alpha[n, f], share_h)
            _spread(by_score[f], slope_h)
            for k in range(dim):
                passed = slope[k] * (ONE if hidden[k] > 0 else SLOPE)
                d_flat[k] += passed * hidden[k]
                by_hidden[k] = passed * flat[k]
            d_source = d_left[source]
            for k in range(dim):
                d_source[k] += share[k] * grad[k] + by_hidden[k]
            for k in range(dim):
                d_target[k] += by_hidden[k]
            for e in range(len(weight)):
                row, x = d_weight[e], value[e]
                for k in range(dim):
                    row[k] += x * by_hidden[k]
            if len(d_edge):
                _back_to_edge(by_hidden, weight, d_edge[n, f])
            if len(d_bias):
                for h in range(heads):
                    d_bias[n, f] += by_score[f, h]
    for h in range(heads):
        for k in range(size):
            d_att[h, k] = d_flat[h * size + k]
