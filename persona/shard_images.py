"""What is known of the images of a shard's users: vectors and urls, from tables not sorted by user.

Shards share a pass over IMAGE_EMBEDDINGS and MEDIA: the rows of an image go to a file of each shard
whose users posted it. Beside a batch of rows, 16 bytes an image of those shards are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed.tables import IMAGE_EMBEDDINGS
from persona.shards import OPEN_FILES, Shard, all_of
from pipelines.contract import Run, Table
from pipelines.tables import MEDIA

IMAGES_A_PASS = 20_000_000
_BATCH_ROWS = 1 << 16
_COLUMNS = {
    IMAGE_EMBEDDINGS: ["image_id", "phash", "embedding"],
    MEDIA: ["image_id", "url"],
}


@dataclass(frozen=True)
class Wanted:
    """Images of some shards.

    Args:
        key: Hashes of image ids, ascending; one that two images share brings rows of both [M].
        shard: Index of the shard whose users posted it [M].
    """

    key: NDArray[np.uint64]
    shard: NDArray[np.int64]

    @classmethod
    def of(cls, images: Sequence[tuple[Shard, pa.ChunkedArray]]) -> Wanted:
        """Image ids by shard."""
        keys = [np.unique(_keys(ids)) for _, ids in images]
        shards = [np.full(len(k), s.index) for (s, _), k in zip(images, keys, strict=True)]
        key_M = np.concatenate([np.zeros(0, np.uint64), *keys])
        order_M = np.argsort(key_M, kind="stable")
        return cls(key_M[order_M], np.concatenate([np.zeros(0, np.int64), *shards])[order_M])

    def rows(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(shard, its rows of the batch)."""
        keys = _keys(batch.column("image_id"))
        first, after = (np.searchsorted(self.key, keys, side) for side in ("left", "right"))
        times = after - first
        row_K = np.repeat(np.arange(len(keys)), times)
        within_K = np.arange(len(row_K)) - np.repeat(np.cumsum(times) - times, times)
        shard_K = self.shard[np.repeat(first, times) + within_K]
        for shard in np.unique(shard_K).tolist():
            yield shard, batch.take(pa.array(row_K[shard_K == shard]))


class ShardImages:
    """Rows of IMAGE_EMBEDDINGS that were had, and of MEDIA, by shards of the users who posted them.

    Args:
        run: Where they are published.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._spilled: Path | None = None

    def spill(
        self, shards: Sequence[Shard], images: Callable[[Shard], pa.ChunkedArray], folder: Path
    ) -> None:
        """Write the rows of each shard's images to files of its own; `images`: their ids."""
        group: list[tuple[Shard, pa.ChunkedArray]] = []
        for shard in shards:
            group.append((shard, pc.unique(images(shard))))
            if len(group) == OPEN_FILES or sum(len(ids) for _, ids in group) >= IMAGES_A_PASS:
                self._split(Wanted.of(group), folder)
                group = []
        self._split(Wanted.of(group), folder)
        self._spilled = folder

    def _split(self, wanted: Wanted, folder: Path) -> None:
        for table in _COLUMNS if len(wanted.key) else ():
            here = folder / table.name
            here.mkdir(parents=True, exist_ok=True)
            writers: dict[int, pq.ParquetWriter] = {}
            for batch in self._scan(table, None):
                for shard, rows in wanted.rows(batch):
                    if shard not in writers:
                        writers[shard] = pq.ParquetWriter(here / f"{shard}.parquet", rows.schema)
                    writers[shard].write_batch(rows)
            for writer in writers.values():
                writer.close()

    def read(self, shard: Shard, table: Table, image_ids: pa.ChunkedArray) -> pa.Table:
        """Rows of one of the two tables that are of these images, in the order of the table."""
        is_wanted = ds.field("image_id").isin(pc.unique(image_ids))
        if self._spilled is not None:
            path = self._spilled / table.name / f"{shard.index}.parquet"
            if path.exists():
                return pq.read_table(path).filter(is_wanted)
        found = self._scan(table, is_wanted) if self._spilled is None else ()
        return pa.Table.from_batches(list(found), self._schema(table))

    def _schema(self, table: Table) -> pa.Schema:
        schema = table.dataset(self._run).schema
        return pa.schema([schema.field(name) for name in _COLUMNS[table]])

    def _scan(self, table: Table, condition: ds.Expression | None) -> Iterator[pa.RecordBatch]:
        had = ds.field("status") == "ok" if table is IMAGE_EMBEDDINGS else None
        yield from table.dataset(self._run).to_batches(
            columns=_COLUMNS[table], filter=all_of(had, condition), batch_size=_BATCH_ROWS
        )


def _keys(image_ids: pa.Array | pa.ChunkedArray) -> NDArray[np.uint64]:
    return pl.Series(pl.from_arrow(image_ids)).hash(seed=0).to_numpy()
