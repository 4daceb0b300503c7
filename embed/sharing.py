"""Near-duplicates over all shards: who shares whose vector, out of core.

The decisions are those of `embed.once`, taken a bucket at a time. Pictures are numbered in the
order in which they may lead; the leader of each lies in a mapped file.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from embed.buckets import Buckets, gathered, hashed, in_order
from embed.once import Indices, near_pairs, part_keys, take_leaders, vectors_of, with_vectors
from embed.outcomes import Outcome
from embed.tables import IMAGE_EMBEDDINGS

CHUNK = 1 << 20
_HASHES = {"phash": pl.UInt64(), "colours": pl.UInt64()}
# `shard` and `at`: which of the files, and which of its rows.
_ROW = {"image_id": pl.String(), "shard": pl.Int64(), "at": pl.Int64(), "shared_with": pl.String()}
_HASHED = {**_ROW, **_HASHES}
_OWN = {**_HASHED, "created_utc": pl.Int64(), "is_new": pl.Boolean()}
_RANKED = {**_HASHED, "rank": pl.Int64()}
_PICTURE = {"rank": pl.Int64(), **_HASHES}
_LED = {
    "shard": pl.Int64(), "at": pl.Int64(), "shared_with": pl.String(), "rank": pl.Int64(),
    "leader": pl.Int64(),
}  # fmt: skip
_MOVED = {
    "shard": pl.Int64(), "at": pl.Int64(), "after": pl.String(), "from_shard": pl.Int64(),
    "from_at": pl.Int64(),
}  # fmt: skip
_FILLED = {"shard": pl.Int64(), "at": pl.Int64(), "after": pl.String(), "vector": pl.Binary()}


def share_over_shards(folder: Path, bits: int, posted: Buckets, work: Path) -> int:
    """Let near-duplicates share a vector; how many rows of all share one.

    Run again after a kill, it goes on. The result depends on the images alone, not on who made
    which shard; and since what was posted first leads, a month that is added changes nothing that
    was made before, and gives what all months at once give.

    Args:
        folder: Shards of IMAGE_EMBEDDINGS, whole ones.
        bits: As in `leaders`.
        posted: `embed.places.POSTED_SCHEMA`, by `hashed("image_id", len(posted))`. Rows that are
            not new lead before others, so they stay as they are.
        work: For unfinished work; removed.
    """
    files = sorted(folder.glob("*.parquet"))
    own, num_sharing = _own_rows(files, posted, work)
    ranked = _ranked(own, work)
    leader_N = leaders(ranked, bits, work)
    led, num_led = _led(ranked, leader_N, work)
    moved = _moved(led, ranked, len(files), work)
    filled = Buckets(work / "filled", _FILLED, 4 * len(moved))
    for rows in gathered(_filled(moved, files)):
        filled.add(rows, _range("shard", len(files), len(filled)))
    for rows in filled:
        for (shard,), changes in rows.group_by("shard"):
            _rewrite(files[int(str(shard))], changes)
    shutil.rmtree(work)
    return num_sharing + num_led


def leaders(ranked: Buckets, bits: int, work: Path) -> Indices:
    """Of each picture the one whose vector it takes; its own if it keeps its own. A mapped file.

    Pairs are found by parts of the hash: of `bits + 1` parts one at least is equal in both.

    Args:
        ranked: `_PICTURE` (rank from 0, phash, colours), and maybe more.
        bits: Of the hash, in which near-duplicates may differ; -1: there are none.
        work: Of the file.
    """
    total, num = ranked.num_rows, len(ranked)
    leader_N: Indices = np.memmap(work / "leaders", np.int64, "w+", shape=max(1, total))[:total]
    for start in range(0, total, CHUNK):
        leader_N[start : start + CHUNK] = np.arange(start, min(total, start + CHUNK))
    if bits < 0:
        return leader_N
    distinct = _distinct(ranked, leader_N, work)
    pairs = Buckets(work / "pairs", {"earlier": pl.Int64(), "later": pl.Int64()}, num)
    for part in range(bits + 1):
        for found in gathered(_pairs(distinct, bits, part, work)):
            pairs.add(found, _range("later", total, num))
    for rows in pairs:
        take_leaders(leader_N, rows.select("earlier", "later").to_numpy())
    for start in range(0, total, CHUNK):
        # Of a copy: the leader of the first of its kind.
        leader_N[start : start + CHUNK] = leader_N[leader_N[start : start + CHUNK]]
    for done in (distinct, pairs):
        done.remove()
    return leader_N


def _range(column: str, total: int, num: int) -> pl.Expr:
    """The bucket of a row whose number of `total` is in `column`: buckets are in order, too."""
    return pl.col(column) * num // max(1, total)


def _own_rows(files: Sequence[Path], posted: Buckets, work: Path) -> tuple[Buckets, int]:
    """Rows that may lead or take a leader (`_OWN`), and how many others share with a row here."""
    num = len(posted)
    hashes = Buckets(work / "hashes", _HASHED, num)
    for rows in gathered(_hashes(files)):
        hashes.add(rows, hashed("image_id", num))
    own = Buckets(work / "own", _OWN, num)
    sharing = Buckets(work / "sharing", _OWN, num)
    for number, rows in enumerate(hashes):
        known = rows.join(posted[number], on="image_id", how="left")
        # A new row has a vector of its own, or had one until it came to share: it leads nobody
        # then.
        may_share = ~pl.col("is_new") & pl.col("shared_with").is_not_null()
        sharing.add(known.filter(may_share), hashed("shared_with", num))
        own.add(known.filter(~may_share), pl.lit(number))
    for number, rows in enumerate(sharing):
        with_ = hashes[number].select(shared_with="image_id")
        own.add(rows.join(with_, on="shared_with", how="anti"), pl.lit(number))
    for done in (hashes, sharing):
        done.remove()
    return own, hashes.num_rows - own.num_rows


def _hashes(files: Sequence[Path]) -> Iterator[pl.DataFrame]:
    columns = ["image_id", "status", "phash", "colours", "shared_with"]
    for shard, file in enumerate(files):
        rows = pl.from_arrow(pq.read_table(file, columns=columns))
        assert isinstance(rows, pl.DataFrame)
        rows = rows.with_columns(pl.lit(shard, pl.Int64()).alias("shard"))
        rows = rows.with_columns(pl.int_range(pl.len()).alias("at"))
        yield rows.filter(pl.col("status") == str(Outcome.OK)).select(*_HASHED)


def _ranked(own: Buckets, work: Path) -> Buckets:
    """The same rows by rank, in buckets that follow each other."""
    ranked = Buckets(work / "ranked", _RANKED, len(own))
    start = 0
    for rows in in_order(own, ("is_new", "created_utc", "image_id"), work / "ordered"):
        numbered = rows.with_columns(rank=start + pl.int_range(pl.len()))
        ranked.add(numbered, _range("rank", own.num_rows, len(own)))
        start += rows.height
    own.remove()
    return ranked


def _distinct(ranked: Buckets, leader_N: Indices, work: Path) -> Buckets:
    """The first of each kind of picture, by hash and colours; copies take it for their leader."""
    num = len(ranked)
    alike = Buckets(work / "alike", _PICTURE, num)
    for rows in ranked:
        alike.add(rows, (pl.col("phash").hash() ^ pl.col("colours").hash(1)) % num)
    distinct = Buckets(work / "distinct", _PICTURE, num)
    for number, rows in enumerate(alike):
        # The same picture may be there a thousand times: pairs are of distinct ones.
        first = pl.col("rank").min().over("phash", "colours").alias("first")
        found = rows.with_columns(first).sort("rank")
        leader_N[found["rank"].to_numpy()] = found["first"].to_numpy()
        distinct.add(found.filter(pl.col("rank") == pl.col("first")), pl.lit(number))
    alike.remove()
    return distinct


def _pairs(distinct: Buckets, bits: int, part: int, work: Path) -> Iterator[pl.DataFrame]:
    """Near-duplicates, by rank: earlier, later."""
    num = len(distinct)
    alike = Buckets(work / "alike", _PICTURE, num)
    for rows in distinct:
        keys = pl.Series(part_keys(rows["phash"].to_numpy(), bits, part))
        alike.add(rows, pl.lit(keys).hash() % num)
    for rows in alike:
        by_rank = rows.sort("rank")
        columns = by_rank["phash"].to_numpy(), by_rank["colours"].to_numpy()
        rank_P2 = by_rank["rank"].to_numpy()[near_pairs(*columns, bits, part)]
        yield pl.DataFrame({"earlier": rank_P2[:, 0], "later": rank_P2[:, 1]})
    alike.remove()


def _led(ranked: Buckets, leader_N: Indices, work: Path) -> tuple[Buckets, int]:
    """Rows that share or shared (`_LED`), by the rank of their leader; how many share."""
    led, num_led = Buckets(work / "led", _LED, len(ranked)), 0
    for rows in ranked:
        leader = pl.Series("leader", leader_N[rows["rank"].to_numpy()], dtype=pl.Int64())
        known = rows.with_columns(leader)
        is_led = pl.col("leader") != pl.col("rank")
        num_led += known.filter(is_led).height
        touched = known.filter(is_led | pl.col("shared_with").is_not_null())
        led.add(touched, _range("leader", ranked.num_rows, len(led)))
    return led, num_led


def _moved(led: Buckets, ranked: Buckets, num_files: int, work: Path) -> Buckets:
    """Rows that are to share with another than they do (`_MOVED`), by the shard of the leader."""
    moved = Buckets(work / "moved", _MOVED, len(led))
    for number, rows in enumerate(led):
        leading = ranked[number].select(
            leader="rank", after="image_id", from_shard="shard", from_at="at"
        )
        after = pl.when(pl.col("leader") != pl.col("rank")).then(pl.col("after"))
        known = rows.join(leading, on="leader", how="left").with_columns(after=after)
        changed = known.filter(pl.col("shared_with").ne_missing(pl.col("after")))
        moved.add(changed, _range("from_shard", num_files, len(moved)))
    for done in (led, ranked):
        done.remove()
    return moved


def _filled(moved: Buckets, files: Sequence[Path]) -> Iterable[pl.DataFrame]:
    """The same rows with the vectors of their leaders (`_FILLED`)."""
    for rows in moved:
        for (shard,), group in rows.group_by("from_shard"):
            table = pq.read_table(files[int(str(shard))], columns=["embedding"])
            x_ND = vectors_of(table.take(group["from_at"].to_list()))
            vector = pl.Series([row.tobytes() for row in x_ND], dtype=pl.Binary())
            yield group.with_columns(vector=vector).select(*_FILLED)


def _rewrite(file: Path, changes: pl.DataFrame) -> None:
    """Write the shard again with rows that take other vectors, whole or not at all."""
    table = pq.read_table(file)
    shared, x_ND = table["shared_with"].to_pylist(), vectors_of(table)
    for row in changes.iter_rows(named=True):
        shared[row["at"]] = row["after"]
        x_ND[row["at"]] = np.frombuffer(row["vector"], np.float16)
    metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    position = table.schema.get_field_index("shared_with")
    table = table.set_column(position, "shared_with", pa.array(shared, pa.string()))
    table = with_vectors(table, x_ND)
    IMAGE_EMBEDDINGS.write(file.parent, table.combine_chunks(), file.stem, metadata)
