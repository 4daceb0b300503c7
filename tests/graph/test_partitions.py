"""METIS partitions: users of one taste meet in the chunks of training."""

from __future__ import annotations

import pytest
import torch

from graph.config import TrainConfig
from graph.training import Plan
from tests.graph.drawn import csr

pytest.importorskip("dgl")

from graph.partitions import user_partitions

TASTES, PLACES, USERS = 4, 20, 400


def world() -> tuple[torch.Tensor, torch.Tensor]:
    """(taste of each user, partition of each): a hub, and three places of one taste's own."""
    generator = torch.Generator().manual_seed(0)
    taste = torch.arange(USERS) % TASTES
    rows = []
    for user in range(USERS):
        own = torch.randperm(PLACES, generator=generator)[:3] * TASTES + int(taste[user]) + 1
        rows.append(sorted([0, *own.tolist()]))
    return taste, user_partitions(csr(rows), TASTES * PLACES + 1, TASTES)


def test_users_of_one_taste_share_a_partition() -> None:
    taste, partition = world()
    table = torch.zeros(TASTES, TASTES)
    table.index_put_((taste, partition), torch.ones(USERS), accumulate=True)
    assert float(table.amax(dim=1).sum()) > 0.95 * USERS
    assert len(table.argmax(dim=1).unique()) == TASTES


def test_chunks_hold_users_of_one_partition_and_everybody_once() -> None:
    _, partition = world()
    plan = Plan.of(TrainConfig(batch_users=80, chunk_users=20), USERS)
    users = torch.arange(USERS)
    order = plan.order(users, seed=0, epoch=0, partition=partition)
    assert sorted(order.flatten().tolist()) == users.tolist()
    mixed = sum(len(partition[chunk].unique()) > 1 for chunk in order.view(-1, 20))
    assert mixed < TASTES
    assert not torch.equal(order, plan.order(users, seed=0, epoch=1, partition=partition))
    firsts = partition[order.view(-1, 20)[:, 0]]
    assert not torch.equal(firsts, firsts.sort().values)  # steps mix partitions
