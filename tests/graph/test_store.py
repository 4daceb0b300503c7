from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

from graph.config import GraphConfig, GraphResources
from graph.csr import map_array
from graph.store import GraphStore, build_graph, check_store
from graph.tables import GRAPH_STORE
from pipelines.contract import ContractError, MissingInputError, Run
from pipelines.tables import INTERACTIONS
from tests.graph.conftest import Small


def test_store_holds_every_pair_with_its_actions(small: Small) -> None:
    actions: dict[tuple[str, str], int] = {}
    for user, place, *_ in small.world.actions:
        key = (small.world.user_ids[user], small.world.subreddits[place])
        actions[key] = actions.get(key, 0) + 1
    graph = small.graph
    users, places = graph.user_ids(), graph.subreddits()
    owner, neighbour = graph.by_user.rows_of_edges(), graph.by_user.neighbours
    stored = {
        (users[u], places[s]): n
        for u, s, n in zip(owner.tolist(), neighbour.tolist(), graph.actions.tolist(), strict=True)
    }
    assert stored == actions


def test_both_directions_hold_the_same_features(small: Small) -> None:
    graph = small.graph
    check_store(graph)
    assert torch.equal(graph.by_user.features[graph.edge_of], graph.by_subreddit.features)


def test_directions_that_differ_are_refused(small: Small) -> None:
    swapped = small.graph.edge_of.clone()
    swapped[[0, 1]] = swapped[[1, 0]]
    with pytest.raises(ContractError, match="two directions differ"):
        check_store(replace(small.graph, edge_of=swapped))


def test_summary_tells_hubs_and_components(small: Small) -> None:
    summary = json.loads((small.graph.folder / "summary.json").read_text())
    assert summary["num_users"] == 200
    assert summary["components"] == {"count": 1, "largest": 200 + small.graph.num_subreddits}
    hub, share = next(iter(summary["hubs"].items()))
    visitors = {
        user for user, place, *_ in small.world.actions if small.world.subreddits[place] == hub
    }
    assert share == len(visitors) / 200
    assert small.graph.clock().now_utc == max(a[2] for a in small.world.actions)


def test_the_order_of_rows_and_files_changes_no_byte(
    small: Small, fresh_run: Callable[[str], Run]
) -> None:
    run = fresh_run("shuffled")
    (run.root / "tables" / INTERACTIONS.name).unlink()
    folder = run.root / "tables" / INTERACTIONS.name / "month=all"
    folder.mkdir(parents=True)
    rows = pl.DataFrame(INTERACTIONS.read(small.run)).sample(fraction=1.0, shuffle=True, seed=1)
    INTERACTIONS.write(folder, rows[:500].to_arrow().cast(INTERACTIONS.schema), "part-1")
    INTERACTIONS.write(folder, rows[500:].to_arrow().cast(INTERACTIONS.schema), "part-0")
    build_graph(GraphConfig(), GraphResources(), run)
    made = run.staged(GRAPH_STORE)
    for path in sorted(p for p in small.graph.folder.rglob("*") if p.is_file()):
        other = made / path.relative_to(small.graph.folder)
        assert path.read_bytes() == other.read_bytes(), path.name


def test_counts_balance_when_rules_drop_rows(small: Small, fresh_run: Callable[[str], Run]) -> None:
    run = fresh_run("strict")
    counts = build_graph(GraphConfig(min_users=60, min_subreddits=3), GraphResources(), run)
    graph = GraphStore.open(run.staged(GRAPH_STORE))
    assert counts.rows_in == INTERACTIONS.dataset(small.run).count_rows()
    assert counts.dropped["subreddit_below_min_users"] > 0
    assert counts.written["edges"] == graph.by_user.num_edges
    assert int(graph.by_user.degrees().min()) >= 3


def test_nothing_left_is_an_error_that_names_the_settings(
    fresh_run: Callable[[str], Run],
) -> None:
    with pytest.raises(ContractError, match="min_users=10000"):
        build_graph(GraphConfig(min_users=10_000), GraphResources(), fresh_run("none"))


def test_missing_inputs_and_other_formats_say_what_to_run(small: Small, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="run interactions first"):
        build_graph(GraphConfig(), GraphResources(), Run(root=tmp_path, staging=tmp_path / "s"))
    with pytest.raises(MissingInputError, match="run build_graph first"):
        GraphStore.open(tmp_path / "nowhere")
    old = tmp_path / "old"
    shutil.copytree(small.graph.folder, old)
    (old / "summary.json").write_text('{"format": 0}')
    with pytest.raises(ContractError, match="format 0"):
        GraphStore.open(old)


def test_subset_recomputes_statistics(small: Small) -> None:
    keep = (
        torch.rand(small.graph.by_user.num_edges, generator=torch.Generator().manual_seed(1)) < 0.5
    )
    part = small.graph.subset(keep)
    check_store(part)
    degree = part.by_user.degrees().to(torch.float32)
    torch.testing.assert_close(part.user_stats[:, 0], degree.log1p())
    assert int(part.actions.sum()) == int(small.graph.actions[keep].sum())


def test_names_are_sorted_and_indexed(small: Small) -> None:
    table = pq.read_table(small.graph.folder / "user_index.parquet").to_pydict()
    assert table["user_id"] == sorted(small.world.user_ids)
    assert table["user_index"] == list(range(200))
    assert map_array(small.graph.folder / "user_keys.npy").unique().numel() == 200
    assert np.load(small.graph.folder / "by_user" / "neighbours.npy").dtype == np.int32
