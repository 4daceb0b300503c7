"""Where the rows of each user lie: a table in memory, so that a lookup plans no query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray


class Directory:
    """Row ids by user of one version of a LanceDB table; 16 bytes a row, 0.35 GB for 22 million.

    Args:
        table: Has `user_id`. Reading a million ids takes about half a second.
    """

    def __init__(self, table: Any) -> None:
        self.version = int(table.version)
        hashes = [np.zeros(0, np.uint64)]
        places = [np.zeros(0, np.uint64)]
        for batch in table.search().select(["user_id"]).with_row_id(True).to_batches():
            hashes.append(_hashed(pl.Series(pl.from_arrow(batch.column("user_id")))))
            places.append(batch.column("_rowid").to_numpy())
        hash_R = np.concatenate(hashes)
        order_R = np.argsort(hash_R)
        self._hash_R, self._place_R = hash_R[order_R], np.concatenate(places)[order_R]

    def places(self, user_ids: Sequence[str]) -> list[int]:
        """Row ids that hold these users, and, seldom, one of another user with the same hash."""
        wanted_U = np.unique(_hashed(pl.Series(user_ids, dtype=pl.String)))
        starts_U = np.searchsorted(self._hash_R, wanted_U, "left")
        stops_U = np.searchsorted(self._hash_R, wanted_U, "right")
        spans = zip(starts_U.tolist(), stops_U.tolist(), strict=True)
        return [place for start, stop in spans for place in self._place_R[start:stop].tolist()]


def _hashed(ids: pl.Series) -> NDArray[np.uint64]:
    return ids.hash(seed=0).to_numpy()
