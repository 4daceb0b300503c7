"""Seeds -> a dense block of sampled neighbours, the same whoever samples it.

A block is two hops: the subreddits of each seed user, and the users of each of those subreddits,
[rows, fanout] with a mask. Every draw is a function of (seed, epoch, node, position) alone
(`graph.counter_random`), so blocks do not depend on workers, ranks, batches before, or devices.
"""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graph import sampling
from graph.counter_random import Stream, hash_words, permuted, uniform
from graph.csr import Csr, bits
from graph.edges import DECAYED
from graph.stats import VALUE_OF

POOL_FACTOR = 4
MIN_POOL = 64
WEIGHT_FLOOR = 0.05


class Weighting(StrEnum):
    """How likely a neighbour is to be drawn."""

    UNIFORM = "uniform"
    DECAYED = "decayed"  # by time-decayed activity, log1p, so that hubs do not take all


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """What a block holds.

    Args:
        fanouts: Subreddits of a seed, users of a subreddit.
        weightings: Of the two hops.
        max_targets: Edges of a seed, at most, that are to be predicted.
        max_target_share: Of its edges, at most; the share is drawn uniformly below it.
        seed: Of all draws.
    """

    fanouts: tuple[int, int]
    weightings: tuple[Weighting, Weighting] = (Weighting.UNIFORM, Weighting.UNIFORM)
    max_targets: int = 8
    max_target_share: float = 0.5
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Block:
    """A sampled neighbourhood.

    Axes: B seeds, T targets, F and G fanouts, N distinct subreddits.

    Args:
        seeds: int64 [B], users.
        target_BT: int64, subreddits to predict; -1 where there are fewer.
        edge_BF: int64, edges (of `by_user`) that are messages; 0 where masked. Never a target's.
        mask_BF: bool.
        slot_BF: int64 into `subreddits`; 0 where masked.
        subreddits: int64 [N], sorted, those of the inputs.
        edge_NG: int64, edges of `by_subreddit`; 0 where masked. No seed is at their other end,
            so the reverse of a target edge is no message either.
        mask_NG: bool.
    """

    seeds: Tensor
    target_BT: Tensor
    edge_BF: Tensor
    mask_BF: Tensor
    slot_BF: Tensor
    subreddits: Tensor
    edge_NG: Tensor
    mask_NG: Tensor

    def to(self, device: torch.device) -> Block:
        """On another device."""
        return Block(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class Sampler(Protocol):
    """Whatever makes blocks of seeds."""

    def sample(self, seeds: Tensor, epoch: int) -> Block:
        """The block of these seeds (int64 [B]) in this epoch."""

    def to(self, device: torch.device) -> Sampler:
        """On another device."""


@dataclass(frozen=True, kw_only=True)
class TorchSampler:
    """Samples in torch, on the device where the rows are.

    Args:
        by_user, by_subreddit: The training graph.
        config: What a block holds.
    """

    by_user: Csr
    by_subreddit: Csr
    config: SamplerConfig

    def to(self, device: torch.device) -> TorchSampler:
        """On another device."""
        by_user = self.by_user.to(device)
        return TorchSampler(
            by_user=by_user,
            by_subreddit=self.by_subreddit.to(device, by_user),
            config=self.config,
        )

    def sample(self, seeds: Tensor, epoch: int) -> Block:
        """The block of these seeds in this epoch."""
        target_BT, edge_BF, mask_BF = draw_inputs(self.by_user, seeds, epoch, self.config)
        subreddits, slot_BF = distinct(self.by_user, edge_BF, mask_BF)
        edge_NG, mask_NG = draw_neighbours(
            self.by_subreddit,
            subreddits,
            self.config.fanouts[1],
            weighting=self.config.weightings[1],
            key=hash_words(Stream.INPUT, self.config.seed, epoch, 1),
            excluded=seeds,
        )
        return Block(
            seeds=seeds,
            target_BT=target_BT,
            edge_BF=edge_BF,
            mask_BF=mask_BF,
            slot_BF=slot_BF,
            subreddits=subreddits,
            edge_NG=edge_NG,
            mask_NG=mask_NG,
        )


def draw_inputs(
    by_user: Csr, seeds: Tensor, epoch: int, config: SamplerConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Split each seed's row into targets and inputs, without replacement.

    Returns:
        (target_BT, edge_BF, mask_BF) of `Block`.
    """
    draw = compiled_inputs if by_user.device.type == "cpu" else tensor_inputs
    target, target_mask, edge_BF, mask_BF = draw(by_user, seeds, epoch, config)
    target_BT = torch.where(target_mask, by_user.neighbours[target].to(torch.int64), -1)
    return target_BT, edge_BF, mask_BF


def tensor_inputs(
    by_user: Csr, seeds: Tensor, epoch: int, config: SamplerConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(target edges, mask, input edges, mask) by tensors, on any device."""
    width = config.fanouts[0] + config.max_targets
    edge_BP, mask_BP = pool(by_user, seeds, width, hash_words(config.seed, epoch))
    target_BP = choose_targets(by_user, seeds, (edge_BP, mask_BP), epoch, config)
    targets, target_mask = take(edge_BP, target_BP, config.max_targets)
    key = hash_words(Stream.INPUT, config.seed, epoch, 0)
    order = priorities(by_user, edge_BP, seeds, config.weightings[0], key)
    edge_BF, mask_BF = take(edge_BP, mask_BP & ~target_BP, config.fanouts[0], order)
    return targets, target_mask, edge_BF, mask_BF


def compiled_inputs(
    by_user: Csr, seeds: Tensor, epoch: int, config: SamplerConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `tensor_inputs`, by the kernels of `graph.sampling`."""
    target, edge = _blank(seeds, config.max_targets), _blank(seeds, config.fanouts[0])
    num_targets, num_edges = np.zeros(len(seeds), np.int64), np.zeros(len(seeds), np.int64)
    keys = (
        int(hash_words(Stream.POOL, hash_words(config.seed, epoch))),
        int(hash_words(Stream.TARGET_COUNT, config.seed, epoch)),
        int(hash_words(Stream.TARGET, config.seed, epoch)),
        int(hash_words(hash_words(Stream.INPUT, config.seed, epoch, 0))),
    )
    sampling.draw_inputs(
        by_user.offsets.numpy(),
        seeds.numpy(),
        pool_width(config.fanouts[0] + config.max_targets),
        keys,
        config.max_target_share,
        _weights(by_user, config.weightings[0]),
        target,
        num_targets,
        edge,
        num_edges,
    )
    return *_masked(target, num_targets), *_masked(edge, num_edges)


def _blank(nodes: Tensor, width: int) -> npt.NDArray[np.int64]:
    return np.zeros((len(nodes), width), dtype=np.int64)


def _masked(edge: npt.NDArray[np.int64], count: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """(edge, mask) of rows that are filled up to their count."""
    return torch.from_numpy(edge), torch.from_numpy(np.arange(edge.shape[1]) < count[:, None])


def _weights(
    rows: Csr, weighting: Weighting
) -> tuple[npt.NDArray[np.generic], int, npt.NDArray[np.float32], float]:
    """How the kernels find the weight of an edge."""
    column = DECAYED if weighting is Weighting.DECAYED else -1
    return bits(rows.features.to(torch.float16)), column, VALUE_OF, WEIGHT_FLOOR


def choose_targets(
    by_user: Csr, seeds: Tensor, drawn: tuple[Tensor, Tensor], epoch: int, config: SamplerConfig
) -> Tensor:
    """bool [B, P]: edges to predict. A seed keeps at least one input, so degree 1 has no target."""
    edge_BP, mask_BP = drawn
    degree = by_user.degrees(seeds)
    share = config.max_target_share * uniform(Stream.TARGET_COUNT, config.seed, epoch, seeds)
    wanted = torch.ceil(share * degree).to(torch.int64)
    wanted = torch.minimum(wanted, degree - 1).clamp(0, config.max_targets)
    position = edge_BP - by_user.offsets[seeds][:, None]
    draw = uniform(Stream.TARGET, config.seed, epoch, seeds[:, None], position)
    draw = torch.where(mask_BP, draw, 2.0)
    rank = draw.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    return mask_BP & (rank < wanted[:, None])


def draw_neighbours(
    rows: Csr,
    nodes: Tensor,
    fanout: int,
    *,
    weighting: Weighting,
    key: Tensor,
    excluded: Tensor | None = None,
    whole: bool = False,
) -> tuple[Tensor, Tensor]:
    """Up to `fanout` edges of each node, without replacement.

    Args:
        rows: The edges.
        nodes: int64 [N].
        fanout: F; a node of lower degree has all its edges, and the rest is masked.
        weighting: Of the draw.
        key: int64 scalar that names the draw.
        excluded: int64, nodes at the other end that are never drawn.
        whole: Every edge of a long row may be drawn, by its weight; else one of `pool_width`.

    Returns:
        (edge_NF, mask_NF): int64 positions in `rows`, 0 where masked, and bool.
    """
    if not fanout:
        nothing = torch.zeros(len(nodes), 0, dtype=torch.int64, device=nodes.device)
        return nothing, nothing.bool()
    draw = compiled_neighbours if rows.device.type == "cpu" else tensor_neighbours
    return draw(rows, nodes, fanout, weighting, key, excluded=excluded, whole=whole)


def tensor_neighbours(
    rows: Csr,
    nodes: Tensor,
    fanout: int,
    weighting: Weighting,
    key: Tensor,
    *,
    excluded: Tensor | None = None,
    whole: bool = False,
) -> tuple[Tensor, Tensor]:
    """`draw_neighbours` by tensors, on any device."""
    is_uniform = weighting is Weighting.UNIFORM
    edge_NP, mask_NP = pool(rows, nodes, fanout, key, shuffle=is_uniform, whole=whole)
    if excluded is not None:
        mask_NP = mask_NP & ~torch.isin(rows.neighbours[edge_NP].to(torch.int64), excluded)
    if is_uniform:  # A permutation needs no further draw: its first allowed places are one.
        return take(edge_NP, mask_NP, fanout)
    return take(edge_NP, mask_NP, fanout, priorities(rows, edge_NP, nodes, weighting, key))


def compiled_neighbours(
    rows: Csr,
    nodes: Tensor,
    fanout: int,
    weighting: Weighting,
    key: Tensor,
    *,
    excluded: Tensor | None = None,
    whole: bool = False,
) -> tuple[Tensor, Tensor]:
    """As `tensor_neighbours`, by the kernels of `graph.sampling`."""
    edge, count = _blank(nodes, fanout), np.zeros(len(nodes), np.int64)
    offsets, width = rows.offsets.numpy(), pool_width(fanout)
    if whole and len(nodes):
        width = max(width, int(rows.degrees(nodes).max()))
    pool_key = int(hash_words(Stream.POOL, key))
    if weighting is Weighting.UNIFORM:
        none = torch.zeros(0, dtype=torch.int64)
        left_out = (none if excluded is None else excluded.sort().values).numpy()
        sampling.draw_uniform(
            offsets, rows.neighbours.numpy(), nodes.numpy(), left_out, width, pool_key, edge, count
        )
    elif excluded is None and rows.origin is None:
        keys = (pool_key, int(hash_words(key)))
        weights = _weights(rows, weighting)
        sampling.draw_weighted(offsets, nodes.numpy(), width, keys, weights, edge, count)
    else:
        return tensor_neighbours(
            rows, nodes, fanout, weighting, key, excluded=excluded, whole=whole
        )
    return _masked(edge, count)


def pool_width(fanout: int) -> int:
    """P: how many candidates of a long row are looked at."""
    return max(MIN_POOL, POOL_FACTOR * fanout)


def pool(
    rows: Csr,
    nodes: Tensor,
    fanout: int,
    key: Tensor,
    *,
    shuffle: bool = False,
    whole: bool = False,
) -> tuple[Tensor, Tensor]:
    """Candidates: the whole row, or of longer rows a uniform part drawn without touching the rest.

    Args:
        shuffle: Short rows come in random order, too.
        whole: Long rows are taken whole, too.

    Returns:
        (edge_NP, mask_NP), P = `pool_width`, at most the longest row.
    """
    degree = rows.degrees(nodes)
    width = pool_width(fanout)
    if len(nodes):
        longest = int(degree.max())
        width = max(1, longest if whole else min(width, longest))
    slot = torch.arange(width, device=nodes.device)[None, :]
    mask = slot < degree[:, None]
    position = slot.expand(len(nodes), width).clone()
    longer = degree > (0 if shuffle else width)
    node_key = hash_words(Stream.POOL, key, nodes[longer])[:, None]
    drawn = permuted(
        torch.minimum(slot, degree[longer][:, None] - 1), degree[longer][:, None], node_key
    )
    position[longer] = drawn
    return torch.where(mask, rows.offsets[nodes][:, None] + position, 0), mask


def priorities(
    rows: Csr, edge_NP: Tensor, nodes: Tensor, weighting: Weighting, key: Tensor
) -> Tensor:
    """float64 [N, P]: the smallest k of a row are k draws without replacement by weight.

    Source: Efraimidis and Spirakis 2006, as -log(u) / w.
    """
    position = edge_NP - rows.offsets[nodes][:, None]
    exponential = -torch.log(uniform(key, nodes[:, None], position))
    if weighting is Weighting.UNIFORM:
        return exponential
    return exponential / neighbour_weights(rows, edge_NP)


def neighbour_weights(rows: Csr, edge: Tensor) -> Tensor:
    """float64, above 0: log1p of time-decayed activity; a floor keeps the long past possible."""
    decayed = rows.features[:, DECAYED][rows.feature_row(edge)].to(torch.float64)
    return decayed.clamp(min=0) + WEIGHT_FLOOR


def take(
    edge_NP: Tensor, allowed_NP: Tensor, count: int, order: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The first `count` allowed edges of each row by `order`, in the order of their position.

    Returns:
        (edge, mask), [N, count]; edge is 0 where masked.
    """
    if order is None:
        order = torch.zeros(edge_NP.shape, dtype=torch.float64, device=edge_NP.device)
    ranked = torch.where(allowed_NP, order, torch.inf)
    width = min(count, edge_NP.shape[1])
    chosen = ranked.argsort(dim=1, stable=True)[:, :width]
    mask = allowed_NP.gather(1, chosen)
    last = torch.iinfo(torch.int64).max
    edge = torch.where(mask, edge_NP.gather(1, chosen), last).sort(dim=1).values
    mask = edge < last
    edge = torch.where(mask, edge, 0)
    missing = (0, count - width)
    return torch.nn.functional.pad(edge, missing), torch.nn.functional.pad(mask, missing)


def distinct(by_user: Csr, edge_BF: Tensor, mask_BF: Tensor) -> tuple[Tensor, Tensor]:
    """(subreddits [N] sorted, slot_BF): the distinct ends of the edges that are not masked."""
    ends = by_user.neighbours[edge_BF].to(torch.int64)
    subreddits = ends[mask_BF].unique()
    slot = torch.searchsorted(subreddits, ends)
    return subreddits, torch.where(mask_BF, slot, 0)
