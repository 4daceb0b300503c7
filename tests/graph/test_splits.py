from __future__ import annotations

import torch

from graph.csr import Csr
from graph.splits import MIN_TRAINING_EDGES, Split, Splits, split_edges


def complete(num_users: int, degree: int) -> Csr:
    edges = num_users * degree
    return Csr(
        offsets=torch.arange(0, edges + 1, degree),
        neighbours=torch.arange(degree, dtype=torch.int32).repeat(num_users),
        features=torch.zeros(edges, 1),
    )


def split(rows: Csr, user_keys: torch.Tensor, seed: int = 1) -> Splits:
    return split_edges(
        rows,
        user_keys,
        torch.arange(1000),
        validation_share=0.1,
        test_share=0.2,
        inductive_share=0.25,
        seed=seed,
    )


def test_shares_are_those_asked_for() -> None:
    made = split(complete(2000, 20), torch.arange(2000))
    counts = torch.bincount(made.edge.long()) / 40_000
    assert abs(float(counts[Split.TEST]) - 0.2) < 0.01
    assert abs(float(counts[Split.VALIDATION]) - 0.1) < 0.01
    assert abs(float(made.inductive.double().mean()) - 0.25) < 0.03


def test_every_user_keeps_enough_edges_to_be_predicted_from() -> None:
    for degree in (1, 3, 4, 5):
        made = split(complete(500, degree), torch.arange(500))
        kept = (made.edge == Split.TRAIN).view(500, degree).sum(dim=1)
        assert int(kept.min()) == min(degree, MIN_TRAINING_EDGES)


def test_a_user_keeps_its_split_when_others_come_and_go() -> None:
    few = split(complete(100, 8), torch.arange(100))
    many = split(complete(150, 8), torch.cat([torch.arange(1000, 1050), torch.arange(100)]))
    assert torch.equal(few.edge, many.edge[50 * 8 :])
    assert torch.equal(few.inductive, many.inductive[50:])


def test_another_seed_is_another_split() -> None:
    rows = complete(200, 10)
    one, two = split(rows, torch.arange(200)), split(rows, torch.arange(200), seed=2)
    assert not torch.equal(one.edge, two.edge)
    assert not torch.equal(one.inductive, two.inductive)


def test_training_has_no_edge_of_an_inductive_user() -> None:
    rows = complete(200, 10)
    made = split(rows, torch.arange(200))
    owner = rows.rows_of_edges()
    assert not bool(made.inductive[owner[made.training_edges(rows)]].any())
    assert bool(made.inductive[owner[made.input_edges()]].any())
