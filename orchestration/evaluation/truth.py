"""The planted truth of a sample world, by pseudonym."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.contract import MissingInputError
from pipelines.pseudonym import read_key, user_id


@dataclass(frozen=True)
class Truth:
    """What was planted.

    Args:
        factors: user_id -> {facet: value}, the tastes.
        own: user_id -> subreddits that carry the user's taste, among those the user is active in.
    """

    factors: dict[str, dict[str, str]]
    own: dict[str, frozenset[str]]


def read_truth(folder: Path, key_file: Path) -> Truth:
    """The truth in `folder`, with authors replaced by the pseudonyms that ingest gave them.

    Raises:
        MissingInputError: `folder` holds no truth.
    """
    path = folder / "users.parquet"
    if not path.exists():
        raise MissingInputError(f"no truth at {path}; make the world with `tastegraph sample`")
    users = pl.read_parquet(path)
    key = read_key(key_file)
    factors, own = {}, {}
    for row in users.iter_rows(named=True):
        user = user_id(key, row["author"])
        factors[user] = {facet: value for facet, value in row["factors"] if value}
        own[user] = frozenset(row["own_subreddits"])
    return Truth(factors=factors, own=own)
