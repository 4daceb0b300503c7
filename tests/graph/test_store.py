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

from graph.build import apply_rules, build_graph, write_store
from graph.config import GraphConfig, GraphResources
from graph.csr import map_array
from graph.ledger import SOURCES_FILE, Ledger, Source, read_sources, write_ledger
from graph.store import GraphStore, check_store
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
    edge_of = graph.by_subreddit.feature_row(torch.arange(graph.by_user.num_edges))
    pairs = graph.by_user.rows_of_edges()[edge_of], graph.by_user.neighbours[edge_of]
    assert torch.equal(pairs[0], graph.by_subreddit.neighbours.long())
    assert torch.equal(pairs[1].long(), graph.by_subreddit.rows_of_edges())


def test_directions_that_differ_are_refused(small: Small) -> None:
    below = small.graph.by_subreddit
    neighbours, lasts = below.neighbours.clone(), below.offsets[1:][below.degrees() > 0] - 1
    last = lasts[neighbours[lasts] < small.graph.num_users - 1][0]
    neighbours[last] += 1
    with pytest.raises(ContractError, match="two directions differ in 1 edges"):
        check_store(replace(small.graph, by_subreddit=replace(below, neighbours=neighbours)))


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
    paths = sorted(p for p in small.graph.folder.rglob("*") if p.is_file())
    for path in [path for path in paths if path.name != SOURCES_FILE]:
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
    kept = torch.nonzero(keep)[:, 0]
    assert torch.equal(part.actions, small.graph.actions[kept])
    assert torch.equal(
        part.by_user.edge_features(torch.arange(len(kept))),
        small.graph.by_user.edge_features(kept),
    )


def test_names_are_sorted_and_indexed(small: Small) -> None:
    table = pq.read_table(small.graph.folder / "user_index.parquet").to_pydict()
    assert table["user_id"] == sorted(small.world.user_ids)
    assert table["user_index"] == list(range(200))
    assert map_array(small.graph.folder / "user_keys.npy").unique().numel() == 200
    assert np.load(small.graph.folder / "by_user" / "neighbours.npy").dtype == np.int32


def test_months_added_give_the_bytes_of_all_at_once(small: Small, tmp_path: Path) -> None:
    rows = pl.DataFrame(INTERACTIONS.read(small.run))
    months = sorted(rows["active_month"].unique())
    assert len(months) > 2
    grown = Run(root=tmp_path / "grown", staging=tmp_path / "grown" / ".staging")
    whole = Run(root=tmp_path / "whole", staging=tmp_path / "whole" / ".staging")
    for run, steps in ((grown, [months[:-2], months[-2:-1], months[-1:]]), (whole, [months])):
        for added in steps:
            for month in added:
                folder = INTERACTIONS.path(run) / f"month={month}"
                folder.mkdir(parents=True)
                part = rows.filter(pl.col("active_month") == month)
                INTERACTIONS.write(folder, part.to_arrow().cast(INTERACTIONS.schema))
            shutil.rmtree(run.staged(GRAPH_STORE))
            build_graph(GraphConfig(), GraphResources(), run)
            shutil.rmtree(GRAPH_STORE.path(run), ignore_errors=True)
            GRAPH_STORE.path(run).parent.mkdir(exist_ok=True)
            shutil.copytree(run.staged(GRAPH_STORE), GRAPH_STORE.path(run))
    made = GRAPH_STORE.path(whole)
    for path in sorted(p for p in made.rglob("*") if p.is_file() and p.name != SOURCES_FILE):
        other = GRAPH_STORE.path(grown) / path.relative_to(made)
        assert path.read_bytes() == other.read_bytes(), path.name


def test_months_that_cannot_be_added_are_built_anew(small: Small, tmp_path: Path) -> None:
    names = ("a.parquet", "b.parquet")
    sources = [
        Source(
            name=name,
            size_bytes=1,
            modified_ns=1,
            rows=1,
            low="a",
            high="z",
            first_month=month,
            last_month=month,
        )
        for name, month in zip(names, ("2024-01", "2024-02"), strict=True)
    ]
    first, second = sources
    ledger = Ledger(folder=tmp_path, starts=("",), sources=(first,))
    assert ledger.added(sources) == [second]
    assert ledger.added([replace(first, size_bytes=2), second]) is None
    assert ledger.added([first, replace(second, first_month="2024-01")]) is None
    assert Ledger(folder=tmp_path, starts=("",), sources=(second,)).added(sources) is None


def test_ranges_of_users_change_no_edge(small: Small, tmp_path: Path) -> None:
    """Files that overlap, as those of another step might, are read range by range all the same."""
    rows = pl.DataFrame(INTERACTIONS.read(small.run)).sort("user_id")
    size = len(rows) // 4
    for i in range(5):
        part = rows[i * size : (i + 1) * size] if i < 4 else rows[4 * size :]
        if len(part):
            INTERACTIONS.write(tmp_path, part.to_arrow().cast(INTERACTIONS.schema), f"part-{i}")
    sources = read_sources(sorted(tmp_path.glob("*.parquet")), tmp_path)
    ledger = write_ledger(tmp_path / "ledger", tmp_path, sources, 90.0, range_rows=size)
    assert len(ledger.starts) >= 3
    config = GraphConfig()
    store = write_store(ledger, apply_rules(ledger, config), config, tmp_path / "store")
    assert torch.equal(store.by_user.neighbours, small.graph.by_user.neighbours)
    assert torch.equal(store.by_user.features, small.graph.by_user.features)
    assert store.user_ids() == small.graph.user_ids()


def rows_of_range(ledger: Ledger, number: int) -> int:
    return int(pl.read_parquet(ledger.file(number), columns=["rows"]).sum().item())


def test_ranges_are_small_though_every_month_holds_every_user(small: Small, tmp_path: Path) -> None:
    rows = pl.DataFrame(INTERACTIONS.read(small.run)).sort("user_id")
    months = sorted(rows["active_month"].unique())
    files = []
    for month in months:
        part = rows.filter(pl.col("active_month") == month)
        files.append(INTERACTIONS.write(tmp_path, part.to_arrow().cast(INTERACTIONS.schema), month))
    size = len(rows) // 8
    sources = read_sources(files, tmp_path)
    ledger = write_ledger(tmp_path / "ledger", tmp_path, sources, 90.0, range_rows=size)
    counts = [rows_of_range(ledger, number) for number in range(len(ledger.starts))]
    assert sum(counts) == len(rows)
    assert max(counts) < 1.5 * size
    first = write_ledger(tmp_path / "first", tmp_path, sources[:1], 90.0, range_rows=size)
    grown = write_ledger(
        tmp_path / "grown", tmp_path, sources, 90.0, earlier=first, range_rows=size
    )
    assert grown.starts == ledger.starts
    for number in range(len(ledger.starts)):
        assert grown.file(number).read_bytes() == ledger.file(number).read_bytes()


def test_a_part_in_files_is_the_part_in_memory(small: Small, tmp_path: Path) -> None:
    keep = torch.arange(small.graph.by_user.num_edges) % 3 != 0
    small.graph.subset(keep, tmp_path / "part")
    mapped, held = GraphStore.map(tmp_path / "part"), small.graph.subset(keep)
    held.save(tmp_path / "saved")
    check_store(mapped)
    for path in sorted((tmp_path / "saved").rglob("*.npy")):
        other = tmp_path / "part" / path.relative_to(tmp_path / "saved")
        assert path.read_bytes() == other.read_bytes(), path.name
    assert torch.equal(mapped.by_subreddit.neighbours, held.by_subreddit.neighbours)
