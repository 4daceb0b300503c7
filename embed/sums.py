"""Sums of image embeddings by user or subreddit: files and groups stream, sums are bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed.clip import unit_rows
from embed.outcomes import Outcome
from pipelines.contract import ConfigError

# Of the sums of one block of groups: 170,000 users of 768 dimensions.
MAX_BYTES = 1 << 30
JOINED_AT_ONCE = 5_000_000


@dataclass(frozen=True, kw_only=True)
class GroupSums:
    """Groups in sorted order with the sum and number of their images.

    Args:
        groups: Names.
        totals: Sum of unit vectors, float32 [groups, dim].
        counts: Images in each sum, int32 [groups].
    """

    groups: list[str]
    totals: NDArray[np.float32]
    counts: NDArray[np.int32]

    @classmethod
    def joined(cls, blocks: Iterable[GroupSums]) -> GroupSums:
        """All groups of consecutive blocks; for as many groups as fit into memory."""
        held = list(blocks)
        return cls(
            groups=[group for block in held for group in block.groups],
            totals=np.concatenate([block.totals for block in held]),
            counts=np.concatenate([block.counts for block in held]),
        )

    def aligned(self, names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Totals and counts in the order of `names`; zeros for a name that is no group."""
        place_of = {group: place for place, group in enumerate(self.groups)}
        total_SD = np.zeros((len(names), self.totals.shape[1]), dtype=np.float32)
        count_S = np.zeros(len(names), dtype=np.int32)
        for row, name in enumerate(names):
            if name in place_of:
                total_SD[row] = self.totals[place_of[name]]
                count_S[row] = self.counts[place_of[name]]
        return total_SD, count_S


def pictures_had(files: Sequence[str]) -> pl.DataFrame:
    """Images that were had: image_id, and picture_id, the least id of all with the same embedding.

    The same picture under two urls has two ids and, if not encoded anew, one embedding.
    """
    found = [
        pl.DataFrame(schema={"image_id": pl.String(), "low": pl.UInt64(), "high": pl.UInt64()})
    ]
    for file in files:
        had = _had(file, "embedding")
        digests = b"".join(
            hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in _vectors(had)
        )
        low_high_N2 = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
        ids = pl.Series("image_id", had["image_id"], dtype=pl.String())
        found.append(
            pl.DataFrame([ids]).with_columns(low=low_high_N2[:, 0], high=low_high_N2[:, 1])
        )
    frame = pl.concat(found)
    return frame.select("image_id", picture_id=pl.col("image_id").min().over("low", "high"))


def sum_by_group(
    images: pl.LazyFrame, files: Sequence[str], max_bytes: int = MAX_BYTES
) -> Iterator[GroupSums]:
    """Sums over the images of each group, a block of groups after the other, in order of name.

    What is held beside a block is a file of embeddings, the names, and 12 bytes an image: every
    block reads the files again. There is at least one block, maybe without groups.

    Args:
        images: Columns image_id and group; an image counts once for each of its rows.
        files: Of IMAGE_EMBEDDINGS, in order.
        max_bytes: Of the sums of one block.
    """
    names = images.select(pl.col("group").unique()).collect(engine="streaming")["group"].sort()
    places = _places(images, names, files)
    dim = embedding_dim(files[0])
    size = max(1, max_bytes // (8 * dim))
    for start in range(0, max(1, len(names)), size):
        block = names[start : start + size]
        inside = places.filter(pl.col("place").is_between(start, start + size, closed="left"))
        yield _sums(block.to_list(), inside.with_columns(pl.col("place") - start), files, dim)


def _places(images: pl.LazyFrame, names: pl.Series, files: Sequence[str]) -> pl.DataFrame:
    """Where each image lies and goes: file, row in it, place of its group; sorted.

    Identifiers are long, so they are joined a share of them at a time.
    """
    num_images = images.select(pl.len()).collect(engine="streaming").item()
    num_shares = max(1, -(-num_images // JOINED_AT_ONCE))
    numbered = pl.DataFrame([names.alias("group")]).with_row_index("place")
    found = [pl.DataFrame(schema=dict.fromkeys(("file", "row", "place"), pl.UInt32()))]
    for share in range(num_shares):
        mine = pl.col("image_id").hash() % num_shares == share
        grouped = images.filter(mine).collect(engine="streaming").join(numbered, on="group")
        lying = [
            pl.read_parquet(file, columns=["image_id", "status"], hive_partitioning=False)
            .with_row_index("row")
            .filter(mine, pl.col("status") == str(Outcome.OK))
            .select("image_id", "row", file=pl.lit(index, pl.UInt32()))
            for index, file in enumerate(files)
        ]
        found.append(pl.concat(lying).join(grouped, on="image_id").select(found[0].columns))
    return pl.concat(found).sort("file", "row", "place")


def _sums(names: list[str], places: pl.DataFrame, files: Sequence[str], dim: int) -> GroupSums:
    sum_GD = np.zeros((len(names), dim), dtype=np.float64)
    count_G = np.zeros(len(names), dtype=np.int32)
    for (index,), here in places.group_by("file", maintain_order=True):
        x_ND = _vectors(pq.read_table(files[int(str(index))], columns=["embedding"]))
        place_R = here["place"].to_numpy()
        # Half precision leaves norms a little off one.
        np.add.at(sum_GD, place_R, unit_rows(x_ND[here["row"].to_numpy()]))
        np.add.at(count_G, place_R, 1)
    return GroupSums(groups=names, totals=sum_GD.astype(np.float32), counts=count_G)


def _had(file: str, column: str) -> pa.Table:
    """Ids and a column of the images in a file that were had."""
    table = pq.read_table(file, columns=["image_id", "status", column])
    return table.filter(pc.equal(table["status"], str(Outcome.OK)))


def _vectors(table: pa.Table) -> NDArray[np.float16]:
    column = table["embedding"].combine_chunks()
    x_ND: NDArray[np.float16] = column.flatten().to_numpy().reshape(-1, column.type.list_size)
    return x_ND


def weights_of(files: Sequence[str]) -> str:
    """SHA-256 of the weights that made the embeddings in `files`; empty: they do not say.

    Raises:
        ConfigError: They were made by different weights.
    """
    found: dict[str, str] = {}
    for file in files:
        metadata = pq.read_schema(file).metadata or {}
        found.setdefault(metadata.get(b"clip_weights", b"").decode(), file)
    if len(found) > 1:
        made = "; ".join(f"{file} by {weights[:12]}" for weights, file in sorted(found.items()))
        raise ConfigError(
            f"image_embeddings were made by {len(found)} models ({made}): vectors of different "
            "models cannot be compared; run embed_images again with one of them"
        )
    return next(iter(found), "")


def embedding_dim(file: str) -> int:
    """Length of the embeddings in a file."""
    return int(pq.read_schema(file).field("embedding").type.list_size)
