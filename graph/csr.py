"""Compressed sparse rows: the graph as arrays, in either direction. Knows numpy and torch only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graph import kernels
from pipelines.contract import ContractError

Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
EDGES_AT_ONCE = 1 << 22
MAX_EDGES = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Csr:
    """Rows of neighbours, sorted in each row.

    Both directions, and every part of a graph, share one table of features: edges name their row
    of it.

    Axes: N rows, E edges, F features, A edges of the whole graph.

    Args:
        offsets: int64 [N + 1]; row i is `neighbours[offsets[i]:offsets[i + 1]]`.
        neighbours: int32 [E].
        features: float16 [A, F].
        feature_rows: int32 [E], row of `features` of each edge; None: the edge's own number.
    """

    offsets: Tensor
    neighbours: Tensor
    features: Tensor
    feature_rows: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.offsets.shape[0]) - 1

    @property
    def num_edges(self) -> int:
        """E."""
        return int(self.neighbours.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the arrays are."""
        return self.neighbours.device

    def degrees(self, rows: Tensor | None = None) -> Tensor:
        """int64 neighbours of each row, or of the rows named."""
        if rows is None:
            return self.offsets[1:] - self.offsets[:-1]
        return self.offsets[rows + 1] - self.offsets[rows]

    def feature_row(self, edge: Tensor) -> Tensor:
        """int64: rows of `features` of these edges, of any shape."""
        return edge if self.feature_rows is None else self.feature_rows[edge].to(torch.int64)

    def edge_features(self, edge: Tensor) -> Tensor:
        """float32 [..., F] of these edges."""
        return self.features[self.feature_row(edge)].to(torch.float32)

    def rows_of_edges(self) -> Tensor:
        """int64 [E]: the row that each edge lies in."""
        return torch.repeat_interleave(torch.arange(self.num_rows), self.degrees())

    def ranges(self, num_edges: int = EDGES_AT_ONCE) -> list[tuple[int, int]]:
        """Rows in order as ranges [start, stop) of about so many edges, at least a row each."""
        marks = torch.arange(num_edges, max(num_edges, self.num_edges), num_edges)
        cuts = torch.searchsorted(self.offsets, marks, right=True) - 1
        bounds = [0, *cuts.unique().tolist(), self.num_rows]
        return [(a, b) for a, b in pairwise(bounds) if a < b]

    def expand(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """All edges of the rows named.

        Returns:
            (owner, edge), int64 [sum of degrees]: position in `rows`, and position of the edge.
        """
        return expand_ranges(self.offsets[rows], self.degrees(rows))

    def subset(self, keep: Tensor, folder: Path | None = None) -> Csr:
        """The rows with only the edges where `keep` (bool [E]) is true, in memory or in mapped
        files in `folder`; features stay shared."""
        size = int(keep.sum())
        offsets = np.empty(self.num_rows + 1, dtype=np.int64)
        neighbours = new_array(folder, "neighbours", size)
        edge_of = new_array(folder, "feature_rows", size)
        kernels.keep_edges(
            self.offsets.numpy(),
            self.neighbours.numpy(),
            keep.numpy(),
            offsets,
            neighbours,
            edge_of,
        )
        return self._with_rows(offsets, neighbours, edge_of, folder)[0]

    def transposed(self, num_rows: int, folder: Path | None = None) -> tuple[Csr, Tensor]:
        """The same edges by target, in memory or in mapped files in `folder`.

        Returns:
            The transpose, and int32 [E]: where each of its edges lies in this one.
        """
        if self.num_edges > MAX_EDGES:
            raise ContractError(f"{self.num_edges} edges: expected at most {MAX_EDGES}")
        offsets = np.empty(num_rows + 1, dtype=np.int64)
        neighbours = new_array(folder, "neighbours", self.num_edges)
        edge_of = new_array(folder, "feature_rows", self.num_edges)
        kernels.transpose(
            self.offsets.numpy(), self.neighbours.numpy(), offsets, neighbours, edge_of
        )
        return self._with_rows(offsets, neighbours, edge_of, folder)

    def _with_rows(
        self, offsets: Ints, neighbours: Int32s, edge_of: Int32s, folder: Path | None
    ) -> tuple[Csr, Tensor]:
        """(other rows of this one's edges, the edge of each): features are found through it."""
        order = torch.from_numpy(edge_of)
        rows = order
        if self.feature_rows is not None:
            order = order.clone()
            for part in torch.arange(len(order)).split(EDGES_AT_ONCE):
                rows[part] = self.feature_rows[order[part].to(torch.int64)]
        other = replace(
            self,
            offsets=torch.from_numpy(offsets),
            neighbours=torch.from_numpy(neighbours),
            feature_rows=rows,
        )
        if folder is None:
            return other, order
        if not len(order):  # nothing can be mapped
            other.save(folder)
            return other, order
        np.save(folder / "offsets.npy", offsets)
        # Mapped anew, the pages that were written are the system's, no longer this process's.
        return Csr.open(folder, self.features), order

    def to(self, device: torch.device) -> Csr:
        """On another device."""
        rows = None if self.feature_rows is None else self.feature_rows.to(device)
        return Csr(
            offsets=self.offsets.to(device),
            neighbours=self.neighbours.to(device),
            features=self.features.to(device),
            feature_rows=rows,
        )

    def save(self, folder: Path) -> None:
        """Write offsets, neighbours and rows of features as `.npy`; features are the store's."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "offsets.npy", self.offsets.numpy())
        np.save(folder / "neighbours.npy", self.neighbours.numpy())
        if self.feature_rows is not None:
            np.save(folder / "feature_rows.npy", self.feature_rows.numpy())

    @staticmethod
    def open(folder: Path, features: Tensor) -> Csr:
        """Map what `save` wrote; pages are read when they are touched."""
        rows = folder / "feature_rows.npy"
        return Csr(
            offsets=map_array(folder / "offsets.npy"),
            neighbours=map_array(folder / "neighbours.npy"),
            features=features,
            feature_rows=map_array(rows) if rows.is_file() else None,
        )


def new_array(folder: Path | None, name: str, size: int) -> Int32s:
    """int32 [size] to be written: in memory, or a mapped file in `folder`."""
    if folder is None or not size:
        return np.empty(size, dtype=np.int32)
    folder.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.int32, (size,))


def map_array(path: Path) -> Tensor:
    """A memory-mapped `.npy` file as a tensor. Copy on write: the file never changes."""
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def expand_ranges(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate the ranges [start, start + length).

    Returns:
        (owner, position), int64: which range, and the number in it.
    """
    owner = torch.repeat_interleave(torch.arange(len(starts), device=starts.device), lengths)
    before = lengths.cumsum(0) - lengths
    within = torch.arange(len(owner), device=starts.device) - before[owner]
    return owner, starts[owner] + within


def check_csr(name: str, csr: Csr, num_targets: int) -> None:
    """Nothing, if the rows are well formed.

    Raises:
        ContractError: Offsets that do not cover the edges, a neighbour out of range, a row that is
            not sorted, or a duplicate.
    """
    problems = []
    if int(csr.offsets[0]) != 0 or int(csr.offsets[-1]) != csr.num_edges:
        problems.append(f"offsets cover [{int(csr.offsets[0])}, {int(csr.offsets[-1])})")
    elif bool((csr.degrees() < 0).any()):
        problems.append("offsets decrease")
    else:
        dangling, unordered = kernels.malformed(
            csr.offsets.numpy(), csr.neighbours.numpy(), num_targets
        )
        if dangling:
            problems.append(f"{dangling} dangling neighbours, {num_targets} exist")
        if unordered:
            problems.append(f"{unordered} edges are a duplicate or not sorted")
    rows = len(csr.features) if csr.feature_rows is None else len(csr.feature_rows)
    if rows != csr.num_edges:
        problems.append(f"{rows} rows of features for {csr.num_edges} edges")
    if problems:
        raise ContractError(f"graph store, {name}: {'; '.join(problems)}; build the graph again")


def check_features(features: Tensor) -> None:
    """Nothing, if all features [A, F] are finite.

    Raises:
        ContractError: How many rows are not.
    """
    parts = features.split(EDGES_AT_ONCE)
    wrong = sum(int((~part.isfinite()).any(dim=1).sum()) for part in parts)
    if wrong:
        raise ContractError(
            f"graph store: features of {wrong} edges are not finite; build the graph again"
        )
