"""The planted truth of a sample world, by pseudonym."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from embed.tiny_clip.pictures import FACETS
from pipelines.contract import MissingInputError
from pipelines.pseudonym import Pseudonyms


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
    pseudonyms = Pseudonyms.from_file(key_file)
    factors, own = {}, {}
    for row in users.filter(pl.col("taste").is_not_null()).iter_rows(named=True):
        user_id = pseudonyms.user_id(row["author"])
        factors[user_id] = {facet: row[facet] for facet in FACETS if row[facet] is not None}
        own[user_id] = frozenset(row["own_subreddits"])
    return Truth(factors=factors, own=own)
