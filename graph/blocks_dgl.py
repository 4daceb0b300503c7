"""Blocks through dgl's sampler, behind the interface of `graph.blocks`. Needs dgl 1.1.3.

dgl draws with a generator of its own, seeded here from the seeds of the block. So blocks are the
same whoever samples them and follow the distribution of `graph.blocks`, but they are other blocks
than torch's. Ids are int64 throughout: with int32, dgl 1.1.3 on current torch returns edges that do
not exist.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from graph.blocks import (
    Block,
    SamplerConfig,
    Weighting,
    choose_targets,
    distinct,
    neighbour_weights,
    pool,
    priorities,
    take,
)
from graph.counter_random import Stream, hash_words, torch_seed
from graph.csr import Csr
from pipelines.contract import ConfigError

os.environ.setdefault("DGLBACKEND", "pytorch")  # Unset, dgl prints advice and writes a file.
import dgl

PROBABILITY = "probability"


class DglSampler:
    """As `TorchSampler`, drawing inputs and neighbours with `dgl.sampling.sample_neighbors`.

    Args:
        by_user, by_subreddit: The training graph.
        config: What a block holds.
    """

    def __init__(self, by_user: Csr, by_subreddit: Csr, config: SamplerConfig) -> None:
        dgl.utils.set_num_threads(1)  # Each thread has a generator: draws depend on their number.
        self.by_user, self.by_subreddit, self.config = by_user, by_subreddit, config
        self.graphs = (
            _graph(by_user, by_subreddit.num_rows, config.weightings[0]),
            _graph(by_subreddit, by_user.num_rows, config.weightings[1]),
        )
        self.reverse = by_subreddit.places()

    def to(self, device: torch.device) -> DglSampler:
        """This one: on the CPU.

        Raises:
            ConfigError: Another device is asked for.
        """
        if device.type != "cpu":
            raise ConfigError(f"sampler=dgl on {device}: it draws on the CPU; use sampler=torch")
        return self

    def sample(self, seeds: Tensor, epoch: int) -> Block:
        """The block of these seeds in this epoch."""
        config = self.config
        dgl.seed(torch_seed(Stream.INPUT, config.seed, epoch, int(hash_words(*seeds))) % 2**31)
        width = config.fanouts[0] + config.max_targets
        edge_BP, mask_BP = pool(self.by_user, seeds, width, hash_words(config.seed, epoch))
        target_BP = choose_targets(self.by_user, seeds, (edge_BP, mask_BP), epoch, config)
        target, target_mask = take(edge_BP, target_BP, config.max_targets)
        edge_BF, mask_BF = self._draw(0, seeds, edge_BP[target_BP])
        subreddits, slot_BF = distinct(self.by_user, edge_BF, mask_BF)
        _, seen = self.by_user.expand(seeds.unique())
        edge_NG, mask_NG = self._draw(1, subreddits, self.reverse[seen])
        return Block(
            seeds=seeds,
            target_BT=torch.where(target_mask, self.by_user.neighbours[target].long(), -1),
            edge_BF=edge_BF,
            mask_BF=mask_BF,
            slot_BF=slot_BF,
            subreddits=subreddits,
            edge_NG=edge_NG,
            mask_NG=mask_NG,
        )

    def _draw(self, hop: int, nodes: Tensor, excluded: Tensor) -> tuple[Tensor, Tensor]:
        """(edge, mask), [N, fanout], as `graph.blocks.draw_neighbours`.

        dgl would leave `exclude_edges` out after drawing, and so return too few. By weight, they
        are drawn with weight 0 instead. Uniformly, that would cost a pass over a hub's whole list:
        twice as many are drawn, and the first allowed ones by hash are kept.
        """
        fanout, graph = self.config.fanouts[hop], self.graphs[hop]
        rows = (self.by_user, self.by_subreddit)[hop]
        distinct_nodes, slot = nodes.unique(return_inverse=True)
        if self.config.weightings[hop] is Weighting.UNIFORM:
            edge, mask = _dense(graph, distinct_nodes, 2 * fanout, probability=None)
            mask &= ~torch.isin(edge, excluded)
            key = hash_words(Stream.INPUT, self.config.seed, hop, int(edge.sum()))
            order = priorities(rows, edge, distinct_nodes, Weighting.UNIFORM, key)
            edge, mask = take(edge, mask, fanout, order)
        else:
            weight = graph.edata[PROBABILITY]
            kept = weight[excluded].clone()
            weight[excluded] = 0.0
            edge, mask = _dense(graph, distinct_nodes, fanout, probability=PROBABILITY)
            weight[excluded] = kept
        return edge[slot], mask[slot]


def _dense(
    graph: dgl.DGLGraph, nodes: Tensor, fanout: int, probability: str | None
) -> tuple[Tensor, Tensor]:
    """(edge, mask), [N, fanout]: what dgl draws for distinct, sorted nodes."""
    sampled = dgl.sampling.sample_neighbors(graph, {"target": nodes}, fanout, prob=probability)
    edge, _ = sampled.edata[dgl.EID].sort()
    row = torch.searchsorted(nodes, graph.find_edges(edge)[1])
    count = torch.bincount(row, minlength=len(nodes))
    column = torch.arange(len(edge)) - (count.cumsum(0) - count)[row]
    dense = torch.zeros(len(nodes), fanout, dtype=torch.int64)
    dense[row, column] = edge
    return dense, torch.arange(fanout) < count[:, None]


def _graph(rows: Csr, num_sources: int, weighting: Weighting) -> dgl.DGLGraph:
    """The rows as a graph whose in-edges of "target" are the row's, in their order."""
    none = torch.zeros(0, dtype=torch.int64)
    columns = (rows.offsets, rows.neighbours.to(torch.int64), none)
    graph = dgl.heterograph(
        {("source", "edge", "target"): ("csc", columns)},
        num_nodes_dict={"source": num_sources, "target": rows.num_rows},
    )
    if weighting is not Weighting.UNIFORM:
        graph.edata[PROBABILITY] = neighbour_weights(rows, torch.arange(rows.num_edges))
    return graph
