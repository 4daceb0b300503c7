"""Near-duplicates: which pictures share a vector, and with which.

Two pictures are near-duplicates if their perceptual hashes differ in no more than a number of bits,
and no mean colour of a quarter by more than one level in 32 (`embed.phash`). In the order in which
they were posted, each takes the vector of the earliest one that has a vector of its own.

With 2 bits, copies that were scaled or compressed again are found and other photographs are not;
pictures that differ in small details alone, such as one template with two captions, mostly are.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embed.phash import LEVEL_BITS, NUM_LEVELS

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


def take_leaders(leader_N: Indices, pairs_P2: Indices) -> None:
    """Let each picture take the earliest that is near and has a vector of its own.

    Args:
        leader_N: Of each picture the one whose vector it takes, its own where undecided; in the
            order in which pictures take. Changed in place.
        pairs_P2: (earlier, later), all pairs of each later picture that is in them, once they are
            decided for all pictures before.
    """
    pairs_P2 = np.unique(pairs_P2, axis=0)
    # In a list: Python asks arrays for one element at a time ten times slower.
    picture_K, place_P2 = np.unique(pairs_P2, return_inverse=True)
    place_P2 = place_P2.reshape(-1, 2)
    leader_K = leader_N[picture_K]
    is_own: list[bool] = (leader_K == picture_K).tolist()
    for earlier, later in place_P2[np.lexsort((place_P2[:, 0], place_P2[:, 1]))].tolist():
        if is_own[later] and is_own[earlier]:
            is_own[later] = False
            leader_K[later] = picture_K[earlier]
    leader_N[picture_K] = leader_K


def part_keys(phash_N: Hashes, bits: int, part: int) -> Hashes:
    """One of `bits + 1` parts of each hash; near-duplicates have one at least in common."""
    edges = np.linspace(0, HASH_BITS, bits + 2).astype(np.int64)
    width = int(edges[part + 1] - edges[part])
    return (phash_N >> np.uint64(edges[part])) & np.uint64((1 << width) - 1)


def near_pairs(phash_N: Hashes, colours_N: Hashes, bits: int, part: int) -> Indices:
    """Near-duplicates (earlier, later) whose hashes have a part in common: [P, 2].

    Of those, pictures are compared only while the first of their colours is near, too.
    """
    key_N = part_keys(phash_N, bits, part)
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
    return with_vectors(table, vectors_of(table)[source])


def vectors_of(table: pa.Table) -> NDArray[np.float16]:
    """The embeddings [N, dim] of rows, to be changed."""
    column = table["embedding"].combine_chunks()
    flat: NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(table.num_rows, column.type.list_size).copy()


def with_vectors(table: pa.Table, x_ND: NDArray[np.float16]) -> pa.Table:
    """The rows with these vectors; the column is typed alike whether it was made or read."""
    vectors_N = pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), x_ND.shape[1])
    return table.set_column(table.schema.get_field_index("embedding"), "embedding", vectors_N)
