"""Steps of training: the same numbers whoever computes them, and a loss that falls."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from graph import training
from graph.batches import TrainingGraph, make_batch
from graph.config import TrainConfig
from graph.evaluate import Held
from graph.prepare import new_encoder
from graph.training import (
    Plan,
    StepLosses,
    Trainer,
    chunk_gradient,
    chunks_of_rank,
    pairwise_sum,
    sharing_workers,
)
from pipelines.contract import ConfigError
from tests.graph.conftest import SMALL
from tests.graph.views import Published, held_views, reader

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def held(small: Published) -> Held:
    return held_views(small, SMALL)


@pytest.fixture(scope="module")
def graph(held: Held) -> TrainingGraph:
    return reader(held, SMALL)


def trainer(
    held: Held,
    graph: TrainingGraph,
    config: TrainConfig = SMALL,
    rank: int = 0,
    world_size: int = 1,
    gather: Callable[[Tensor], list[Tensor]] = lambda tensor: [tensor],
) -> Trainer:
    """A trainer with a new encoder."""
    contents = held.training.contents
    return Trainer(
        config,
        new_encoder(config, graph, contents),
        graph,
        contents,
        image_weight=config.image_weight,
        rank=rank,
        world_size=world_size,
        gather=gather,
    )


def assert_same(found: Weights, expected: Weights) -> None:
    """Bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


class Meeting:
    """Ranks as threads that compute in turns, for torch's generator is one, and meet to gather."""

    def __init__(self, size: int) -> None:
        self.barrier, self.turn = threading.Barrier(size, timeout=60), threading.Lock()
        self.parts: list[Tensor] = [torch.empty(0)] * size

    def gather(self, rank: int) -> Callable[[Tensor], list[Tensor]]:
        """The `gather` of one rank, who has the turn."""

        def meet(part: Tensor) -> list[Tensor]:
            self.parts[rank] = part
            self.turn.release()
            self.barrier.wait()
            everyone = list(self.parts)
            self.barrier.wait()
            self.turn.acquire()
            return everyone

        return meet


def run_workers(held: Held, graph: TrainingGraph, size: int) -> list[tuple[Weights, StepLosses]]:
    """Weights and losses of every rank after an epoch."""
    meeting = Meeting(size)
    ranks = [
        trainer(held, graph, rank=rank, world_size=size, gather=meeting.gather(rank))
        for rank in range(size)
    ]
    losses: dict[int, StepLosses] = {}

    def work(rank: int) -> None:
        with meeting.turn:
            losses[rank] = ranks[rank].run_epoch()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [(ranks[rank].model.state_dict(), losses[rank]) for rank in range(size)]


@pytest.mark.parametrize("size", [2, 4])
def test_workers_change_no_bit(held: Held, graph: TrainingGraph, size: int) -> None:
    alone = trainer(held, graph)
    before = copy.deepcopy(alone.model.state_dict())
    expected_losses = alone.run_epoch()
    expected = alone.model.state_dict()
    assert not torch.equal(expected["table.weight"], before["table.weight"])
    for weights, losses in run_workers(held, graph, size):
        assert_same(weights, expected)
        assert losses == expected_losses


def test_sums_of_shares_are_the_sum_of_all() -> None:
    # Of very different sizes, so that another order of summing gives other bits.
    parts = list(torch.randn(8, 50) * 10.0 ** torch.arange(8)[:, None])
    whole = pairwise_sum(parts)
    for world_size in (2, 4, 8):
        shares = [chunks_of_rank(8, rank, world_size) for rank in range(world_size)]
        summed = pairwise_sum([pairwise_sum([parts[i] for i in share]) for share in shares])
        assert torch.equal(summed, whole)
    assert torch.allclose(whole, torch.stack(parts).sum(dim=0))


def test_workers_that_cannot_share_a_step_are_refused() -> None:
    assert chunks_of_rank(4, 1, 2) == range(2, 4)
    with pytest.raises(ConfigError, match="workers=3 cannot share the 4 chunks"):
        chunks_of_rank(4, 0, 3)


@pytest.mark.parametrize(
    ("chunks", "workers", "sharing"), [(2, 8, 2), (8, 3, 2), (8, 8, 8), (1, 4, 1), (4, 1, 1)]
)
def test_as_many_workers_train_as_can_share_a_step(chunks: int, workers: int, sharing: int) -> None:
    assert sharing_workers(chunks, workers) == sharing
    assert len(chunks_of_rank(chunks, 0, sharing)) * sharing == chunks


def test_both_losses_fall(held: Held, graph: TrainingGraph) -> None:
    config = replace(SMALL, epochs=30)
    learner = trainer(held, graph, config)
    losses = [learner.run_epoch() for _ in range(config.epochs)]
    first, last = losses[:3], losses[-3:]
    assert sum(x.link for x in last) < 0.95 * sum(x.link for x in first)
    assert sum(x.image for x in last) < 0.9 * sum(x.image for x in first)


def test_a_resumed_run_equals_an_undisturbed_one(held: Held, graph: TrainingGraph) -> None:
    steady = trainer(held, graph)
    steady.run_epoch()
    state = copy.deepcopy(steady.state())
    expected = [steady.run_epoch(), steady.run_epoch()]
    torch.manual_seed(1234)  # A new process has another generator: it must not matter.
    resumed = trainer(held, graph)
    resumed.restore(state)
    assert [resumed.run_epoch(), resumed.run_epoch()] == expected
    assert resumed.epoch == steady.epoch == 3
    assert_same(resumed.model.state_dict(), steady.model.state_dict())


def test_batches_made_ahead_are_those_of_their_turn(held: Held, graph: TrainingGraph) -> None:
    learner = trainer(held, graph)
    order = learner.plan.order(graph.users, 0, 0)
    found = list(learner.batches(order))
    assert len(found) == learner.plan.steps_per_epoch > 1
    for step, batches in enumerate(found):
        for chunk, batch in zip(learner.chunks, batches, strict=True):
            expected = make_batch(
                graph,
                held.training.contents,
                order[step, chunk],
                epoch=0,
                step=step * learner.plan.chunks_per_step + chunk,
                num_uniform=SMALL.uniform_negatives,
            )
            assert torch.equal(batch.near.edge_RFE, expected.near.edge_RFE)
            assert torch.equal(batch.candidates.edge_2K, expected.candidates.edge_2K)


def test_losses_hold_no_gradients_in_memory(held: Held, graph: TrainingGraph) -> None:
    learner = trainer(held, graph)
    order = learner.plan.order(graph.users, 0, 0)
    losses = learner.step(0, next(learner.batches(order)))
    assert losses.untyped_storage().nbytes() == losses.nbytes


def test_without_weight_the_image_head_is_not_trained(held: Held, graph: TrainingGraph) -> None:
    learner = trainer(held, graph, replace(SMALL, image_weight=0.0))
    before = learner.model.projection.weight.detach().clone()
    losses = learner.run_epoch()
    assert losses.image != losses.image  # NaN
    assert torch.equal(learner.model.projection.weight, before)


def test_other_seeds_give_other_encoders(held: Held, graph: TrainingGraph) -> None:
    weights = [
        new_encoder(replace(SMALL, seed=seed), graph, held.training.contents).table.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_every_user_is_a_seed_in_every_epoch() -> None:
    config = TrainConfig(batch_users=8, chunk_users=4)
    users = torch.arange(100, 121)
    plan = Plan.of(config, len(users))
    orders = [plan.order(users, seed=0, epoch=epoch) for epoch in range(2)]
    for order in orders:
        assert order.shape == (3, 2, 4)
        assert order.unique().tolist() == users.tolist()
        assert order.flatten()[21:].tolist() == order.flatten()[:3].tolist()
    assert not torch.equal(*orders)


def test_a_graph_below_a_batch_is_one_chunk() -> None:
    config = TrainConfig(batch_users=8, chunk_users=4)
    assert Plan.of(config, 7) == Plan(
        num_users=7, chunk_users=7, chunks_per_step=1, steps_per_epoch=1
    )
    with pytest.raises(ConfigError, match="1 training users: expected at least 2"):
        Plan.of(config, 1)


def test_bf16_as_on_gpus_changes_losses_and_gradients_by_rounding_alone(
    held: Held, graph: TrainingGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trainer(held, graph).model.eval()  # without dropout, whose draws depend on the dtype
    seeds = graph.users[:64]
    batch = make_batch(graph, held.training.contents, seeds, epoch=0, step=0, num_uniform=32)
    exact = chunk_gradient(model, batch, 0.5, 0)
    on_cpu = torch.autocast("cpu", torch.bfloat16)
    monkeypatch.setattr(training, "mixed_precision", lambda device: on_cpu)
    rough = chunk_gradient(model, batch, 0.5, 0)
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    torch.testing.assert_close(rough[-2:], exact[-2:], rtol=0.02, atol=0)
    assert torch.cosine_similarity(rough[:-2], exact[:-2], dim=0) > 0.99
