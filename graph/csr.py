"""Compressed sparse rows: the graph as arrays, in either direction. Knows numpy and torch only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graph import kernels
from graph.arrays import ArrayWriter
from pipelines.contract import ContractError

Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
EDGES_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Csr:
    """Rows of neighbours, sorted in each row.

    One direction of a graph holds the features, a row for each edge in their order. The other finds
    the edge there by its two ends: an array that said where would be as long as the graph.

    Axes: N rows, E edges, F features.

    Args:
        offsets: int64 [N + 1]; row i is `neighbours[offsets[i]:offsets[i + 1]]`.
        neighbours: int32 [E].
        features: float16 [E, F], in the order of the edges of `origin`.
        origin: The same edges by their other end; None: features are in the order of these.
        folder: Where the arrays are mapped from; None: they are in memory.
    """

    offsets: Tensor
    neighbours: Tensor
    features: Tensor
    origin: Csr | None = None
    folder: Path | None = None

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
        if self.origin is None:
            return edge
        if self.device.type != "cpu":
            return self.origin.edges_between(self.neighbours[edge], self.rows_of_edges(edge))
        found = torch.empty(edge.shape, dtype=torch.int64)
        kernels.find_edges(
            self.origin.offsets.numpy(),
            self.origin.neighbours.numpy(),
            self.offsets.numpy(),
            self.neighbours.numpy(),
            edge.flatten().numpy(),
            found.view(-1).numpy(),
        )
        return found

    def edge_features(self, edge: Tensor) -> Tensor:
        """float32 [..., F] of these edges."""
        return self.features[self.feature_row(edge)].to(torch.float32)

    def edges_between(self, rows: Tensor, neighbours: Tensor) -> Tensor:
        """int64: where the edges of these rows to these neighbours are, all of which exist."""
        low, high = self.offsets[rows], self.offsets[rows + 1]
        for _ in range(int((high - low).max()).bit_length() if low.numel() else 0):
            middle = (low + high) // 2
            is_right = self.neighbours[middle.clamp(max=self.num_edges - 1)] < neighbours
            is_right &= low < high
            low, high = torch.where(is_right, middle + 1, low), torch.where(is_right, high, middle)
        return low

    def rows_of_edges(self, edge: Tensor | None = None) -> Tensor:
        """int64: the row that each edge, or each of those named, lies in."""
        if edge is None:
            return torch.repeat_interleave(torch.arange(self.num_rows), self.degrees())
        return torch.searchsorted(self.offsets, edge, right=True) - 1

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
        """The rows with only the edges where `keep` (bool [E]) is true, and their features, in
        memory or in mapped files in `folder`.

        Raises:
            ValueError: Features are in the order of `origin`: a part is one of that.
        """
        self._check_own()
        if folder is None:
            before = torch.cat([torch.zeros(1, dtype=torch.int64), keep.cumsum(0)])
            return Csr(
                offsets=before[self.offsets],
                neighbours=self.neighbours[keep],
                features=self.features[keep],
            )
        folder.mkdir(parents=True, exist_ok=True)
        width, dtype = self.features.shape[1], self.features.numpy().dtype
        with (
            ArrayWriter(folder / "offsets.npy", np.int64) as offsets,
            ArrayWriter(folder / "neighbours.npy", np.int32) as neighbours,
            ArrayWriter(folder / "features.npy", dtype, width) as features,
        ):
            offsets.append(np.zeros(1, dtype=np.int64))
            for start, stop in self.ranges():
                rows, bounds = self.afresh(), self.offsets[start : stop + 1]
                here = slice(int(bounds[0]), int(bounds[-1]))
                before = torch.cat([torch.zeros(1, dtype=torch.int64), keep[here].cumsum(0)])
                offsets.append((neighbours.rows + before[bounds[1:] - bounds[0]]).numpy())
                neighbours.append(rows.neighbours[here][keep[here]].numpy())
                features.append(rows.features[here][keep[here]].numpy())
        return Csr.open(folder)

    def transposed(self, num_rows: int, folder: Path | None = None) -> Csr:
        """The same edges by target, in memory or in mapped files in `folder`.

        Raises:
            ValueError: Features are in the order of `origin`, which is the transpose.
        """
        self._check_own()
        offsets = np.empty(num_rows + 1, dtype=np.int64)
        neighbours = new_array(folder, "neighbours", self.num_edges)
        rows = self.afresh()
        kernels.transpose(rows.offsets.numpy(), rows.neighbours.numpy(), offsets, neighbours)
        if folder is not None:
            np.save(folder / "offsets.npy", offsets)
            # Mapped anew, the pages that were written are the system's, no longer this process's.
            return Csr.open(folder, self)
        return Csr(
            offsets=torch.from_numpy(offsets),
            neighbours=torch.from_numpy(neighbours),
            features=self.features,
            origin=self,
        )

    def _check_own(self) -> None:
        if self.origin is not None:
            raise ValueError("rows with an origin: expected those that hold the features")

    def places(self) -> Tensor:
        """int64 [E]: where each edge of `origin` is in these rows."""
        if self.origin is None:
            return torch.arange(self.num_edges)
        found = torch.empty(self.num_edges, dtype=torch.int64)
        found[self.feature_row(torch.arange(self.num_edges))] = torch.arange(self.num_edges)
        return found

    def to(self, device: torch.device, origin: Csr | None = None) -> Csr:
        """On another device, where `origin` may be already."""
        if self.origin is not None and origin is None:
            origin = self.origin.to(device)
        return Csr(
            offsets=self.offsets.to(device),
            neighbours=self.neighbours.to(device),
            features=self.features.to(device) if origin is None else origin.features,
            origin=origin,
        )

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy`; features only if they are in the order of these edges."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "offsets.npy", self.offsets.numpy())
        np.save(folder / "neighbours.npy", self.neighbours.numpy())
        if self.origin is None:
            np.save(folder / "features.npy", self.features.numpy())

    @staticmethod
    def open(folder: Path, origin: Csr | None = None) -> Csr:
        """Map what `save` wrote; pages are read when they are touched."""
        return Csr(
            offsets=map_array(folder / "offsets.npy"),
            neighbours=map_array(folder / "neighbours.npy"),
            features=map_array(folder / "features.npy") if origin is None else origin.features,
            origin=origin,
            folder=folder,
        )

    def afresh(self) -> Csr:
        """These rows through a mapping of their own, whose pages leave this process's memory with
        it: for what reads every edge once. Rows in memory are what they are."""
        if self.folder is None:
            return self
        return Csr.open(self.folder, self.origin and self.origin.afresh())


def bits(features: Tensor) -> npt.NDArray[np.generic]:
    """The features as compiled loops take them: halves as their bits, uint16."""
    values: npt.NDArray[np.generic] = features.numpy()
    return values.view(np.uint16) if values.dtype == np.float16 else values


def new_array(folder: Path | None, name: str, size: int) -> Int32s:
    """int32 [size] to be written: in memory, or a mapped file in `folder`."""
    if folder is None:
        return np.empty(size, dtype=np.int32)
    folder.mkdir(parents=True, exist_ok=True)
    if not size:  # nothing can be mapped
        np.save(folder / f"{name}.npy", np.empty(0, dtype=np.int32))
        return np.empty(0, dtype=np.int32)
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.int32, (size,))


def map_array(path: Path) -> Tensor:
    """A memory-mapped `.npy` file as a tensor. Copy on write: the file never changes. Of an array
    without values nothing can be mapped: it is read."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
    mode: Literal["c"] | None = "c" if math.prod(shape) else None
    return torch.from_numpy(np.load(path, mmap_mode=mode, allow_pickle=False))


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
    if len(csr.features) != csr.num_edges:
        problems.append(f"{len(csr.features)} rows of features for {csr.num_edges} edges")
    if problems:
        raise ContractError(f"graph store, {name}: {'; '.join(problems)}; build the graph again")


def check_features(features: Tensor) -> None:
    """Nothing, if all features [E, F] are finite.

    Raises:
        ContractError: How many rows are not.
    """
    wrong = int((~features.isfinite()).any(dim=1).sum())
    if wrong:
        raise ContractError(
            f"graph store: features of {wrong} edges are not finite; build the graph again"
        )
