"""Kernels against what scipy and numpy say of random graphs."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from graph import kernels


def random_rows(rows: int, targets: int, share: float, seed: int) -> csr_array:
    dense = np.random.default_rng(seed).random((rows, targets)) < share
    made = csr_array(dense.astype(np.int8))
    made.sort_indices()
    return made


def test_components_are_those_of_scipy() -> None:
    for seed, share in enumerate((0.0, 0.01, 0.03, 0.2)):
        rows = random_rows(60, 40, share, seed)
        found = kernels.component_sizes(
            rows.indptr.astype(np.int64), rows.indices.astype(np.int32), 40
        )
        users, places = rows.nonzero()
        whole = csr_array((np.ones(len(users)), (users, 60 + places)), shape=(100, 100))
        _, labels = connected_components(whole, directed=False)
        assert sorted(found.tolist()) == sorted(np.bincount(labels).tolist())


def test_half_values_are_those_of_numpy() -> None:
    values = np.array([0.0, -1.5, 0.1, 65504.0, 1e-7], dtype=np.float16)
    assert np.array_equal(kernels.half_values()[values.view(np.uint16)], values.astype(np.float32))


def test_sums_by_row_and_by_target_meet_every_edge_once() -> None:
    rows = random_rows(30, 20, 0.2, 5)
    offsets, neighbours = rows.indptr.astype(np.int64), rows.indices.astype(np.int32)
    features = np.random.default_rng(1).random((len(neighbours), 3)).astype(np.float16)
    bits, value_of = features.view(np.uint16), kernels.half_values()
    by_row, by_target = np.zeros((30, 3)), np.zeros((20, 3))
    kernels.sum_features(offsets, bits, value_of, by_row)
    kernels.sum_by_target(neighbours, bits, value_of, by_target)
    expected = np.zeros((20, 3))
    np.add.at(expected, neighbours, features.astype(np.float64))
    assert np.allclose(by_target, expected)
    assert np.allclose(by_row.sum(axis=0), expected.sum(axis=0))
