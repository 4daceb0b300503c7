"""Sampled blocks: real edges, without replacement, and the same whoever samples them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare

from graph.blocks import (
    WEIGHT_FLOOR,
    Block,
    SamplerConfig,
    TorchSampler,
    Weighting,
    compiled_inputs,
    compiled_neighbours,
    draw_neighbours,
    tensor_inputs,
    tensor_neighbours,
)
from graph.counter_random import hash_words
from graph.csr import Csr
from graph.edges import DECAYED
from graph.prepare import make_sampler
from tests.graph.drawn import csr
from tests.graph.views import Published

CONFIG = SamplerConfig(
    fanouts=(4, 3), weightings=(Weighting.DECAYED, Weighting.UNIFORM), max_targets=3, seed=2
)


@pytest.fixture(scope="module")
def graph(small: Published) -> tuple[Csr, Csr]:
    return small.graph.by_user, small.graph.by_subreddit


def sample(graph: tuple[Csr, Csr], seeds: list[int], epoch: int = 0, name: str = "torch") -> Block:
    if name == "dgl":
        pytest.importorskip("dgl")
    return make_sampler(name, *graph, CONFIG).sample(torch.tensor(seeds), epoch)


def rows_of(block: Block) -> dict[int, tuple[list[int], list[int]]]:
    """(targets, input edges) by seed."""
    return {
        seed: (target[target >= 0].tolist(), edge[mask].tolist())
        for seed, target, edge, mask in zip(
            block.seeds.tolist(), block.target_BT, block.edge_BF, block.mask_BF, strict=True
        )
    }


def test_the_row_of_a_seed_does_not_depend_on_the_others(graph: tuple[Csr, Csr]) -> None:
    together = rows_of(sample(graph, list(range(40)), epoch=3))
    backwards = rows_of(sample(graph, list(range(39, -1, -1)), epoch=3))
    alone = {seed: rows_of(sample(graph, [seed], epoch=3))[seed] for seed in range(40)}
    assert together == backwards == alone
    assert together != rows_of(sample(graph, list(range(40)), epoch=4))


def test_other_seeds_of_the_sampler_draw_other_blocks(graph: tuple[Csr, Csr]) -> None:
    other = TorchSampler(
        by_user=graph[0], by_subreddit=graph[1], config=replace(CONFIG, seed=3)
    ).sample(torch.arange(40), 0)
    assert rows_of(other) != rows_of(sample(graph, list(range(40))))


def test_users_below_a_subreddit_differ_only_where_a_seed_is_left_out(
    graph: tuple[Csr, Csr],
) -> None:
    key = hash_words(1)
    places = torch.arange(graph[1].num_rows)
    free, _ = draw_neighbours(graph[1], places, 3, weighting=Weighting.UNIFORM, key=key)
    seeds = torch.arange(12)
    edge, _ = draw_neighbours(
        graph[1], places, 3, weighting=Weighting.UNIFORM, key=key, excluded=seeds
    )
    met = torch.isin(graph[1].neighbours[free].long(), seeds).any(dim=1)
    assert torch.equal(free[~met], edge[~met])
    assert met.any()
    assert (~met).any()


@pytest.mark.parametrize("name", ["torch", "dgl"])
def test_every_sampled_edge_exists_once_in_its_row(graph: tuple[Csr, Csr], name: str) -> None:
    by_user, by_subreddit = graph
    for epoch in range(3):
        block = sample(graph, list(range(0, by_user.num_rows, 3)), epoch, name)
        ends = by_user.neighbours[block.edge_BF].long()
        for seed, (targets, edges) in rows_of(block).items():
            start, stop = int(by_user.offsets[seed]), int(by_user.offsets[seed + 1])
            row = by_user.neighbours[start:stop].tolist()
            assert all(start <= at < stop for at in edges)
            inputs = [row[at - start] for at in edges]
            assert len(set(inputs + targets)) == len(inputs + targets)
            assert set(targets) <= set(row)
            # All edges that are not targets, up to the fanout: a row is never short.
            assert len(inputs) == min(CONFIG.fanouts[0], len(row) - len(targets))
            assert len(targets) <= CONFIG.max_targets
        assert torch.equal(block.subreddits, ends[block.mask_BF].unique())
        assert torch.equal(block.subreddits[block.slot_BF][block.mask_BF], ends[block.mask_BF])
        for place, below, mask in zip(
            block.subreddits.tolist(), block.edge_NG, block.mask_NG, strict=True
        ):
            start, stop = by_subreddit.offsets[place : place + 2].tolist()
            drawn = below[mask]
            assert ((drawn >= start) & (drawn < stop)).all()
            assert len(drawn.unique()) == len(drawn)
            assert not below[~mask].any()


def test_dgl_returns_edges_of_the_graph_one_by_one(graph: tuple[Csr, Csr]) -> None:
    pytest.importorskip("dgl")
    pairs = set(zip(graph[0].rows_of_edges().tolist(), graph[0].neighbours.tolist(), strict=True))
    block = sample(graph, list(range(graph[0].num_rows)), name="dgl")
    users = block.seeds[:, None].expand_as(block.edge_BF)[block.mask_BF]
    near = zip(
        users.tolist(), graph[0].neighbours[block.edge_BF[block.mask_BF]].tolist(), strict=True
    )
    places = block.subreddits[:, None].expand_as(block.edge_NG)[block.mask_NG]
    below = zip(
        graph[1].neighbours[block.edge_NG[block.mask_NG]].tolist(), places.tolist(), strict=True
    )
    assert set(near) | set(below) <= pairs


def test_dgl_draws_the_same_block_again(graph: tuple[Csr, Csr]) -> None:
    pytest.importorskip("dgl")
    seeds = list(range(30))
    sampler = make_sampler("dgl", *graph, CONFIG)
    first = sampler.sample(torch.tensor(seeds), 1)
    sampler.sample(torch.tensor(seeds), 2)
    again, anew = sampler.sample(torch.tensor(seeds), 1), sample(graph, seeds, 1, "dgl")
    assert rows_of(first) == rows_of(again) == rows_of(anew)
    assert torch.equal(first.edge_NG, again.edge_NG)
    assert torch.equal(first.edge_NG, anew.edge_NG)


def test_a_seed_keeps_an_input_and_long_rows_have_targets() -> None:
    by_user = csr([[0], [0, 1], list(range(12)), []])
    by_subreddit = by_user.transposed(12)
    counts = set()
    for epoch in range(30):
        block = sample((by_user, by_subreddit), [0, 1, 2, 3], epoch)
        targets = (block.target_BT >= 0).sum(dim=1).tolist()
        assert targets[0] == targets[3] == 0
        assert targets[1] == 1
        assert block.mask_BF.sum(dim=1).tolist() == [1, 1, 4, 0]
        counts.add(targets[2])
    assert counts == {1, 2, 3}


def test_an_empty_neighbourhood_is_all_masked() -> None:
    rows = csr([[], []])
    edge, mask = draw_neighbours(
        rows, torch.tensor([], dtype=torch.int64), 3, weighting=Weighting.UNIFORM, key=hash_words(0)
    )
    assert edge.shape == mask.shape == (0, 3)


@pytest.mark.parametrize("degree", [5, 1000])
def test_uniform_draws_meet_every_neighbour_equally_often(degree: int) -> None:
    rows, seen = csr([list(range(degree))]), torch.zeros(degree, dtype=torch.int64)
    for key in range(600):
        edge, mask = draw_neighbours(
            rows, torch.tensor([0]), 3, weighting=Weighting.UNIFORM, key=hash_words(key)
        )
        assert mask.all()
        assert len(edge[0].unique()) == 3
        seen += torch.bincount(edge[0], minlength=degree)
    assert chisquare(seen.view(5, -1).sum(dim=1).numpy()).pvalue > 1e-3


def test_weighted_draws_follow_decayed_activity() -> None:
    decayed = [0.0, 0.5, 1.0, 3.0]
    rows = csr([[0, 1, 2, 3]], decayed)
    assert rows.features[:, DECAYED].tolist() == decayed
    seen: Counter[int] = Counter()
    for key in range(1000):
        edge, _ = draw_neighbours(
            rows, torch.tensor([0]), 1, weighting=Weighting.DECAYED, key=hash_words(key)
        )
        seen[int(edge[0, 0])] += 1
    weights = torch.tensor(decayed, dtype=torch.float64) + WEIGHT_FLOOR
    expected = 1000 * weights / weights.sum()
    assert chisquare([seen[i] for i in range(4)], expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("weighting", list(Weighting))
def test_compiled_draws_are_those_of_tensors_edge_by_edge(
    graph: tuple[Csr, Csr], weighting: Weighting
) -> None:
    by_user, by_subreddit = graph
    seeds = torch.arange(0, by_user.num_rows, 2)
    for epoch in range(3):
        config = replace(CONFIG, weightings=(weighting, Weighting.UNIFORM))
        inputs = compiled_inputs(by_user, seeds, epoch, config)
        for found, expected in zip(
            inputs, tensor_inputs(by_user, seeds, epoch, config), strict=True
        ):
            assert torch.equal(found, expected)
        for rows, excluded in ((by_user, None), (by_subreddit, None), (by_subreddit, seeds)):
            nodes = torch.arange(rows.num_rows)
            for fanout in (1, 5, 40):
                drawn = (rows, nodes, fanout, weighting, hash_words(epoch))
                fast = compiled_neighbours(*drawn, excluded=excluded)
                slow = tensor_neighbours(*drawn, excluded=excluded)
                assert torch.equal(fast[0], slow[0])
                assert torch.equal(fast[1], slow[1])


def test_compiled_draws_of_hubs_are_those_of_tensors() -> None:
    rows = csr([list(range(5000)), [1, 2], [], list(range(100)), list(range(70))])
    nodes, excluded = torch.arange(5), torch.arange(0, 5000, 3)
    for key in range(20):
        for weighting in Weighting:
            for without in (None, excluded) if weighting is Weighting.UNIFORM else (None,):
                drawn = (rows, nodes, 12, weighting, hash_words(key))
                fast = compiled_neighbours(*drawn, excluded=without)
                slow = tensor_neighbours(*drawn, excluded=without)
                assert torch.equal(fast[0], slow[0])
                assert torch.equal(fast[1], slow[1])
                assert fast[1].sum(dim=1).tolist()[2:] == [0, 12, 12]


def test_of_a_whole_row_however_long_the_most_active_are_drawn() -> None:
    active = [i % 50 == 0 for i in range(2000)]
    rows = csr([[], list(range(2000)), [0, 1]], [1e4 * a for a in active] + [1.0, 1.0])
    nodes, key = torch.tensor([1, 2, 0]), hash_words(7)
    drawn = rows, nodes, 48, Weighting.DECAYED, key
    fast, slow = compiled_neighbours(*drawn, whole=True), tensor_neighbours(*drawn, whole=True)
    assert torch.equal(fast[0], slow[0]) and torch.equal(fast[1], slow[1])
    edge, mask = fast
    assert mask.sum(dim=1).tolist() == [48, 2, 0]
    assert set(edge[0].tolist()) >= {i for i, is_active in enumerate(active) if is_active}
    part, _ = draw_neighbours(rows, nodes, 48, weighting=Weighting.DECAYED, key=key)
    assert not set(part[0].tolist()) >= {i for i, is_active in enumerate(active) if is_active}
