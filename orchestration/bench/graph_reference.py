"""The loop that others would write: dgl's NeighborSampler and torch-geometric's GATv2Conv.

The same seeds, targets, fanouts, widths, inputs and loss as ours; blocks are drawn uniformly, and
edges do not say how their content agrees (ours do, so ours computes more). Ids are int64: with
int32, dgl 1.1.3 draws edges that do not exist.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from graph.batches import TrainingGraph, draw_candidates
from graph.blocks import Block, SamplerConfig, choose_targets, pool, take
from graph.config import TrainConfig
from graph.contents import Contents, subreddit_inputs, user_inputs
from graph.counter_random import hash_words
from graph.csr import Csr
from graph.edges import EDGE_FEATURES
from graph.gatv2 import NEGATIVE_SLOPE
from graph.model import TasteEncoder, unit
from graph.objective import LOWEST, Candidates

os.environ.setdefault("DGLBACKEND", "pytorch")  # Unset, dgl prints advice and writes a file.

DOWN, UP = ("user", "down", "subreddit"), ("subreddit", "up", "user")


class ReferenceLoop:
    """One step a call of `step`, with Adam.

    Args:
        config: Of training.
        graph, contents: What it reads.
        model: Whose inputs and heads are used; its two layers are replaced.
        sampler: Which targets are drawn.
    """

    def __init__(
        self,
        config: TrainConfig,
        graph: TrainingGraph,
        contents: Contents,
        model: TasteEncoder,
        sampler: SamplerConfig,
    ) -> None:
        import dgl
        from torch_geometric.nn import GATv2Conv

        self.config, self.graph, self.contents, self.sampler = config, graph, contents, sampler
        self.model = model.train()
        for table in (model.table, model.item_bias):
            table.sparse = False  # torch's Adam takes no other gradients.
        dim, heads = config.encoder.dim, config.encoder.heads
        self.layers = nn.ModuleList(
            GATv2Conv(
                (dim, dim),
                dim // heads,
                heads=heads,
                edge_dim=len(EDGE_FEATURES),
                add_self_loops=False,
                negative_slope=NEGATIVE_SLOPE,
            )
            for _ in range(2)
        )
        parameters = [*self.model.parameters(), *self.layers.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=config.lr / 2)
        rows = {UP: graph.by_user, DOWN: graph.by_subreddit}
        self.dgl_graph = dgl.heterograph(
            {kind: ("csc", _columns(part)) for kind, part in rows.items()},
            num_nodes_dict={
                "user": graph.by_user.num_rows,
                "subreddit": graph.by_subreddit.num_rows,
            },
        )
        near, below = config.encoder.fanouts
        self.blocks = dgl.dataloading.NeighborSampler([{UP: 0, DOWN: below}, {UP: near, DOWN: 0}])
        self.reverse = graph.by_subreddit.places().to(torch.int32)

    def step(self, number: int, seeds: Tensor) -> float:
        """Train on these seeds (int64 [B]); returns the loss."""
        target_BT, without = self._targets(seeds)
        _, _, (lower, upper) = self.blocks.sample_blocks(
            self.dgl_graph, {"user": seeds}, exclude_eids=without
        )
        candidates = draw_candidates(
            self.graph, _target_block(seeds, target_BT), 0, number, self.config.uniform_negatives
        )
        met = upper.srcdata["_ID"]["subreddit"]
        everyone, slot = torch.cat([met, candidates.subreddits]).unique(return_inverse=True)
        nobody = torch.zeros(0, dtype=torch.int64)
        inputs = subreddit_inputs(
            self.graph.features, self.contents, everyone, everyone + 1, nobody
        )
        x_Md = self.model.describe(inputs)
        users = lower.srcdata["_ID"]["user"]
        x_Nd = self.model.introduce(user_inputs(self.contents, users))
        met_slot = slot[: len(met)]
        h_Md = x_Md[met_slot] + nn.functional.gelu(self._layer(0, lower, (x_Nd, x_Md[met_slot])))
        x_Bd = self.model.introduce(user_inputs(self.contents, seeds))
        out = self._layer(1, upper, (h_Md, x_Bd))
        z_Bd = unit(self.model.dropout(out + self.model.user_self(x_Bd)))
        asked = slot[len(met) :]
        logits = self.model.link_scores(
            z_Bd,
            self.model.item_vectors(x_Md, inputs)[asked],
            self.model.item_prior(inputs)[asked],
        )
        loss = dense_link_loss(logits, candidates)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return loss.item()

    def _targets(self, seeds: Tensor) -> tuple[Tensor, dict[Any, Tensor]]:
        """(target_BT, edges to leave out, both ways), drawn as ours are."""
        rows, config = self.graph.by_user, self.sampler
        width = config.fanouts[0] + config.max_targets
        drawn = pool(rows, seeds, width, hash_words(config.seed, 0))
        chosen = choose_targets(rows, seeds, drawn, 0, config)
        edge, mask = take(drawn[0], chosen, config.max_targets)
        target_BT = torch.where(mask, rows.neighbours[edge].long(), -1)
        return target_BT, {UP: edge[mask], DOWN: self.reverse[edge[mask]].long()}

    def _layer(self, number: int, block: Any, nodes: tuple[Tensor, Tensor]) -> Tensor:
        """Layer `number` from its sources to its targets."""
        kind, rows = (DOWN, self.graph.by_subreddit) if number == 0 else (UP, self.graph.by_user)
        here, there = block.edges(etype=kind)
        edge = rows.edge_features(block.edges[kind].data["_ID"])
        scaled = self.model.edge_scale(edge)
        out: Tensor = self.layers[number](nodes, torch.stack([here, there]), scaled)
        return out


def dense_link_loss(logit_BC: Tensor, candidates: Candidates) -> Tensor:
    """`graph.objective.link_loss` of logits, as its formula reads: over all users and candidates.

    Raises:
        IndexError: An edge is not among the logits.
    """
    positive_BC = _marked(logit_BC, candidates.positive_2P)
    excluded_BC = _marked(logit_BC, candidates.edge_2K) | positive_BC
    negatives = (logit_BC - candidates.log_q_C).masked_fill(excluded_BC, -torch.inf)
    log_negatives = torch.logsumexp(negatives, dim=1, keepdim=True)
    # -log(e^p / (e^p + sum of negatives)); finite also where a user knows every candidate.
    cost_BC = nn.functional.softplus(log_negatives.clamp(min=LOWEST) - logit_BC)
    count = positive_BC.sum(dim=1)
    per_user = (cost_BC * positive_BC).sum(dim=1) / count.clamp(min=1)
    return per_user.sum() / (count > 0).sum().clamp(min=1)


def _marked(logit_BC: Tensor, edge_2K: Tensor) -> Tensor:
    table = torch.zeros(logit_BC.shape, dtype=torch.bool, device=logit_BC.device)
    table[edge_2K[0], edge_2K[1]] = True
    return table


def _columns(rows: Csr) -> tuple[Tensor, Tensor, Tensor]:
    none = torch.zeros(0, dtype=torch.int64)
    return rows.offsets, rows.neighbours.to(torch.int64), none


def _target_block(seeds: Tensor, target_BT: Tensor) -> Block:
    """A block of which only seeds and targets are read."""
    none = torch.zeros(0, dtype=torch.int64)
    return Block(
        seeds=seeds,
        target_BT=target_BT,
        edge_BF=none,
        mask_BF=none.bool(),
        slot_BF=none,
        subreddits=none,
        edge_NG=none,
        mask_NG=none.bool(),
    )
