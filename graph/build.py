"""INTERACTIONS -> GRAPH_STORE, out of core: memory holds a range of users, never the graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from graph import kernels
from graph.arrays import ArrayWriter
from graph.config import GraphConfig, GraphResources
from graph.counter_random import hash_strings
from graph.csr import Csr, check_features
from graph.edges import EDGE_FEATURES, edge_features
from graph.ledger import LEDGER, Ledger, read_sources, write_ledger
from graph.stats import VALUE_OF, mean_stats
from graph.store import FORMAT, Clock, GraphStore, check_store, read_summary, summarise
from graph.tables import GRAPH_STORE
from pipelines.contract import ContractError, Counts, MissingInputError, Run
from pipelines.tables import INTERACTIONS

KEPT_COLUMNS = ["user_id", "subreddit", "rows", "last_utc"]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the rules keep of a ledger.

    Args:
        subreddits: Names, sorted.
        rows: Of INTERACTIONS, in.
        dropped: Of them, by rule.
        clock_utc: Last activity in the data.
    """

    subreddits: pl.Series
    rows: int
    dropped: dict[str, int]
    clock_utc: int


def build_graph(config: GraphConfig, resources: GraphResources, run: Run) -> Counts:
    """Step: INTERACTIONS -> GRAPH_STORE. Months that a published store lacks are added to it."""
    files = INTERACTIONS.files(run)
    root = INTERACTIONS.path(run)
    if not files:
        raise MissingInputError(f"table 'interactions' not found at {root}; run interactions first")
    folder = run.staged(GRAPH_STORE)
    earlier = _earlier(GRAPH_STORE.path(run), config.half_life_days)
    sources = read_sources(files, root)
    ledger = write_ledger(folder / LEDGER, root, sources, config.half_life_days, earlier=earlier)
    kept = apply_rules(ledger, config)
    if not len(kept.subreddits):
        raise ContractError(
            f"no edge is left of {kept.rows} interactions ({kept.dropped}); lower min_users="
            f"{config.min_users} or min_subreddits={config.min_subreddits}"
        )
    store = write_store(ledger, kept, config, folder)
    return Counts(
        rows_in=kept.rows,
        rows_out=kept.rows - sum(kept.dropped.values()),
        dropped=kept.dropped,
        written={
            "users": store.num_users,
            "subreddits": store.num_subreddits,
            "edges": store.by_user.num_edges,
        },
    ).assert_balanced()


def _earlier(folder: Path, half_life_days: float) -> Ledger | None:
    """Ledger of the published store, if there is one that can be continued."""
    if not (folder / "summary.json").is_file():
        return None
    summary = read_summary(folder)
    if summary["format"] != FORMAT or summary["half_life_days"] != half_life_days:
        return None
    return Ledger.open(folder / LEDGER)


def apply_rules(ledger: Ledger, config: GraphConfig) -> Kept:
    """Judge subreddits, then users; `kept_edges` gives what is left."""
    counts = _users_by_subreddit(ledger)
    large = counts.filter(pl.col("users") >= config.min_users)["subreddit"]
    rows, clock_utc, left = 0, 0, []
    in_small, of_small_users = 0, 0
    for number in range(len(ledger.starts)):
        edges = pl.read_parquet(ledger.file(number), columns=KEPT_COLUMNS)
        rows += _rows(edges)
        clock_utc = max(clock_utc, int(edges["last_utc"].max() or 0))  # type: ignore[arg-type]
        kept = _in(edges, large, len(counts))
        final = _with_enough(kept, config.min_subreddits)
        in_small += _rows(edges) - _rows(kept)
        of_small_users += _rows(kept) - _rows(final)
        left.append(final["subreddit"].unique())
    named = {
        "subreddit_below_min_users": in_small,
        "user_below_min_subreddits": of_small_users,
    }
    subreddits = pl.concat(left).unique().sort() if left else pl.Series("subreddit", [], pl.String)
    dropped = {rule: count for rule, count in named.items() if count}
    return Kept(subreddits=subreddits, rows=rows, dropped=dropped, clock_utc=clock_utc)


def _users_by_subreddit(ledger: Ledger) -> pl.DataFrame:
    parts = [
        pl.scan_parquet(ledger.file(number)).group_by("subreddit").agg(users=pl.len()).collect()
        for number in range(len(ledger.starts))
    ]
    return pl.concat(parts).group_by("subreddit").agg(pl.col("users").sum())


def _rows(edges: pl.DataFrame) -> int:
    """Of INTERACTIONS."""
    return int(edges["rows"].sum())


def _in(edges: pl.DataFrame, subreddits: pl.Series, total: int) -> pl.DataFrame:
    """Edges of these subreddits."""
    if len(subreddits) == total:
        return edges
    return edges.filter(pl.col("subreddit").is_in(subreddits.implode()))


def _with_enough(edges: pl.DataFrame, min_subreddits: int) -> pl.DataFrame:
    """Edges of users with at least so many."""
    if min_subreddits <= 1:
        return edges
    return edges.filter(pl.len().over("user_id") >= min_subreddits)


def kept_edges(ledger: Ledger, kept: Kept, config: GraphConfig) -> Iterator[pl.DataFrame]:
    """The edges that the rules keep, range by range, with `place`: index of the subreddit."""
    places = kept.subreddits.to_frame("subreddit").lazy().with_row_index("place")
    for number in range(len(ledger.starts)):
        edges = pl.scan_parquet(ledger.file(number))
        # A subreddit that no user is left in has no index: its edges go with the users.
        joined = edges.join(places, on="subreddit", how="inner", maintain_order="left")
        yield _with_enough(joined.drop("subreddit").collect(), config.min_subreddits)


def write_store(ledger: Ledger, kept: Kept, config: GraphConfig, folder: Path) -> GraphStore:
    """Write all arrays, check them, and describe them; return the store."""
    _write_rows(ledger, kept, config, folder)
    pl.DataFrame(
        {"subreddit_index": pl.Series(range(len(kept.subreddits)), dtype=pl.Int64)}
    ).with_columns(subreddit=kept.subreddits).write_parquet(folder / "subreddit_index.parquet")
    np.save(folder / "subreddit_keys.npy", hash_strings(kept.subreddits.to_list()))
    Csr.open(folder / "by_user").transposed(len(kept.subreddits), folder / "by_subreddit")
    store = GraphStore.map(folder)
    check_store(store)
    clock = Clock(now_utc=kept.clock_utc, half_life_days=config.half_life_days)
    summary = summarise(store, kept.subreddits.to_list()) | asdict(clock)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return store


def _write_rows(ledger: Ledger, kept: Kept, config: GraphConfig, folder: Path) -> None:
    """Arrays that are in the order of the users, and the sums that go with the subreddits."""
    width = len(EDGE_FEATURES)
    (folder / "by_user").mkdir(parents=True, exist_ok=True)
    sums, degrees = (
        np.zeros((len(kept.subreddits), width)),
        np.zeros(len(kept.subreddits), np.int64),
    )
    schema = pa.schema([("user_index", pa.int64()), ("user_id", pa.string())])
    with (
        ArrayWriter(folder / "by_user" / "offsets.npy", np.int64) as offsets,
        ArrayWriter(folder / "by_user" / "neighbours.npy", np.int32) as neighbours,
        ArrayWriter(folder / "by_user" / "features.npy", np.float16, width) as features,
        ArrayWriter(folder / "actions.npy", np.int32) as actions,
        ArrayWriter(folder / "user_keys.npy", np.int64) as keys,
        ArrayWriter(folder / "user_stats.npy", np.float32, width + 1) as stats,
        pq.ParquetWriter(folder / "user_index.parquet", schema) as names,
    ):
        offsets.append(np.zeros(1, dtype=np.int64))
        for edges in kept_edges(ledger, kept, config):
            rows = _Rows.of(edges, kept.clock_utc, config.half_life_days)
            offsets.append(neighbours.rows + np.cumsum(rows.degrees))
            neighbours.append(rows.neighbours)
            check_features(torch.from_numpy(rows.features))
            features.append(rows.features)
            actions.append(rows.actions)
            stats.append(rows.stats())
            index = np.arange(keys.rows, keys.rows + len(rows.users))
            keys.append(hash_strings(rows.users.to_list()))
            names.write_table(pa.table([index, rows.users.to_arrow().cast(pa.string())], schema))
            bits = rows.features.view(np.uint16)
            kernels.sum_by_target(rows.neighbours, bits, VALUE_OF, sums)
            degrees += np.bincount(rows.neighbours, minlength=len(degrees))
    means = mean_stats(torch.from_numpy(sums), torch.from_numpy(degrees))
    np.save(folder / "subreddit_stats.npy", means.numpy())


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Users of one range, in order, with their edges.

    Args:
        users: Names.
        degrees: int64 of each.
        neighbours: int32, subreddits.
        features: float16 [edges, F].
        actions: int32, submissions and comments.
    """

    users: pl.Series
    degrees: npt.NDArray[np.int64]
    neighbours: npt.NDArray[np.int32]
    features: npt.NDArray[np.float16]
    actions: npt.NDArray[np.int32]

    @staticmethod
    def of(edges: pl.DataFrame, clock_utc: int, half_life_days: float) -> _Rows:
        runs = edges.select(pl.col("user_id").rle()).unnest("user_id")
        actions = edges.select(pl.col("num_submissions") + pl.col("num_comments")).to_series()
        return _Rows(
            users=runs["value"],
            degrees=runs["len"].cast(pl.Int64).to_numpy(writable=True),
            neighbours=edges["place"].cast(pl.Int32).to_numpy(),
            features=edge_features(edges, clock_utc, half_life_days),
            actions=actions.cast(pl.Int32).to_numpy(),
        )

    def stats(self) -> npt.NDArray[np.float32]:
        """`graph.stats` of the users."""
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.degrees)])
        sums = np.zeros((len(self.degrees), self.features.shape[1]))
        bits = self.features.view(np.uint16)
        kernels.sum_features(offsets, bits, VALUE_OF, sums)
        found: npt.NDArray[np.float32] = mean_stats(
            torch.from_numpy(sums), torch.from_numpy(self.degrees)
        ).numpy()
        return found
