"""What users of alike embeddings attend to: inferred interests of users who did next to nothing.

Pure. A subreddit is inferred where several of a user's nearest neighbours attend to it, and more of
them than of users at large: nothing rests on any one neighbour.
"""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from persona.budget import estimate_tokens
from persona.items import NEIGHBOUR
from persona.tables import EVIDENCE
from persona.taste import Floats
from persona.topics import is_allowed

MAX_ANCHORS = 4096
MIN_ANCHORS = 50  # among fewer, the nearest are not near
NUM_NEIGHBOURS = 16
MIN_SHARING = 5  # of the neighbours: k-anonymity of what is inferred
MIN_LIFT = 2.0  # over users at large: hubs are everybody's
MAX_INFERRED = 3

_ORDER = 500_000_000  # after subreddits, before tags
_COLUMNS = EVIDENCE.schema.names


@dataclass(frozen=True)
class Anchors:
    """A sample of active users that others are compared with.

    Axes: A anchors, S subreddits, d dimensions of z_u.

    Args:
        user_ids: Of the anchors.
        z_Ad: Unit rows.
        subreddits: Names, those that a persona may rest on.
        attends_AS: bool: which anchor attends to which.
    """

    user_ids: tuple[str, ...]
    z_Ad: Floats
    subreddits: tuple[str, ...]
    attends_AS: NDArray[np.bool_]

    @classmethod
    def of(cls, user_ids: Sequence[str], z_Ad: Floats, salient: pl.DataFrame) -> Anchors:
        """From rows of SALIENT_SUBREDDITS of these users."""
        row = {user: index for index, user in enumerate(user_ids)}
        names = [name for name in salient["subreddit"].unique().sort() if is_allowed(name)]
        column = {name: index for index, name in enumerate(names)}
        attends_AS = np.zeros((len(user_ids), len(names)), np.bool_)
        for user, name in salient.select("user_id", "subreddit").iter_rows():
            if user in row and name in column:
                attends_AS[row[user], column[name]] = True
        return cls(tuple(user_ids), z_Ad, tuple(names), attends_AS)

    def without(self, subreddits: Collection[str]) -> Anchors:
        """The same users without some subreddits: those of too few users to be stated."""
        kept = [place for place, name in enumerate(self.subreddits) if name not in subreddits]
        names = tuple(self.subreddits[place] for place in kept)
        return replace(self, subreddits=names, attends_AS=self.attends_AS[:, kept])


def neighbour_rows(
    user_ids: Sequence[str], z_Ud: Floats, own: pl.DataFrame, anchors: Anchors, cold_subreddits: int
) -> pl.DataFrame:
    """Inferred evidence of the users among these who attend to next to nothing.

    Args:
        user_ids, z_Ud: Users and their embeddings, unit rows.
        own: user_id, subreddit: what each attends to, and a persona may rest on.
        anchors: Those they are compared with; fewer than 50: nothing is inferred.
        cold_subreddits: Users with fewer subreddits of their own are cold.

    Returns:
        Columns of EVIDENCE and `order`; weight is the share of neighbours that attend to it.
    """
    rows: list[tuple[str, str, float, int]] = []
    if len(anchors.user_ids) >= MIN_ANCHORS:
        has: dict[str, set[str]] = {user: set() for user in user_ids}
        for user, name in own.select("user_id", "subreddit").iter_rows():
            has[user].add(name)
        usual_S = anchors.attends_AS.mean(axis=0)
        for user, z_d in zip(user_ids, z_Ud, strict=True):
            if len(has[user]) < cold_subreddits:
                found = _inferred(user, z_d, has[user], anchors, usual_S)
                rows += [(user, name, share, place) for place, (name, share) in enumerate(found)]
    names = {"user_id": pl.String, "text": pl.String, "weight": pl.Float64, "place": pl.Int64}
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(
        evidence_id=pl.lit("n:") + pl.col("text"),
        kind=pl.lit(NEIGHBOUR),
        subreddit="text",
        facet=pl.lit(None, pl.String),
        tokens=estimate_tokens(pl.col("text")),
        inferred=pl.lit(True),
        order=_ORDER + pl.col("place"),
    ).select(*_COLUMNS, "order")


def _inferred(
    user: str, z_d: Floats, own: set[str], anchors: Anchors, usual_S: Floats
) -> list[tuple[str, float]]:
    """(subreddit, share of neighbours) of the clearest, by lift and then by name."""
    cosine_A = np.round(np.asarray(anchors.z_Ad, np.float64) @ np.asarray(z_d, np.float64), 6)
    order_A = np.argsort(-cosine_A, kind="stable")
    nearest = [a for a in order_A[: NUM_NEIGHBOURS + 1] if anchors.user_ids[a] != user]
    near_S = anchors.attends_AS[nearest[:NUM_NEIGHBOURS]].sum(axis=0)
    share_S = near_S / NUM_NEIGHBOURS
    lift_S = share_S / np.maximum(usual_S, 1e-9)
    fits = np.flatnonzero((near_S >= MIN_SHARING) & (lift_S >= MIN_LIFT))
    found = [(anchors.subreddits[s], float(share_S[s]), float(lift_S[s])) for s in fits]
    clear = sorted((f for f in found if f[0] not in own), key=lambda f: (-f[2], f[0]))
    return [(name, share) for name, share, _ in clear[:MAX_INFERRED]]
