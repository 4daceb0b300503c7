from __future__ import annotations

from pathlib import Path

import pytest
import scipy.sparse
import torch

from graph.csr import Csr, check_csr, check_features, expand_ranges
from pipelines.contract import ContractError


def drawn() -> Csr:
    """0 -> {1, 2}, 1 -> {}, 2 -> {0, 1}; each edge's feature is 10 * row + neighbour."""
    return Csr(
        offsets=torch.tensor([0, 2, 2, 4]),
        neighbours=torch.tensor([1, 2, 0, 1], dtype=torch.int32),
        features=torch.tensor([[1.0], [2.0], [20.0], [21.0]]),
    )


def test_transpose_holds_the_same_edges_by_target() -> None:
    flipped = drawn().transposed(3)
    assert flipped.offsets.tolist() == [0, 1, 3, 4]
    assert flipped.neighbours.tolist() == [2, 0, 2, 0]
    assert flipped.edge_features(torch.arange(4))[:, 0].tolist() == [20.0, 1.0, 21.0, 2.0]
    assert flipped.feature_row(torch.tensor([[0, 2], [1, 3]])).tolist() == [[2, 3], [0, 1]]
    assert flipped.places().tolist() == [1, 3, 0, 2]
    with pytest.raises(ValueError, match="expected those that hold the features"):
        flipped.transposed(3)


def test_edges_of_a_transpose_are_found_between_empty_rows_and_by_tensors_too() -> None:
    made = scipy.sparse.random(40, 25, 0.1, format="csr", random_state=1)
    made.sort_indices()
    rows = Csr(
        offsets=torch.from_numpy(made.indptr.astype("int64")),
        neighbours=torch.from_numpy(made.indices.astype("int32")),
        features=torch.from_numpy(made.data)[:, None],
    )
    flipped, edge = rows.transposed(25), torch.arange(rows.num_edges)
    assert int(flipped.degrees().min()) == int(rows.degrees().min()) == 0
    expected = torch.from_numpy(made.T.tocsr().sorted_indices().data)
    torch.testing.assert_close(flipped.edge_features(edge)[:, 0], expected.float())
    ends = flipped.neighbours[edge].long(), flipped.rows_of_edges(edge)
    assert torch.equal(rows.edges_between(*ends), flipped.feature_row(edge))
    assert torch.equal(ends[1], flipped.rows_of_edges())


def test_subset_keeps_rows_and_drops_edges() -> None:
    kept = drawn().subset(torch.tensor([False, True, True, False]))
    assert kept.offsets.tolist() == [0, 1, 1, 2]
    assert kept.neighbours.tolist() == [2, 0]
    assert kept.edge_features(torch.arange(2))[:, 0].tolist() == [2.0, 20.0]


def test_expand_lists_the_edges_of_each_row_in_order() -> None:
    owner, edge = drawn().expand(torch.tensor([2, 1, 0, 2]))
    assert owner.tolist() == [0, 0, 2, 2, 3, 3]
    assert edge.tolist() == [2, 3, 0, 1, 2, 3]


def test_expand_ranges_of_nothing_is_nothing() -> None:
    owner, position = expand_ranges(torch.tensor([3, 9]), torch.tensor([0, 0]))
    assert (owner.tolist(), position.tolist()) == ([], [])


def test_saved_rows_are_mapped_back(tmp_path: Path) -> None:
    drawn().save(tmp_path)
    mapped = Csr.open(tmp_path)
    assert torch.equal(mapped.neighbours, drawn().neighbours)
    mapped.neighbours[0] = 99  # A private page: the file must not change.
    assert torch.equal(Csr.open(tmp_path).neighbours, drawn().neighbours)


def test_malformed_rows_are_named() -> None:
    good = drawn()
    check_csr("by_user", good, 3)
    wrong = {
        "dangling neighbours": (good.offsets, torch.tensor([1, 7, 0, 1]), good.features),
        "duplicate": (good.offsets, torch.tensor([1, 1, 0, 1]), good.features),
        "not sorted": (good.offsets, torch.tensor([2, 1, 0, 1]), good.features),
        "offsets cover": (torch.tensor([0, 2, 2, 3]), good.neighbours, good.features),
        "offsets decrease": (torch.tensor([0, 3, 2, 4]), good.neighbours, good.features),
        "rows of features": (good.offsets, good.neighbours, good.features[:3]),
    }
    for problem, (offsets, neighbours, features) in wrong.items():
        rows = Csr(offsets=offsets, neighbours=neighbours.to(torch.int32), features=features)
        with pytest.raises(ContractError, match=problem):
            check_csr("by_user", rows, 3)


def test_features_that_are_not_finite_are_counted() -> None:
    features = drawn().features.clone()
    check_features(features)
    features[1, 0], features[3, 0] = torch.inf, torch.nan
    with pytest.raises(ContractError, match="features of 2 edges are not finite"):
        check_features(features)
