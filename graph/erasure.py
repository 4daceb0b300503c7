"""Users taken out of what stage 3 published: out of the graph store, and of who was trained on.

The encoder's weights stay as they are: they hold no row of any user.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from graph.counter_random import hash_strings
from graph.csr import Csr
from graph.ledger import LEDGER
from graph.splits import Given
from graph.stats import row_stats
from graph.store import GraphStore, check_store, summarise


def user_key(user_id: str) -> bytes:
    """How arrays of stage 3 name a user: 8 bytes, little-endian."""
    return hash_strings([user_id]).astype("<i8").tobytes()


def erase_from_graph(source: Path, target: Path, user_ids: Sequence[str]) -> int:
    """Write the store in `source` to `target` without some users; returns how many there were.

    Nothing is written where there were none. The new store has no ledger, which holds names, too:
    the next build reads all months again.
    """
    store = GraphStore.open(source)
    names = store.user_ids()
    gone = set(user_ids)
    keep_U = torch.tensor([name not in gone for name in names])
    found = gone.intersection(names) | _in_ledger(source, gone)
    if not found:
        return 0
    rows = store.by_user.rows_of_edges()
    keep_E = keep_U[rows]
    degrees = store.by_user.degrees()[keep_U]
    by_user = Csr(
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)]),
        neighbours=store.by_user.neighbours[keep_E],
        features=store.by_user.features[keep_E],
    )
    by_subreddit = by_user.transposed(store.num_subreddits)
    smaller = replace(
        store,
        by_user=by_user,
        by_subreddit=by_subreddit,
        actions=store.actions[keep_E],
        user_keys=store.user_keys[keep_U],
        user_stats=store.user_stats[keep_U],
        subreddit_stats=row_stats(by_subreddit),
        folder=target,
    )
    check_store(smaller)
    target.mkdir(parents=True)
    smaller.save(target)
    kept = [name for name in names if name not in gone]
    index = {"user_index": pl.Series(range(len(kept)), dtype=pl.Int64), "user_id": kept}
    users = pl.read_parquet(source / "user_index.parquet")
    pl.DataFrame(index).select(users.columns).write_parquet(target / "user_index.parquet")
    shutil.copyfile(source / "subreddit_index.parquet", target / "subreddit_index.parquet")
    given = Given.read(source)
    if given is not None:
        Given(test=given.test[keep_E], new_users=given.new_users[keep_U]).save(target)
    summary = summarise(smaller, store.subreddits()) | asdict(store.clock())
    (target / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return len(found)


def _in_ledger(source: Path, user_ids: set[str]) -> set[str]:
    """Which of these users the ledger of a store names; some of them the rules dropped."""
    files = sorted((source / LEDGER).glob("*.parquet"))
    is_gone = pl.col("user_id").is_in(sorted(user_ids))
    rows = [pl.scan_parquet(path).filter(is_gone).select("user_id").collect() for path in files]
    return {name for part in rows for name in part["user_id"].to_list()}


def erase_from_seen(checkpoint: Path, user_ids: Sequence[str]) -> int:
    """Take users out of who training saw, in every encoder of a checkpoint; returns places."""
    keys, places = hash_strings(list(user_ids)), 0
    for path in sorted(checkpoint.rglob("seen_users.npy")):
        seen = np.load(path)
        kept = seen[~np.isin(seen, keys)]
        if len(kept) < len(seen):
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, kept)
            temporary.rename(path)
            places += len(seen) - len(kept)
    return places
