from __future__ import annotations

import torch

from graph.csr import Csr
from graph.stats import row_stats, sample_stats


def test_row_stats_are_log_degree_and_means() -> None:
    rows = Csr(
        offsets=torch.tensor([0, 2, 2]),
        neighbours=torch.tensor([0, 1], dtype=torch.int32),
        features=torch.tensor([[1.0, 4.0], [3.0, 0.0]], dtype=torch.float16),
    )
    expected = torch.tensor([[torch.tensor(3.0).log(), 2.0, 2.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(row_stats(rows), expected)


def test_a_sample_that_holds_every_edge_has_the_stats_of_the_row() -> None:
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).half()
    rows = Csr(
        offsets=torch.tensor([0, 2, 5]),
        neighbours=torch.tensor([0, 1, 0, 1, 2], dtype=torch.int32),
        features=features,
    )
    edge = torch.tensor([[0, 1, 0], [2, 3, 4]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    sampled = sample_stats(features[edge], mask, torch.tensor([2, 3]))
    torch.testing.assert_close(sampled, row_stats(rows))


def test_a_node_without_edges_has_zeros() -> None:
    stats = sample_stats(
        torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool), torch.tensor([0])
    )
    assert stats.tolist() == [[0.0] * 4]
