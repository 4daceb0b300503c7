"""Compressed sparse rows: the graph as arrays, in either direction. Knows numpy and torch only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.contract import ContractError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Csr:
    """Rows of neighbours, sorted in each row.

    Axes: N rows, E edges, F features.

    Args:
        offsets: int64 [N + 1]; row i is `neighbours[offsets[i]:offsets[i + 1]]`.
        neighbours: int32 [E].
        features: float32 [E, F], one row an edge.
    """

    offsets: Tensor
    neighbours: Tensor
    features: Tensor

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.offsets.shape[0]) - 1

    @property
    def num_edges(self) -> int:
        """E."""
        return int(self.neighbours.shape[0])

    def degrees(self, rows: Tensor | None = None) -> Tensor:
        """int64 neighbours of each row, or of the rows named."""
        if rows is None:
            return self.offsets[1:] - self.offsets[:-1]
        return self.offsets[rows + 1] - self.offsets[rows]

    def rows_of_edges(self) -> Tensor:
        """int64 [E]: the row that each edge lies in."""
        return torch.repeat_interleave(torch.arange(self.num_rows), self.degrees())

    def expand(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """All edges of the rows named.

        Returns:
            (owner, edge), int64 [sum of degrees]: position in `rows`, and position of the edge.
        """
        return expand_ranges(self.offsets[rows], self.degrees(rows))

    def subset(self, keep: Tensor) -> Csr:
        """The rows with only the edges where `keep` (bool [E]) is true."""
        counts = torch.zeros(self.num_rows + 1, dtype=torch.int64)
        counts[1:] = torch.bincount(self.rows_of_edges()[keep], minlength=self.num_rows)
        return Csr(
            offsets=counts.cumsum(0),
            neighbours=self.neighbours[keep],
            features=self.features[keep],
        )

    def transposed(self, num_rows: int) -> tuple[Csr, Tensor]:
        """The same edges by target.

        Returns:
            The transpose, and int64 [E]: where each of its edges lies in this one.
        """
        order = torch.argsort(self.neighbours, stable=True)
        counts = torch.zeros(num_rows + 1, dtype=torch.int64)
        counts[1:] = torch.bincount(self.neighbours, minlength=num_rows)
        flipped = Csr(
            offsets=counts.cumsum(0),
            neighbours=self.rows_of_edges()[order].to(torch.int32),
            features=self.features[order],
        )
        return flipped, order

    def to(self, device: torch.device) -> Csr:
        """On another device."""
        return replace(
            self,
            offsets=self.offsets.to(device),
            neighbours=self.neighbours.to(device),
            features=self.features.to(device),
        )

    def save(self, folder: Path) -> None:
        """Write `offsets.npy`, `neighbours.npy` and `features.npy`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "offsets.npy", self.offsets.numpy())
        np.save(folder / "neighbours.npy", self.neighbours.numpy())
        np.save(folder / "features.npy", self.features.numpy())

    @staticmethod
    def open(folder: Path) -> Csr:
        """Map what `save` wrote; pages are read when they are touched."""
        return Csr(
            offsets=map_array(folder / "offsets.npy"),
            neighbours=map_array(folder / "neighbours.npy"),
            features=map_array(folder / "features.npy"),
        )


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
    elif csr.num_edges:
        low, high = int(csr.neighbours.min()), int(csr.neighbours.max())
        if low < 0 or high >= num_targets:
            problems.append(f"dangling neighbours: {low} to {high}, {num_targets} exist")
        step = csr.neighbours[1:].to(torch.int64) - csr.neighbours[:-1]
        rows = csr.rows_of_edges()
        if bool(((step <= 0) & (rows[1:] == rows[:-1])).any()):
            problems.append("a row holds a duplicate or is not sorted")
    if csr.features.shape[0] != csr.num_edges:
        problems.append(f"{csr.features.shape[0]} rows of features for {csr.num_edges} edges")
    elif not bool(torch.isfinite(csr.features).all()):
        problems.append("features that are not finite")
    if problems:
        raise ContractError(f"graph store, {name}: {'; '.join(problems)}; build the graph again")
