from __future__ import annotations

import pytest
import torch

from graph.counter_random import Stream, hash_words
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


@pytest.mark.parametrize("shares", [(0.05, 0.1), (0.0, 0.3), (0.4, 0.59)])
def test_edges_withheld_are_those_of_a_sort_by_draw(shares: tuple[float, float]) -> None:
    degrees = torch.arange(60) % 13
    rows = Csr(
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)]),
        neighbours=torch.cat([torch.arange(int(n), dtype=torch.int32) for n in degrees]),
        features=torch.zeros(int(degrees.sum()), 1),
    )
    user_keys, keys = torch.arange(60) * 7 - 100, torch.arange(12) // 2  # Pairs of equal draws.
    validation_share, test_share = shares
    expected = []
    for user in range(60):
        names = keys[: int(degrees[user])]
        bits = hash_words(Stream.HELDOUT_EDGE, 3, user_keys[user], names) >> 11 & (1 << 53) - 1
        draw = (bits.double() + 0.5) * 2.0**-53
        label = torch.full((len(draw),), int(Split.TRAIN), dtype=torch.int8)
        for edge in draw.argsort(stable=True)[: max(len(draw) - MIN_TRAINING_EDGES, 0)].tolist():
            if float(draw[edge]) < test_share:
                label[edge] = int(Split.TEST)
            elif float(draw[edge]) < test_share + validation_share:
                label[edge] = int(Split.VALIDATION)
        expected.append(label)
    made = split_edges(
        rows,
        user_keys,
        keys,
        validation_share=validation_share,
        test_share=test_share,
        inductive_share=0.0,
        seed=3,
    )
    assert torch.equal(made.edge, torch.cat(expected))
    assert {int(label) for label in made.edge} >= {int(Split.TRAIN), int(Split.TEST)}


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
