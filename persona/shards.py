"""Users in shards: contiguous ranges of sorted user ids, so that 22M users fit in memory.

A shard is the unit of work and of resume. Its part name says which users it holds, so a finished
shard of other settings is never taken for one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipelines.contract import ContractError, Run, Table

_BATCH_ROWS = 1 << 16
OPEN_FILES = 256  # of the 1,024 that a process may have; 22 million users are 1,100 shards


@dataclass(frozen=True)
class Shard:
    """Users from `first` to `last`, both included.

    Args:
        index: From 0, in order of user ids.
        num_users: In the range.
    """

    index: int
    first: str
    last: str
    num_users: int

    @property
    def part(self) -> str:
        """Name of the shard's Parquet parts, without suffix; sorts as the shards do."""
        return f"part-{self.index:05d}-{self.first}-{self.num_users}"

    def holds(self) -> ds.Expression:
        """Filter for the shard's rows; prunes row groups where a table is sorted by user."""
        field = ds.field("user_id")
        return (field >= self.first) & (field <= self.last)


def plan_shards(user_ids: pa.ChunkedArray, shard_users: int) -> list[Shard]:
    """Shards of at most `shard_users` users over the distinct ids.

    Raises:
        ContractError: An id appears twice.
    """
    ids = np.sort(user_ids.to_numpy().astype(str)) if len(user_ids) else np.zeros(0, str)
    twice = ids[:-1][ids[:-1] == ids[1:]]
    if len(twice):
        raise ContractError(f"user_id {str(twice[0])!r} appears twice; expected one row a user")
    starts = range(0, len(ids), shard_users)
    chunks = [ids[start : start + shard_users] for start in starts]
    return [Shard(i, str(c[0]), str(c[-1]), len(c)) for i, c in enumerate(chunks)]


class UserTable:
    """One table by shards of users.

    A filter on user ids reads a whole table that is not sorted by user. With several shards the
    table is therefore spilled once: its rows go to one file a shard.

    Args:
        table: Has a column user_id.
        run: Where it is published.
        columns: That are needed, user_id among them.
        keep: Further filter on rows.
    """

    def __init__(
        self, table: Table, run: Run, columns: list[str], keep: ds.Expression | None = None
    ) -> None:
        self._table, self._run, self._columns, self._keep = table, run, columns, keep
        self._spilled: Path | None = None

    def spill(self, shards: Sequence[Shard], folder: Path) -> None:
        """Write the rows of each shard to a file of its own; rows of other users are left out."""
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(shards), OPEN_FILES):
            self._spill(shards[start : start + OPEN_FILES], folder)
        self._spilled = folder

    def _spill(self, shards: Sequence[Shard], folder: Path) -> None:
        """Those rows that are of some neighbouring shards, in one pass."""
        firsts = np.array([shard.first for shard in shards])
        lasts = np.array([shard.last for shard in shards])
        user = ds.field("user_id")
        writers: dict[int, pq.ParquetWriter] = {}
        for batch in self._scan((user >= shards[0].first) & (user <= shards[-1].last)):
            ids = batch.column("user_id").to_numpy(zero_copy_only=False).astype(str)
            place = np.searchsorted(firsts, ids, side="right") - 1
            inside = (place >= 0) & (ids <= lasts[np.maximum(place, 0)])
            for index in np.unique(place[inside]).tolist():
                rows = batch.filter(pa.array(inside & (place == index)))
                if index not in writers:
                    path = folder / f"{shards[index].index}.parquet"
                    writers[index] = pq.ParquetWriter(path, rows.schema)
                writers[index].write_batch(rows)
        for writer in writers.values():
            writer.close()

    def read(self, shard: Shard) -> pa.Table:
        """Rows of the shard's users, in the order of the table."""
        if self._spilled is None:
            return pa.Table.from_batches(list(self._scan(shard.holds())), schema=self._schema())
        path = self._spilled / f"{shard.index}.parquet"
        return pq.read_table(path) if path.exists() else self._schema().empty_table()

    def _schema(self) -> pa.Schema:
        schema = self._table.dataset(self._run).schema
        return pa.schema([schema.field(name) for name in self._columns])

    def _scan(self, condition: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        yield from self._table.dataset(self._run).to_batches(
            columns=self._columns, filter=all_of(self._keep, condition), batch_size=_BATCH_ROWS
        )


def all_of(first: ds.Expression | None, second: ds.Expression | None) -> ds.Expression | None:
    """Both conditions, or the one that there is."""
    return second if first is None else first if second is None else first & second
