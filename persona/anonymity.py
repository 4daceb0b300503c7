"""What too few users share is not stated: k^m-anonymity of what a persona rests on, for m = 2.

Items are subreddits, and where they are switched on the bands of age and region. An observer who
knows any two of those that a persona states finds at least k users who share both.
Counts come from one pass over the population, shard by shard; nobody is compared with anybody.

Source: Terrovitis, Mamoulis and Kalnis 2008, "Privacy-preserving Anonymization of Set-valued Data".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from persona.assemble import ShardInputs
from persona.config import MAX_MIN_USERS
from persona.demographics import BAND, band_id
from persona.items import DEMOGRAPHIC, NEIGHBOUR
from persona.topics import is_allowed

MIN_HIDING = 1000  # users; among fewer, nearly every subreddit is one of few
_LAST = 1 << 20  # rank of bands: of a rare pair they go first
RARE, COMBINATION = "rare_subreddits", "rare_combinations"


class Crowd:
    """How many users attend to each subreddit, and to each pair of them.

    Pairs are counted in one byte each, in a file that is mapped and mostly empty: 0.8 GB of
    addresses for 40,000 subreddits that may be stated, on disk only where users are.

    Args:
        counts: Users by subreddit, of the whole population.
        min_users: k; what fewer users share is rare.
        scratch: File for the pairs.

    Attributes:
        rare: Subreddits of fewer users.
    """

    def __init__(self, counts: Mapping[str, int], min_users: int, scratch: Path) -> None:
        self._min_users = min_users
        self.rare = frozenset(name for name, count in counts.items() if count < min_users)
        names = sorted(n for n, count in counts.items() if count >= min_users and _may_be_stated(n))
        self._codes = pl.DataFrame(
            {"subreddit": names, "code": range(len(names))},
            schema={"subreddit": pl.String, "code": pl.Int64},
        )
        size = max(1, len(names) * (len(names) - 1) // 2)
        self._users_P = np.memmap(scratch, np.uint8, "w+", shape=(size,))

    def add(self, attended: pl.DataFrame) -> None:
        """Count the pairs of some users; all rows of a user at once.

        Args:
            attended: user_id, subreddit, rank.
        """
        pair_P, count_P = np.unique(_codes(self._pairs(attended)), return_counts=True)
        both_P = self._users_P[pair_P].astype(np.int64) + count_P
        self._users_P[pair_P] = np.minimum(both_P, MAX_MIN_USERS).astype(np.uint8)

    def hidden(self, attended: pl.DataFrame) -> pl.DataFrame:
        """What is not to be stated: user_id, subreddit, and the rule that hides it.

        Of a rare pair the subreddit of less attention is hidden, unless its other half is.
        """
        rare = attended.filter(pl.col("subreddit").is_in(sorted(self.rare))).select(
            "user_id", "subreddit", rule=pl.lit(RARE)
        )
        few = self._rare_pairs(attended)
        gone: dict[tuple[str, str], None] = {}
        ordered = few.sort("user_id", "rank_right", "rank")
        for user, first, second in ordered.select(
            "user_id", "subreddit", "subreddit_right"
        ).iter_rows():
            if (user, first) not in gone:
                gone[user, second] = None
        combined = pl.DataFrame(
            list(gone), schema={"user_id": pl.String, "subreddit": pl.String}, orient="row"
        )
        return pl.concat([rare, combined.with_columns(rule=pl.lit(COMBINATION))])

    def exposed(self, evidence: pl.DataFrame) -> set[str]:
        """Users of whom evidence from before states what too few share by now.

        Args:
            evidence: Columns of EVIDENCE.
        """
        band = pl.col("kind") == DEMOGRAPHIC
        name = pl.when(band).then("evidence_id").otherwise("subreddit")
        stated = evidence.select("user_id", subreddit=name, inferred=pl.col("kind") == NEIGHBOUR)
        told = stated.drop_nulls("subreddit").unique(maintain_order=True)
        # What is inferred from neighbours is not the user's own: nobody finds anyone by it.
        own = told.filter(~pl.col("inferred")).select("user_id", "subreddit")
        ranked = own.with_columns(rank=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"))
        few = self._rare_pairs(ranked)["user_id"]
        return {*told.join(self._codes, on="subreddit", how="anti")["user_id"], *few}

    def hide(self, inputs: ShardInputs) -> tuple[ShardInputs, Counter[str]]:
        """The inputs of a shard without what is rare, and how many rows of users each rule hid.

        What is hidden may not be inferred from neighbours, either.
        """
        keys = ["user_id", "subreddit"]
        told = attended(inputs.salient, inputs.bands)
        # An image may lie where its user hardly is: counted among nobody's, it is the first to go.
        elsewhere = (
            inputs.images.select(keys)
            .unique(maintain_order=True)
            .join(told, on=keys, how="anti", maintain_order="left")
        )
        place = 2 * _LAST + pl.int_range(pl.len(), dtype=pl.Int64).over("user_id")
        hidden = self.hidden(pl.concat([told, elsewhere.with_columns(rank=place)]))
        common = inputs.images.with_row_index("row").join(self._codes, on="subreddit", how="semi")
        rows = common.join(hidden, on=keys, how="anti").sort("row")
        bands = inputs.bands.with_columns(subreddit=band_id(pl.col("kind"), pl.col("value")))
        kept = replace(
            inputs,
            salient=inputs.salient.join(hidden, on=keys, how="anti", maintain_order="left"),
            snippets=inputs.snippets.join(hidden, on=keys, how="anti", maintain_order="left"),
            images=rows.drop("row"),
            image_vectors=inputs.image_vectors[rows["row"].to_numpy()],
            bands=bands.join(hidden, on=keys, how="anti", maintain_order="left").drop("subreddit"),
            hidden=hidden.select(keys),
        )
        return kept, Counter(hidden["rule"].to_list())

    def _rare_pairs(self, attended: pl.DataFrame) -> pl.DataFrame:
        pairs = self._pairs(attended)
        return pairs.filter(self._users_P[_codes(pairs)] < self._min_users)

    def _pairs(self, attended: pl.DataFrame) -> pl.DataFrame:
        """Two subreddits of a user in a row, the better ranked first; those that may be stated."""
        coded = attended.select("user_id", "subreddit", "rank").join(self._codes, on="subreddit")
        return coded.join(coded, on="user_id").filter(pl.col("rank") < pl.col("rank_right"))


def attended(salient: pl.DataFrame, bands: pl.DataFrame) -> pl.DataFrame:
    """Subreddits and stated bands of users, the bands last: user_id, subreddit (or band), rank."""
    stated = bands.select(
        "user_id",
        subreddit=band_id(pl.col("kind"), pl.col("value")),
        rank=_LAST + pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"),
    )
    ranked = salient.select("user_id", "subreddit", pl.col("rank").cast(pl.Int64))
    return pl.concat([ranked, stated])


def _may_be_stated(name: str) -> bool:
    return name.startswith(BAND) or is_allowed(name)


def _codes(pairs: pl.DataFrame) -> NDArray[np.int64]:
    """Place of each pair in a triangle of all."""
    high, low = pl.max_horizontal("code", "code_right"), pl.min_horizontal("code", "code_right")
    return pairs.select(place=high * (high - 1) // 2 + low)["place"].to_numpy()
