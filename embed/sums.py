"""Sums of image embeddings by user or subreddit, streaming over the files of the table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed.clip import unit_rows
from embed.outcomes import Outcome


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


def embeddings_had(files: Sequence[str]) -> Iterator[tuple[list[str], NDArray[np.float16]]]:
    """For each file: image ids and embeddings float16 [N, dim] of the images that were had."""
    for file in files:
        table = pq.read_table(file, columns=["image_id", "status", "embedding"])
        had = table.filter(pc.equal(table["status"], str(Outcome.OK)))
        column = had["embedding"].combine_chunks()
        yield (
            had["image_id"].to_pylist(),
            column.flatten().to_numpy().reshape(-1, column.type.list_size),
        )


def pictures_had(files: Sequence[str]) -> pl.DataFrame:
    """Images that were had: image_id, and picture_id, the least id of all with the same embedding.

    The same picture under two urls has two ids and, if not encoded anew, one embedding.
    """
    ids: list[str] = []
    digests: list[bytes] = []
    for image_ids, x_ND in embeddings_had(files):
        ids += image_ids
        digests += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in x_ND]
    frame = pl.DataFrame(
        {"image_id": ids, "digest": digests},
        schema={"image_id": pl.String(), "digest": pl.Binary()},
    )
    return frame.select("image_id", picture_id=pl.col("image_id").min().over("digest"))


def sum_by_group(images: pl.DataFrame, files: Sequence[str]) -> GroupSums:
    """Sums over the images of each group.

    Args:
        images: Columns image_id and group; an image counts once for each of its rows.
        files: Of IMAGE_EMBEDDINGS, in order.
    """
    groups = images.select(pl.col("group").unique().sort())
    placed = images.join(groups.with_row_index("place"), on="group").select("image_id", "place")
    sum_GD = np.zeros((groups.height, embedding_dim(files[0])), dtype=np.float64)
    count_G = np.zeros(groups.height, dtype=np.int32)
    for image_ids, x_ND in embeddings_had(files):
        here = pl.DataFrame({"image_id": image_ids}, schema={"image_id": pl.String()})
        rows = here.with_row_index("row").join(placed, on="image_id", how="inner")
        rows = rows.sort("row", "place")
        place_R = rows["place"].to_numpy()
        # Half precision leaves norms a little off one.
        np.add.at(sum_GD, place_R, unit_rows(x_ND[rows["row"].to_numpy()]))
        np.add.at(count_G, place_R, 1)
    return GroupSums(
        groups=groups["group"].to_list(), totals=sum_GD.astype(np.float32), counts=count_G
    )


def embedding_dim(file: str) -> int:
    """Length of the embeddings in a file."""
    return int(pq.read_schema(file).field("embedding").type.list_size)
