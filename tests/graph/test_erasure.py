"""Users taken out of the graph: what is left equals a graph that they never were in."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from graph.build import apply_rules, write_store
from graph.config import GraphConfig
from graph.counter_random import hash_strings
from graph.erasure import erase_from_graph, erase_from_seen, user_key
from graph.ledger import LEDGER, read_sources, write_ledger
from graph.splits import Given
from graph.store import ARRAYS, GraphStore
from pipelines.tables import INTERACTIONS
from tests.graph.conftest import Small


@pytest.mark.parametrize("places", [(0,), (7, 199), (50, 51, 52)])
def test_the_rest_is_the_graph_of_the_rest(
    small: Small, tmp_path: Path, places: tuple[int, ...]
) -> None:
    names = small.graph.user_ids()
    gone = [names[place % len(names)] for place in places]
    assert erase_from_graph(small.graph.folder, tmp_path / "less", gone) == len(gone)
    erased = GraphStore.open(tmp_path / "less")
    built = graph_without(small, gone, tmp_path)
    assert erased.user_ids() == [name for name in names if name not in gone]
    assert erased.subreddits() == built.subreddits()
    for name in ARRAYS:
        torch.testing.assert_close(getattr(erased, name), getattr(built, name))
    for name in ("by_user", "by_subreddit"):
        for part in ("offsets", "neighbours", "features"):
            one, other = (getattr(getattr(graph, name), part) for graph in (erased, built))
            torch.testing.assert_close(one, other)


def test_a_given_split_stays_that_of_the_rest(small: Small, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(small.graph.folder, source)
    generator = torch.Generator().manual_seed(0)
    edges, users = small.graph.by_user.num_edges, small.graph.num_users
    test, new = (torch.rand(size, generator=generator) < 0.3 for size in (edges, users))
    Given(test=test, new_users=new).save(source)
    names = small.graph.user_ids()
    erase_from_graph(source, tmp_path / "less", [names[7]])
    left = Given.read(tmp_path / "less")
    assert left is not None
    others = torch.arange(users) != 7
    assert torch.equal(left.new_users, new[others])
    assert torch.equal(left.test, test[others[small.graph.by_user.rows_of_edges()]])


def graph_without(small: Small, gone: list[str], folder: Path) -> GraphStore:
    """Built from INTERACTIONS without these users, with the clock and subreddits of all."""
    rows = pl.DataFrame(INTERACTIONS.read(small.run)).filter(~pl.col("user_id").is_in(gone))
    path = INTERACTIONS.write(folder, rows.to_arrow().cast(INTERACTIONS.schema))
    clock = small.graph.clock()
    config = GraphConfig(half_life_days=clock.half_life_days)
    sources = read_sources([path], folder)
    ledger = write_ledger(folder / "ledger", folder, sources, config.half_life_days)
    names = pl.Series("subreddit", small.graph.subreddits())
    kept = replace(apply_rules(ledger, config), clock_utc=clock.now_utc, subreddits=names)
    return write_store(ledger, kept, config, folder / "built")


def test_a_user_whom_the_rules_dropped_leaves_the_ledger(small: Small, tmp_path: Path) -> None:
    rows = pl.DataFrame(INTERACTIONS.read(small.run))
    name = rows["user_id"][0]
    strict = rows.filter((pl.col("user_id") != name) | ~pl.col("user_id").is_duplicated())
    alone = pl.concat([strict, rows.filter(pl.col("user_id") == name)[:1]])
    path = INTERACTIONS.write(tmp_path, alone.to_arrow().cast(INTERACTIONS.schema))
    config = GraphConfig(min_subreddits=2)
    ledger = write_ledger(
        tmp_path / "store" / LEDGER, tmp_path, read_sources([path], tmp_path), 90.0
    )
    store = write_store(ledger, apply_rules(ledger, config), config, tmp_path / "store")
    assert name not in store.user_ids()
    assert erase_from_graph(tmp_path / "store", tmp_path / "less", [name]) == 1
    assert GraphStore.open(tmp_path / "less").user_ids() == store.user_ids()
    assert not (tmp_path / "less" / LEDGER).exists()


def test_nobody_to_erase_writes_nothing(small: Small, tmp_path: Path) -> None:
    assert erase_from_graph(small.graph.folder, tmp_path / "less", ["nobody"]) == 0
    assert not (tmp_path / "less").exists()


def test_training_forgets_whom_it_saw(tmp_path: Path) -> None:
    seen = np.sort(hash_strings(["ann", "bob", "eve"]))
    for folder in (tmp_path, tmp_path / "lambda0"):
        folder.mkdir(exist_ok=True)
        np.save(folder / "seen_users.npy", seen)
    assert user_key("bob") in (tmp_path / "seen_users.npy").read_bytes()
    assert erase_from_seen(tmp_path, ["bob", "nobody"]) == 2
    for folder in (tmp_path, tmp_path / "lambda0"):
        left = np.load(folder / "seen_users.npy")
        assert left.tolist() == sorted(hash_strings(["ann", "eve"]).tolist())
        assert user_key("bob") not in (folder / "seen_users.npy").read_bytes()
    assert erase_from_seen(tmp_path, ["bob"]) == 0
