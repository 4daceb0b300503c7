"""INTERACTIONS and a cutoff -> a graph whose test edges are the ones that came after it.

Everything that an edge says, its features and the clock they are read by, is of the months before
the cutoff; so is who and what is in the graph at all. An edge to predict is a user's first activity
in a subreddit, after the cutoff. Memory holds a range of users, as where the graph is built.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import polars as pl
import torch

from graph.build import Kept, write_store
from graph.config import GraphConfig
from graph.edges import aggregate, check_interactions
from graph.ledger import LEDGER, RANGE_ROWS, Ledger, by_ranges, sampled_starts
from graph.splits import Given
from graph.store import GraphStore
from pipelines.contract import ConfigError, ContractError

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
PAIR = ["user_id", "subreddit"]


def last_month(interactions: pl.LazyFrame) -> str:
    """The last dated month: the natural cutoff.

    Raises:
        ContractError: There are fewer than two, so none is before it.
    """
    months = interactions.select(pl.col("active_month").unique()).collect(engine="streaming")
    dated = sorted(month for month in months["active_month"] if MONTH.fullmatch(month))
    if len(dated) < 2:
        raise ContractError(f"interactions of the months {dated}: a time split needs two")
    return str(dated[-1])


def split_by_time(
    interactions: pl.LazyFrame,
    cutoff: str,
    half_life_days: float,
    folder: Path,
    range_rows: int = RANGE_ROWS,
) -> tuple[GraphStore, dict[str, int]]:
    """Write the graph before the cutoff with the later edges as its given test edges.

    Args:
        interactions: Rows of INTERACTIONS; undated ones are no use.
        cutoff: YYYY-MM, the first month that is not trained on.
        half_life_days: Of the decayed activity.
        folder: Where the store goes.
        range_rows: Rows that fit in memory.

    Returns:
        The store, and counts of the later pairs: `test`, and those dropped because they were
        known before (`known`), or because user or subreddit were not (`unknown_user`, ...).

    Raises:
        ConfigError: `cutoff` is no month.
        ContractError: Nothing lies before it.
    """
    if not MONTH.fullmatch(cutoff):
        raise ConfigError(f"cutoff={cutoff!r}: expected a month such as 2019-11")
    dated = interactions.filter(pl.col("active_month").str.contains(f"^{MONTH.pattern}$"))
    rows, now_utc = check_interactions(dated.filter(pl.col("active_month") < cutoff))
    if not rows:
        raise ContractError(f"no interaction before the cutoff {cutoff}; choose a later month")
    starts = sampled_starts(dated, range_rows)
    ledger = Ledger(folder=folder / LEDGER, starts=tuple(starts), sources=())
    ledger.folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    subreddits = pl.Series("subreddit", [], pl.String)
    for number, here in enumerate(by_ranges(dated, starts)):
        found = here.collect()
        known = aggregate(found.filter(pl.col("active_month") < cutoff), half_life_days)
        later = aggregate(found.filter(pl.col("active_month") >= cutoff), half_life_days)
        fresh = later.join(known, on=PAIR, how="anti")
        asked = fresh.join(known, on="user_id", how="semi")
        counts["known"] += len(later) - len(fresh)
        counts["unknown_user"] += len(fresh) - len(asked)
        subreddits = pl.concat([subreddits, known["subreddit"]]).unique()
        both = [known.with_columns(is_test=False), asked.with_columns(is_test=True)]
        pl.concat(both).sort(PAIR).write_parquet(ledger.file(number))
    is_test = []
    for number in range(len(starts)):
        edges = pl.read_parquet(ledger.file(number))
        left = edges.filter(~pl.col("is_test") | pl.col("subreddit").is_in(subreddits.implode()))
        counts["unknown_subreddit"] += len(edges) - len(left)
        left.drop("is_test").write_parquet(ledger.file(number))
        is_test.append(torch.from_numpy(left["is_test"].to_numpy(writable=True)))
    kept = Kept(subreddits=subreddits.sort(), rows=rows, dropped={}, clock_utc=now_utc)
    store = write_store(ledger, kept, GraphConfig(half_life_days=half_life_days), folder)
    given = Given(test=torch.cat(is_test), new_users=torch.zeros(store.num_users, dtype=torch.bool))
    given.save(folder)
    return store, {"test": int(given.test.sum()), **counts}
