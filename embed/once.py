"""Near-duplicates: which pictures share a vector, and with which.

Two pictures are near-duplicates if their perceptual hashes differ in no more than a number of bits,
and no mean colour of a quarter by more than one level in 32 (`embed.phash`). In the order in which
they were posted, each takes the vector of the earliest one that has a vector of its own.

With 2 bits, copies that were scaled or compressed again are found and other photographs are not;
pictures that differ in small details alone, such as one template with two captions, mostly are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed.outcomes import Outcome
from embed.phash import LEVEL_BITS, NUM_LEVELS
from embed.tables import IMAGE_EMBEDDINGS

HASH_BITS = 64
Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]


def are_near(
    phash: Hashes,
    other_phash: Hashes | np.uint64,
    colours: Hashes,
    other_colours: Hashes | np.uint64,
    bits: int,
) -> NDArray[np.bool_]:
    """Whether pairs of pictures are near-duplicates."""
    near = np.bitwise_count(phash ^ other_phash).astype(np.int64) <= bits
    mask = np.uint64((1 << LEVEL_BITS) - 1)
    for i in range(NUM_LEVELS):
        shift = np.uint64(LEVEL_BITS * i)
        level = ((colours >> shift) & mask).astype(np.int64)
        other = ((other_colours >> shift) & mask).astype(np.int64)
        near &= np.abs(level - other) <= 1
    return near


def leaders(phash_N: Hashes, colours_N: Hashes, bits: int) -> Indices:
    """Of each picture the index of the one whose vector it takes; its own if it keeps its own.

    Pairs are found by parts of the hash: of `bits + 1` parts one at least is equal in both.
    """
    leader_N: Indices = np.arange(len(phash_N))
    if bits < 0 or not len(phash_N):
        return leader_N
    # The same picture may be there a thousand times: pairs are of distinct ones.
    both_N = np.stack([phash_N, colours_N], axis=1)
    _, first_M, same_N = np.unique(both_N, axis=0, return_index=True, return_inverse=True)
    order_M = np.argsort(first_M)
    rank_M = np.empty_like(order_M)
    rank_M[order_M] = np.arange(len(order_M))
    kept_M = first_M[order_M]
    leader_M = kept_M[_leaders_of_distinct(phash_N[kept_M], colours_N[kept_M], bits)]
    return np.asarray(leader_M[rank_M[same_N.ravel()]], dtype=np.int64)


def _leaders_of_distinct(phash_N: Hashes, colours_N: Hashes, bits: int) -> Indices:
    leader_N: Indices = np.arange(len(phash_N))
    pairs = [near_pairs(phash_N, colours_N, bits, part) for part in range(bits + 1)]
    pairs_P2 = np.unique(np.concatenate(pairs), axis=0)
    later_first = np.lexsort((pairs_P2[:, 0], pairs_P2[:, 1]))
    for earlier, later in pairs_P2[later_first].tolist():
        if leader_N[later] == later and leader_N[earlier] == earlier:
            leader_N[later] = earlier
    return leader_N


def near_pairs(phash_N: Hashes, colours_N: Hashes, bits: int, part: int) -> Indices:
    """Near-duplicates (earlier, later) whose hashes have a part in common: [P, 2].

    Of those, pictures are compared only while the first of their colours is near, too.
    """
    edges = np.linspace(0, HASH_BITS, bits + 2).astype(np.int64)
    width = int(edges[part + 1] - edges[part])
    mask = np.uint64((1 << width) - 1)
    key_N = (phash_N >> np.uint64(edges[part])) & mask
    colour_N = (colours_N & np.uint64((1 << LEVEL_BITS) - 1)).astype(np.int64)
    order_N = np.lexsort((colour_N, key_N))
    key_N, colour_N = key_N[order_N], colour_N[order_N]
    found = [np.zeros((0, 2), np.int64)]
    at = np.arange(len(order_N))
    for apart in range(1, len(order_N)):
        at = at[at + apart < len(order_N)]
        at = at[(key_N[at] == key_N[at + apart]) & (colour_N[at + apart] - colour_N[at] <= 1)]
        if not at.size:
            break
        first, second = order_N[at], order_N[at + apart]
        near = are_near(phash_N[first], phash_N[second], colours_N[first], colours_N[second], bits)
        found.append(np.stack([first[near], second[near]], axis=1))
    return np.sort(np.concatenate(found), axis=1)


def fill_shared(table: pa.Table) -> pa.Table:
    """The rows of IMAGE_EMBEDDINGS with the vectors of those that they share filled in.

    Rows that share with one that is not in the table stay as they are.
    """
    row_of = {image_id: row for row, image_id in enumerate(table["image_id"].to_pylist())}
    shared = table["shared_with"].to_pylist()
    source = [row if with_ is None else row_of.get(with_, row) for row, with_ in enumerate(shared)]
    return _with_vectors(table, _rows(table)[source])


def share_over_shards(folder: Path, bits: int, kept: pl.Series, posted: pl.DataFrame) -> int:
    """Let near-duplicates share a vector; how many rows of all share one.

    Run again after a kill, it goes on. The result depends on the images alone, not on who made
    which shard; and since what was posted first leads, a month that is added changes nothing that
    was made before, and gives what all months at once give.

    Args:
        folder: Shards of IMAGE_EMBEDDINGS, whole ones.
        bits: As in `leaders`.
        kept: image_id of rows made by earlier runs: they lead before others, so they stay as they
            are.
        posted: image_id, created_utc (int64, epoch seconds): when each was posted first.
    """
    rows = _hashes(folder)
    is_there = pl.col("shared_with").is_in(rows["image_id"].implode())
    rows = rows.with_columns(
        is_new=~pl.col("image_id").is_in(kept.implode()), shares=is_there.fill_null(False)
    )
    # A new row has a vector of its own, or had one until it came to share: it leads nobody then.
    own = rows.filter(pl.col("is_new") | ~pl.col("shares"))
    own = own.join(posted, on="image_id", how="left").sort("is_new", "created_utc", "image_id")
    leader_N = leaders(own["phash"].to_numpy(), own["colours"].to_numpy(), bits)
    names = own["image_id"]
    after = own.select("image_id", before="shared_with").with_columns(
        after=pl.when(pl.Series(leader_N) != pl.int_range(pl.len())).then(names.gather(leader_N))
    )
    changed = after.filter(pl.col("before").ne_missing(pl.col("after")))
    if changed.height:
        moved = dict(changed.select("image_id", "after").iter_rows())
        vectors = _vectors(folder, set(moved.values()) - {None})
        for file in sorted(folder.glob("*.parquet")):
            _rewrite(file, moved, vectors)
    return rows.height - own.height + int(after["after"].count())


def _hashes(folder: Path) -> pl.DataFrame:
    columns = ["image_id", "status", "phash", "colours", "shared_with"]
    rows = pl.scan_parquet(sorted(folder.glob("*.parquet"))).select(columns)
    return rows.filter(pl.col("status") == str(Outcome.OK)).drop("status").collect()


def _vectors(folder: Path, image_ids: set[str]) -> dict[str, NDArray[np.float16]]:
    found = {}
    for file in sorted(folder.glob("*.parquet")):
        table = pq.read_table(file, columns=["image_id", "embedding"])
        here = [i for i, name in enumerate(table["image_id"].to_pylist()) if name in image_ids]
        wanted = table.take(pa.array(here, pa.int64())).combine_chunks()
        for name, vector in zip(wanted["image_id"].to_pylist(), _rows(wanted), strict=True):
            found[name] = vector
    return found


def _rows(table: pa.Table) -> NDArray[np.float16]:
    column = table["embedding"].combine_chunks()
    flat: NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(table.num_rows, column.type.list_size).copy()


def _with_vectors(table: pa.Table, x_ND: NDArray[np.float16]) -> pa.Table:
    """The rows with these vectors; the column is typed alike whether it was made or read."""
    vectors_N = pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), x_ND.shape[1])
    return table.set_column(table.schema.get_field_index("embedding"), "embedding", vectors_N)


def _rewrite(
    file: Path, moved: dict[str, str | None], vectors: dict[str, NDArray[np.float16]]
) -> None:
    """Write the shard again where rows of it are to take other vectors, whole or not at all."""
    table = pq.read_table(file)
    shared, x_ND = table["shared_with"].to_pylist(), _rows(table)
    changed = [row for row, n in enumerate(table["image_id"].to_pylist()) if n in moved]
    for row in changed:
        leader = moved[table["image_id"][row].as_py()]
        shared[row] = leader
        if leader is not None:
            x_ND[row] = vectors[leader]
    if not changed:
        return
    metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    position = table.schema.get_field_index("shared_with")
    table = table.set_column(position, "shared_with", pa.array(shared, pa.string()))
    table = _with_vectors(table, x_ND)
    IMAGE_EMBEDDINGS.write(file.parent, table.combine_chunks(), file.stem, metadata)
