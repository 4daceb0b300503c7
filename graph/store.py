"""GRAPH_STORE: the bipartite graph as memory-mapped arrays in both directions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from graph.arrays import ArrayWriter
from graph.csr import EDGES_AT_ONCE, Csr, check_csr, map_array
from graph.edges import EDGE_FEATURES
from graph.kernels import component_sizes, num_different
from graph.stats import row_stats
from pipelines.contract import ContractError, MissingInputError

FORMAT = 3
NUM_HUBS = 10
ARRAYS = ("actions", "user_keys", "subreddit_keys", "user_stats", "subreddit_stats")
SHARED = ("user_keys", "subreddit_keys")


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How time enters the edge features.

    Args:
        now_utc: Epoch seconds at which activity has its full weight.
        half_life_days: Of the decayed activity.
    """

    now_utc: int
    half_life_days: float


@dataclass(frozen=True, kw_only=True)
class GraphStore:
    """The graph: users and subreddits by dense index, in the order of their sorted names.

    Axes: U users, S subreddits, E edges, F `EDGE_FEATURES`.

    Args:
        by_user: U rows of subreddits.
        by_subreddit: S rows of users; the same edges.
        actions: int32 [E], submissions and comments, in the order of `by_user`.
        user_keys, subreddit_keys: int64, hashes of the names: identities that survive re-indexing.
        user_stats, subreddit_stats: float32 [., K], `graph.stats` over their edges.
        folder: Where it is mapped from; holds the names.
    """

    by_user: Csr
    by_subreddit: Csr
    actions: Tensor
    user_keys: Tensor
    subreddit_keys: Tensor
    user_stats: Tensor
    subreddit_stats: Tensor
    folder: Path

    @staticmethod
    def open(folder: Path) -> GraphStore:
        """Map the published store.

        Raises:
            MissingInputError: There is none in `folder`.
            ContractError: It is of another format.
        """
        summary = read_summary(folder)
        if summary["format"] != FORMAT:
            raise ContractError(
                f"graph store at {folder} has format {summary['format']!r}, expected {FORMAT}; "
                "run build_graph again"
            )
        return GraphStore.map(folder)

    @staticmethod
    def map(folder: Path) -> GraphStore:
        """Map the arrays that `save` or the builder wrote."""
        by_user = Csr.open(folder / "by_user")
        return GraphStore(
            by_user=by_user,
            by_subreddit=Csr.open(folder / "by_subreddit", by_user),
            folder=folder,
            **{name: map_array(folder / f"{name}.npy") for name in ARRAYS},
        )

    def save(self, folder: Path) -> None:
        """Write the arrays, or link to those that the store in `self.folder` shares; names and
        summary are the builder's."""
        self.by_user.save(folder / "by_user")
        self.by_subreddit.save(folder / "by_subreddit")
        self._save_rest(folder)

    def _save_rest(self, folder: Path, names: Sequence[str] = ARRAYS) -> None:
        for name in names:
            if name not in SHARED or not link_array(self.folder, folder, name):
                np.save(folder / f"{name}.npy", getattr(self, name).numpy())

    @property
    def num_users(self) -> int:
        """U."""
        return self.by_user.num_rows

    @property
    def num_subreddits(self) -> int:
        """S."""
        return self.by_subreddit.num_rows

    def user_ids(self) -> list[str]:
        """Names of the users, by index."""
        names: list[str] = pq.read_table(self.folder / "user_index.parquet")["user_id"].to_pylist()
        return names

    def subreddits(self) -> list[str]:
        """Names of the subreddits, by index."""
        table = pq.read_table(self.folder / "subreddit_index.parquet")
        names: list[str] = table["subreddit"].to_pylist()
        return names

    def clock(self) -> Clock:
        """Of the edge features."""
        summary = read_summary(self.folder)
        return Clock(**{f.name: summary[f.name] for f in fields(Clock)})  # type: ignore[arg-type]

    def subset(self, keep: Tensor, folder: Path | None = None) -> GraphStore:
        """The same users and subreddits with only the edges kept (bool [E], order of `by_user`).

        With a folder, all is written there, as `save` would, and mapped: for graphs that do not fit
        in memory twice.
        """
        by_user = self.by_user.subset(keep, None if folder is None else folder / "by_user")
        below = None if folder is None else folder / "by_subreddit"
        by_subreddit = by_user.transposed(self.num_subreddits, below)
        part = replace(
            self,
            by_user=by_user,
            by_subreddit=by_subreddit,
            actions=_kept(self.actions, keep, None if folder is None else folder / "actions.npy"),
            user_stats=row_stats(by_user),
            subreddit_stats=row_stats(by_subreddit),
        )
        if folder is not None:
            part._save_rest(folder, [name for name in ARRAYS if name != "actions"])
        return part


def _kept(values: Tensor, keep: Tensor, path: Path | None) -> Tensor:
    """The values [E] of the edges kept, in memory or in a mapped file."""
    parts = zip(values.split(EDGES_AT_ONCE), keep.split(EDGES_AT_ONCE), strict=True)
    kept = (part[chosen] for part, chosen in parts)
    if path is None:
        return torch.cat(list(kept))
    with ArrayWriter(path, values.numpy().dtype) as writer:
        for part in kept:
            writer.append(part.numpy())
    return map_array(path)


def link_array(source: Path, target: Path, name: str) -> bool:
    """Whether `target` now names the array that the folder `source` holds."""
    array = (source / f"{name}.npy").resolve()
    if array.is_file():
        (target / f"{name}.npy").unlink(missing_ok=True)
        (target / f"{name}.npy").symlink_to(array)
    return array.is_file()


def check_store(store: GraphStore) -> None:
    """Nothing, if both directions are well formed and hold the same edges.

    Raises:
        ContractError: Dangling or duplicate edges, or directions that differ.
    """
    check_csr("by_user", store.by_user, store.num_subreddits)
    check_csr("by_subreddit", store.by_subreddit, store.num_users)
    rows, columns = store.by_user, store.by_subreddit
    wrong = num_different(
        rows.offsets.numpy(),
        rows.neighbours.numpy(),
        columns.offsets.numpy(),
        columns.neighbours.numpy(),
    )
    if wrong:
        raise ContractError(
            f"graph store: its two directions differ in {wrong} edges; build the graph again"
        )


def summarise(store: GraphStore, subreddits: list[str]) -> dict[str, object]:
    """What to know about a graph before training on it: sizes, degrees, hubs, components."""
    degrees = store.by_subreddit.degrees()
    largest = torch.argsort(degrees, descending=True, stable=True)[:NUM_HUBS].tolist()
    return {
        "format": FORMAT,
        "num_users": store.num_users,
        "num_subreddits": store.num_subreddits,
        "num_edges": store.by_user.num_edges,
        "edge_features": list(EDGE_FEATURES),
        "user_degrees": _quantiles(store.by_user.degrees()),
        "subreddit_degrees": _quantiles(degrees),
        "hubs": {subreddits[i]: int(degrees[i]) / store.num_users for i in largest},
        "components": _component_sizes(store),
    }


def read_summary(folder: Path) -> dict[str, object]:
    """`summary.json` of a store.

    Raises:
        MissingInputError: There is no store in `folder`.
    """
    path = folder / "summary.json"
    if not path.is_file():
        raise MissingInputError(f"graph store not found at {folder}; run build_graph first")
    summary: dict[str, object] = json.loads(path.read_text())
    return summary


def _quantiles(degrees: Tensor) -> dict[str, int]:
    ordered = degrees.sort().values
    at = {"min": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: int(ordered[int(q * (len(ordered) - 1))]) for name, q in at.items()}


def _component_sizes(store: GraphStore) -> dict[str, int]:
    """Number of connected components, and nodes in the largest."""
    rows = store.by_user
    sizes = component_sizes(rows.offsets.numpy(), rows.neighbours.numpy(), store.num_subreddits)
    return {"count": len(sizes), "largest": int(sizes.max())}
