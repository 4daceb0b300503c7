"""INTERACTIONS -> GRAPH_STORE: the bipartite graph as memory-mapped arrays in both directions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from graph.config import GraphConfig, GraphResources
from graph.counter_random import hash_strings
from graph.csr import Csr, check_csr, map_array
from graph.edges import (
    EDGE_FEATURES,
    EdgeRules,
    aggregate,
    check_interactions,
    edge_features,
    filter_small,
)
from graph.stats import row_stats
from graph.tables import GRAPH_STORE
from pipelines.contract import ContractError, Counts, MissingInputError, Run
from pipelines.tables import INTERACTIONS

FORMAT = 1
NUM_HUBS = 10
ARRAYS = ("edge_of", "actions", "user_keys", "subreddit_keys", "user_stats", "subreddit_stats")


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
        edge_of: int64 [E]: where each edge of `by_subreddit` lies in `by_user`.
        actions: int64 [E], order of `by_user`: submissions and comments.
        user_keys, subreddit_keys: int64, hashes of the names: identities that survive re-indexing.
        user_stats, subreddit_stats: float32 [., K], `graph.stats` over their edges.
        folder: Where it is mapped from; holds the names.
    """

    by_user: Csr
    by_subreddit: Csr
    edge_of: Tensor
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
        """Map the arrays that `save` wrote."""
        return GraphStore(
            by_user=Csr.open(folder / "by_user"),
            by_subreddit=Csr.open(folder / "by_subreddit"),
            folder=folder,
            **{name: map_array(folder / f"{name}.npy") for name in ARRAYS},
        )

    def save(self, folder: Path) -> None:
        """Write the arrays; names and summary are the builder's."""
        self.by_user.save(folder / "by_user")
        self.by_subreddit.save(folder / "by_subreddit")
        for name in ARRAYS:
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

    def subset(self, keep: Tensor) -> GraphStore:
        """The same users and subreddits with only the edges kept (bool [E], order of `by_user`)."""
        by_user = self.by_user.subset(keep)
        by_subreddit, edge_of = by_user.transposed(self.num_subreddits)
        return replace(
            self,
            by_user=by_user,
            by_subreddit=by_subreddit,
            edge_of=edge_of,
            actions=self.actions[keep],
            user_stats=row_stats(by_user),
            subreddit_stats=row_stats(by_subreddit),
        )


def build_graph(config: GraphConfig, resources: GraphResources, run: Run) -> Counts:
    """Step: INTERACTIONS -> GRAPH_STORE."""
    files = INTERACTIONS.files(run)
    if not files:
        raise MissingInputError(
            f"table 'interactions' not found at {INTERACTIONS.path(run)}; run interactions first"
        )
    interactions = pl.scan_parquet(files, hive_partitioning=False)
    rows, clock_utc = check_interactions(interactions)
    rules = EdgeRules(
        min_subreddits=config.min_subreddits,
        min_users=config.min_users,
        half_life_days=config.half_life_days,
    )
    edges = aggregate(interactions, rules.half_life_days, clock_utc)
    edges, dropped = filter_small(edges, rules)
    if edges.is_empty():
        raise ContractError(
            f"no edge is left of {rows} interactions ({dropped}); lower min_users="
            f"{config.min_users} or min_subreddits={config.min_subreddits}"
        )
    clock = Clock(now_utc=clock_utc, half_life_days=config.half_life_days)
    store = write_store(edges, run.staged(GRAPH_STORE), clock)
    return Counts(
        rows_in=rows,
        rows_out=rows - sum(dropped.values()),
        dropped=dropped,
        written={
            "users": store.num_users,
            "subreddits": store.num_subreddits,
            "edges": store.by_user.num_edges,
        },
    ).assert_balanced()


def write_store(edges: pl.DataFrame, folder: Path, clock: Clock) -> GraphStore:
    """Index, sort, validate and write the edges of `aggregate`; return the store."""
    users = _index(edges, "user_id", "user_index")
    subreddits = _index(edges, "subreddit", "subreddit_index")
    edges = (
        edges.join(users, on="user_id")
        .join(subreddits, on="subreddit")
        .sort("user_index", "subreddit_index")
    )
    counts = torch.bincount(torch.from_numpy(edges["user_index"].to_numpy().copy()))
    by_user = Csr(
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        neighbours=torch.from_numpy(edges["subreddit_index"].to_numpy().astype(np.int32)),
        features=torch.from_numpy(edge_features(edges)),
    )
    by_subreddit, edge_of = by_user.transposed(len(subreddits))
    store = GraphStore(
        by_user=by_user,
        by_subreddit=by_subreddit,
        edge_of=edge_of,
        actions=torch.from_numpy(edges["actions"].to_numpy().copy()),
        user_keys=torch.from_numpy(hash_strings(users["user_id"].to_list())),
        subreddit_keys=torch.from_numpy(hash_strings(subreddits["subreddit"].to_list())),
        user_stats=row_stats(by_user),
        subreddit_stats=row_stats(by_subreddit),
        folder=folder,
    )
    check_store(store)
    folder.mkdir(parents=True, exist_ok=True)
    store.save(folder)
    users.write_parquet(folder / "user_index.parquet")
    subreddits.write_parquet(folder / "subreddit_index.parquet")
    summary = summarise(store, subreddits["subreddit"].to_list()) | asdict(clock)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return store


def check_store(store: GraphStore) -> None:
    """Nothing, if both directions are well formed and hold the same edges.

    Raises:
        ContractError: Dangling or duplicate edges, or directions that differ.
    """
    check_csr("by_user", store.by_user, store.num_subreddits)
    check_csr("by_subreddit", store.by_subreddit, store.num_users)
    rows = store.by_user.rows_of_edges()
    same_users = torch.equal(rows[store.edge_of].to(torch.int32), store.by_subreddit.neighbours)
    subreddits = store.by_user.neighbours[store.edge_of]
    same_rows = torch.equal(subreddits.to(torch.int64), store.by_subreddit.rows_of_edges())
    if not (same_users and same_rows):
        raise ContractError("graph store: its two directions differ; build the graph again")


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


def _index(edges: pl.DataFrame, column: str, index: str) -> pl.DataFrame:
    names = edges.select(pl.col(column).unique()).sort(column)
    return names.with_row_index(index).with_columns(pl.col(index).cast(pl.Int64))


def _quantiles(degrees: Tensor) -> dict[str, int]:
    ordered = degrees.sort().values
    at = {"min": 0.0, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: int(ordered[int(q * (len(ordered) - 1))]) for name, q in at.items()}


def _component_sizes(store: GraphStore) -> dict[str, int]:
    """Number of connected components, and nodes in the largest."""
    users = store.by_user.rows_of_edges().numpy()
    subreddits = store.by_user.neighbours.numpy() + store.num_users
    size = store.num_users + store.num_subreddits
    ones = np.ones(len(users), dtype=np.int8)
    adjacency = csr_array((ones, (users, subreddits)), shape=(size, size))
    count, labels = connected_components(adjacency, directed=False)
    return {"count": int(count), "largest": int(np.bincount(labels).max())}
