"""Loops over edges that numpy and torch could only do by making arrays as long as the graph.

Half-precision features come as their bits, for Numba knows no half on a CPU.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.compiled import compiled

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint16]

kernel = compiled()


def half_values() -> npt.NDArray[np.float32]:
    """float32 [65536]: the value of each pattern of half precision."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


@kernel
def fold_activity(
    pair_R: Ints,
    month_R: Ints,
    counts_R3: Ints,
    times_R2: Ints,
    decayed_R: Floats,
    months_R: Ints,
    rows_R: Ints,
    half_life_s: float,
) -> tuple[Ints, Ints, Ints, Floats, Ints, Ints]:
    """Rows sorted by pair and month, folded into one for each pair, from the first month on.

    Decayed activity is carried at the weight that it has at the pair's own last second. So a month
    that is added later is one more step of the same fold, and gives the same bits.

    Args:
        pair_R: Key of user and subreddit, ascending.
        month_R: Key of the month, ascending in a pair.
        counts_R3: Submissions, comments, score.
        times_R2: First and last second.
        decayed_R: Activity at the weight of the row's last second.
        months_R, rows_R: Months and rows that a row stands for.
        half_life_s: Of the decay.

    Returns:
        (pair_E, counts_E3, times_E2, decayed_E, months_E, rows_E).
    """
    size = 0
    for row in range(len(pair_R)):
        if row == 0 or pair_R[row] != pair_R[row - 1]:
            size += 1
    pair_E, counts_E3 = np.empty(size, np.int64), np.empty((size, 3), np.int64)
    times_E2, decayed_E = np.empty((size, 2), np.int64), np.empty(size, np.float64)
    months_E, rows_E = np.empty(size, np.int64), np.empty(size, np.int64)
    edge = -1
    for row in range(len(pair_R)):
        if row == 0 or pair_R[row] != pair_R[row - 1]:
            edge += 1
            pair_E[edge] = pair_R[row]
            counts_E3[edge] = counts_R3[row]
            times_E2[edge] = times_R2[row]
            decayed_E[edge], months_E[edge] = decayed_R[row], months_R[row]
            rows_E[edge] = rows_R[row]
            continue
        counts_E3[edge] += counts_R3[row]
        last = max(times_E2[edge, 1], times_R2[row, 1])
        kept = decayed_E[edge] * 2.0 ** ((times_E2[edge, 1] - last) / half_life_s)
        decayed_E[edge] = kept + decayed_R[row] * 2.0 ** ((times_R2[row, 1] - last) / half_life_s)
        times_E2[edge, 0] = min(times_E2[edge, 0], times_R2[row, 0])
        times_E2[edge, 1] = last
        if month_R[row] != month_R[row - 1]:
            months_E[edge] += months_R[row]
        rows_E[edge] += rows_R[row]
    return pair_E, counts_E3, times_E2, decayed_E, months_E, rows_E


@kernel
def transpose(
    offsets: Ints,
    neighbours: npt.NDArray[np.int32],
    offsets_out: Ints,
    neighbours_out: npt.NDArray[np.int32],
) -> None:
    """The edges by target, rows ascending, by one pass of counting and one of placing.

    Args:
        offsets, neighbours: Rows of N nodes.
        offsets_out: [targets + 1], written.
        neighbours_out: [E], written: the rows of each target.
    """
    offsets_out[:] = 0
    for edge in range(len(neighbours)):
        offsets_out[neighbours[edge] + 1] += 1
    for target in range(1, len(offsets_out)):
        offsets_out[target] += offsets_out[target - 1]
    cursor = offsets_out[:-1].copy()
    for row in range(len(offsets) - 1):
        for edge in range(offsets[row], offsets[row + 1]):
            target = neighbours[edge]
            neighbours_out[cursor[target]] = row
            cursor[target] += 1


@kernel
def find_edges(
    offsets: Ints,
    neighbours: npt.NDArray[np.int32],
    offsets_t: Ints,
    neighbours_t: npt.NDArray[np.int32],
    edge_t: Ints,
    found: Ints,
) -> None:
    """Where edges of the transpose are in the rows.

    Args:
        offsets, neighbours: The rows.
        offsets_t, neighbours_t: Their transpose.
        edge_t: Edges of the transpose.
        found: Written: the same edges in the rows.
    """
    for i in range(len(edge_t)):
        edge = edge_t[i]
        target = np.searchsorted(offsets_t, edge, side="right") - 1
        row = neighbours_t[edge]
        low, high = offsets[row], offsets[row + 1]
        while low < high:
            middle = (low + high) // 2
            if neighbours[middle] < target:
                low = middle + 1
            else:
                high = middle
        found[i] = low


@kernel
def sum_features(
    offsets: Ints,
    features: Bits,
    value_of: npt.NDArray[np.float32],
    sums: Floats,
) -> None:
    """Sums of the features of each row's edges, into `sums` [N, F]."""
    for row in range(len(offsets) - 1):
        for edge in range(offsets[row], offsets[row + 1]):
            for column in range(features.shape[1]):
                sums[row, column] += value_of[features[edge, column]]


@kernel
def sum_by_target(
    neighbours: npt.NDArray[np.int32],
    features: Bits,
    value_of: npt.NDArray[np.float32],
    sums: Floats,
) -> None:
    """Features of edges added to the row of their target in `sums` [targets, F]."""
    for edge in range(len(neighbours)):
        for column in range(features.shape[1]):
            sums[neighbours[edge], column] += value_of[features[edge, column]]


@kernel
def malformed(
    offsets: Ints, neighbours: npt.NDArray[np.int32], num_targets: int
) -> tuple[int, int]:
    """(neighbours out of range, neighbours that do not ascend in their row)."""
    dangling, unordered = 0, 0
    for row in range(len(offsets) - 1):
        before = -1
        for edge in range(offsets[row], offsets[row + 1]):
            node = neighbours[edge]
            if node < 0 or node >= num_targets:
                dangling += 1
            elif node <= before:
                unordered += 1
            before = node
    return dangling, unordered


@kernel
def num_different(
    offsets: Ints,
    neighbours: npt.NDArray[np.int32],
    offsets_t: Ints,
    neighbours_t: npt.NDArray[np.int32],
) -> int:
    """Edges that are not where `transpose` would have placed them."""
    cursor = offsets_t[:-1].copy()
    wrong = 0
    for row in range(len(offsets) - 1):
        for edge in range(offsets[row], offsets[row + 1]):
            target = neighbours[edge]
            place = cursor[target]
            if place >= offsets_t[target + 1] or neighbours_t[place] != row:
                wrong += 1
            cursor[target] = place + 1
    return wrong


@kernel
def component_sizes(
    offsets: Ints, neighbours: npt.NDArray[np.int32], num_targets: int
) -> npt.NDArray[np.int64]:
    """Nodes of each connected component of the bipartite graph; rows first, then targets."""
    num_rows = len(offsets) - 1
    parent = np.arange(num_rows + num_targets).astype(np.int32)
    for row in range(num_rows):
        for edge in range(offsets[row], offsets[row + 1]):
            a, b = row, num_rows + neighbours[edge]
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            # Roots are subreddits where there is a choice: rows point to them at once.
            if a < b:
                parent[a] = b
            elif b < a:
                parent[b] = a
    sizes = np.zeros(num_rows + num_targets, dtype=np.int64)
    for node in range(num_rows + num_targets):
        root = node
        while parent[root] != root:
            root = parent[root]
        parent[node] = root
        sizes[root] += 1
    return sizes[sizes > 0]
