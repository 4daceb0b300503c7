"""The generated interactions: their contract, their shape, and that they come out the same."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from graph.edges import check_interactions
from orchestration.bench import made_up_graph
from orchestration.bench.made_up_graph import GraphSize, write_interactions
from pipelines.contract import Run
from pipelines.tables import INTERACTIONS

SIZE = GraphSize(users=6000, subreddits=1000, edges=60_000, seed=3)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    run = Run(root=tmp_path_factory.mktemp("made"))
    assert write_interactions(SIZE, run, threads=1) > 0
    for path in INTERACTIONS.files(run):
        part = pl.read_parquet(path, hive_partitioning=False)
        assert path.parent.name == f"month={part['active_month'][0]}"
        assert part["user_id"].is_sorted()
    return pl.DataFrame(INTERACTIONS.read(run))


def test_rows_are_interactions(rows: pl.DataFrame) -> None:
    check_interactions(rows.lazy())
    assert not rows.select("user_id", "subreddit", "active_month").is_duplicated().any()
    assert (rows["user_id"].str.len_bytes() == 16).all()


def test_both_sides_are_heavy_tailed(rows: pl.DataFrame) -> None:
    edges = rows.select("user_id", "subreddit").unique()
    assert edges["user_id"].n_unique() == SIZE.users
    assert len(edges) == pytest.approx(SIZE.edges, rel=0.1)
    of_users = edges.group_by("user_id").len()["len"]
    of_places = edges.group_by("subreddit").len()["len"]
    assert float(of_users.median() or 0) <= 3  # type: ignore[arg-type]
    assert int(of_users.max() or 0) > 200  # type: ignore[arg-type]
    assert int(of_places.max() or 0) > SIZE.users / 8  # type: ignore[arg-type]


def test_the_same_users_come_out_in_other_shards(
    rows: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_up_graph, "SHARD_USERS", 1024)
    run = Run(root=tmp_path)
    write_interactions(SIZE, run, threads=2)
    assert len(INTERACTIONS.files(run)) == 6 * 6
    key = ["user_id", "subreddit", "active_month"]
    assert pl.DataFrame(INTERACTIONS.read(run)).sort(key).equals(rows.sort(key))
