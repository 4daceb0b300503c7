"""INTERACTIONS and a cutoff -> a graph whose test edges are the ones that came after it.

Everything that an edge says, its features and the clock they are read by, is of the months before
the cutoff; so is who and what is in the graph at all. An edge to predict is a user's first activity
in a subreddit, after the cutoff.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import torch

from graph.build import write_edges
from graph.edges import aggregate, check_interactions
from graph.splits import Given
from graph.store import Clock, GraphStore
from pipelines.contract import ConfigError, ContractError

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
PAIR = ["user_id", "subreddit"]


def last_month(interactions: pl.LazyFrame) -> str:
    """The last dated month: the natural cutoff.

    Raises:
        ContractError: There are fewer than two, so none is before it.
    """
    months = interactions.select(pl.col("active_month").unique()).collect().to_series()
    dated = sorted(month for month in months if MONTH.fullmatch(month))
    if len(dated) < 2:
        raise ContractError(f"interactions of the months {dated}: a time split needs two")
    return str(dated[-1])


def split_by_time(
    interactions: pl.LazyFrame, cutoff: str, half_life_days: float, folder: Path
) -> tuple[GraphStore, dict[str, int]]:
    """Write the graph before the cutoff with the later edges as its given test edges.

    Args:
        interactions: Rows of INTERACTIONS; undated ones are no use.
        cutoff: YYYY-MM, the first month that is not trained on.
        half_life_days: Of the decayed activity.
        folder: Where the store goes.

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
    before = dated.filter(pl.col("active_month") < cutoff)
    after = dated.filter(pl.col("active_month") >= cutoff)
    rows, now_utc = check_interactions(before)
    if not rows:
        raise ContractError(f"no interaction before the cutoff {cutoff}; choose a later month")
    known = aggregate(before.collect(), half_life_days)
    later = aggregate(after.collect(), half_life_days)
    fresh = later.join(known, on=PAIR, how="anti")
    of_users = fresh.join(known, on="user_id", how="semi")
    test = of_users.join(known, on="subreddit", how="semi")
    edges = pl.concat([known, test.select(known.columns)])
    store = write_edges(edges, folder, Clock(now_utc=now_utc, half_life_days=half_life_days))
    given = Given(
        test=_is_test(store, test), new_users=torch.zeros(store.num_users, dtype=torch.bool)
    )
    given.save(folder)
    return store, {
        "test": len(test),
        "known": len(later) - len(fresh),
        "unknown_user": len(fresh) - len(of_users),
        "unknown_subreddit": len(of_users) - len(test),
    }


def _is_test(store: GraphStore, test: pl.DataFrame) -> torch.Tensor:
    """bool [E], in the order of the graph by user: by user, then by subreddit, both sorted."""
    users = pl.Series(store.user_ids(), dtype=pl.String)
    subreddits = pl.Series(store.subreddits(), dtype=pl.String)
    edges = pl.DataFrame(
        {
            "user_id": users.gather(store.by_user.rows_of_edges().numpy()),
            "subreddit": subreddits.gather(store.by_user.neighbours.numpy()),
        }
    )
    marked = test.select(PAIR).with_columns(is_test=True)
    joined = edges.join(marked, on=PAIR, how="left", maintain_order="left")
    return torch.from_numpy(joined["is_test"].fill_null(False).to_numpy().copy())
