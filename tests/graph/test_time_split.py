"""Nothing of the months after the cutoff is in what training sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from graph.config import TrainConfig
from graph.evaluate import Held
from graph.features import no_features
from graph.ledger import LEDGER
from graph.prepare import make_splits
from graph.splits import Given, Split
from graph.store import GraphStore
from graph.time_split import last_month, split_by_time
from pipelines.contract import ConfigError, ContractError
from pipelines.tables import INTERACTIONS
from tests.graph.conftest import Small

MONTH_UTC = {"2019-10": 1_569_900_000, "2019-11": 1_572_600_000, "2019-12": 1_575_200_000}
CONFIG = TrainConfig(validation_share=0.0, inductive_share=0.0)


def interactions(*rows: tuple[str, str, str]) -> pl.LazyFrame:
    """(user, subreddit, month): one comment each."""
    return pl.LazyFrame(
        [
            {
                "user_id": user,
                "subreddit": place,
                "active_month": month,
                "num_submissions": 0,
                "num_comments": 1,
                "score": 1,
                "first_utc": MONTH_UTC.get(month, 0),
                "last_utc": MONTH_UTC.get(month, 0) + 5,
            }
            for user, place, month in rows
        ]
    )


OLD = (
    ("ann", "cats", "2019-10"),
    ("ann", "dogs", "2019-11"),
    ("bob", "cats", "2019-10"),
    ("bob", "trains", "2019-11"),
)
NEW = (
    ("ann", "trains", "2019-12"),
    ("ann", "cats", "2019-12"),
    ("bob", "brandnew", "2019-12"),
    ("eve", "cats", "2019-12"),
)


def pairs(store: GraphStore, chosen: torch.Tensor) -> set[tuple[str, str]]:
    users, places = store.user_ids(), store.subreddits()
    rows, ends = store.by_user.rows_of_edges(), store.by_user.neighbours
    return {
        (users[u], places[s])
        for u, s in zip(rows[chosen].tolist(), ends[chosen].tolist(), strict=True)
    }


def test_first_activity_after_the_cutoff_is_asked_and_all_rows_are_counted(tmp_path: Path) -> None:
    store, counts = split_by_time(interactions(*OLD, *NEW), "2019-12", 90.0, tmp_path)
    splits = make_splits(store, CONFIG)
    assert pairs(store, splits.edge == Split.TEST) == {("ann", "trains")}
    assert pairs(store, splits.edge == Split.TRAIN) == {(u, s) for u, s, _ in OLD}
    assert counts == {"test": 1, "known": 1, "unknown_user": 1, "unknown_subreddit": 1}
    assert sum(counts.values()) == len(NEW)


@pytest.mark.parametrize("range_rows", [1, 400])
def test_a_graph_larger_than_memory_is_split_by_ranges_of_users(
    small: Small, tmp_path: Path, range_rows: int
) -> None:
    world = pl.DataFrame(INTERACTIONS.read(small.run)).lazy()
    rows = interactions(*OLD, *NEW) if range_rows == 1 else world
    one, counts = split_by_time(rows, "2019-12", 90.0, tmp_path / "one")
    two, again = split_by_time(rows, "2019-12", 90.0, tmp_path / "two", range_rows)
    assert len(list((tmp_path / "two" / LEDGER).glob("*.parquet"))) > 2
    assert again == counts
    for name in ("subreddit_index.parquet", "summary.json"):
        written = [(tmp_path / part / name).read_bytes() for part in ("one", "two")]
        assert written[0] == written[1], name
    assert two.user_ids() == one.user_ids()
    assert torch.equal(two.by_user.offsets, one.by_user.offsets)
    assert torch.equal(two.by_user.neighbours, one.by_user.neighbours)
    assert torch.equal(told_to(two), told_to(one))
    given, same = (Given.read(tmp_path / part) for part in ("one", "two"))
    assert given is not None and same is not None
    assert torch.equal(given.test, same.test)


def view_of(rows: pl.LazyFrame, folder: Path) -> Held:
    store, _ = split_by_time(rows, "2019-12", 90.0, folder)
    return Held.of(store, make_splits(store, CONFIG), no_features(store))


def test_what_happens_later_changes_nothing_that_training_sees(
    small: Small, tmp_path: Path
) -> None:
    rows = pl.DataFrame(INTERACTIONS.read(small.run))
    assert rows["active_month"].max() == "2019-12"
    is_later = pl.col("active_month") == "2019-12"
    # The later months told otherwise: other counts, other scores, other times.
    told: dict[str, Any] = {
        "num_comments": pl.when(is_later).then(pl.col("num_comments") + 7),
        "score": pl.when(is_later).then(pl.col("score") - 99),
        "last_utc": pl.when(is_later).then(pl.col("last_utc") + 86_400),
    }
    other = rows.with_columns(**{k: v.otherwise(pl.col(k)) for k, v in told.items()})
    one = view_of(rows.lazy(), tmp_path / "one")
    two = view_of(other.cast(rows.schema).lazy(), tmp_path / "two")
    without, _ = split_by_time(rows.filter(~is_later).lazy(), "2019-12", 90.0, tmp_path / "none")
    assert int((one.splits.edge == Split.TEST).sum()) > 20
    for held in (two,):
        for name in ("offsets", "neighbours"):
            seen = getattr(held.training.graph.by_user, name)
            assert torch.equal(seen, getattr(one.training.graph.by_user, name)), name
        assert torch.equal(told_to(held.training.graph), told_to(one.training.graph))
    assert torch.equal(told_to(one.training.graph), told_to(without))
    assert torch.equal(one.training.contents.user_stats_UK, without.user_stats)
    assert one.graph.clock() == without.clock()


def told_to(graph: GraphStore) -> torch.Tensor:
    """Features of all edges of a graph, in its order."""
    return graph.by_user.edge_features(torch.arange(graph.by_user.num_edges))


def test_cutoffs_that_split_nothing_are_refused(tmp_path: Path) -> None:
    rows = interactions(*OLD, *NEW, ("ann", "cats", "undated"))
    assert last_month(rows) == "2019-12"
    with pytest.raises(ContractError, match="a time split needs two"):
        last_month(interactions(*OLD[:1], ("ann", "cats", "undated")))
    with pytest.raises(ConfigError, match="cutoff='2019'"):
        split_by_time(rows, "2019", 90.0, tmp_path)
    with pytest.raises(ContractError, match="no interaction before the cutoff 2019-10"):
        split_by_time(rows, "2019-10", 90.0, tmp_path)
