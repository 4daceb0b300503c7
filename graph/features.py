"""What nodes look like: tables of stage 2, aligned with the graph's indices, as mapped arrays.

Images come one by one, because what a user may see of them changes from step to step: which of
their own images are input and which target, and whose images a subreddit's mean may hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from embed.tables import IMAGE_EMBEDDINGS, SUBREDDIT_FEATURES, USER_IMAGES
from graph.counter_random import hash_strings
from graph.csr import expand_ranges, map_array
from graph.store import GraphStore, link_array
from pipelines.contract import ContractError, Run

ARRAYS = (
    "text_sd",
    "image_sum_sd",
    "num_images_s",
    "image_offsets",
    "image_row",
    "image_subreddit",
    "image_key",
    "image_vectors",
)
VECTORS = "image_vectors"
IMAGES_AT_ONCE = 1 << 16  # 0.2 GB of vectors of 768 dimensions as float32.
POSTINGS_AT_ONCE = 1 << 18
MAX_DEVICE_BYTES = 1 << 33  # Larger tables stay where they are mapped, and rows of them are moved.


@dataclass(frozen=True, kw_only=True)
class Features:
    """Contents of subreddits and images of users.

    Axes: U users, S subreddits, D dimensions of CLIP, M images that are not held out, A vectors.

    Args:
        text_sd: float32 [S, D], unit rows, zeros where unknown.
        image_sum_sd: float32 [S, D], sum of the unit vectors of a subreddit's images.
        num_images_s: int64 [S], images in the sum.
        image_offsets: int64 [U + 1]: images of user u are rows offsets[u] to offsets[u + 1] below.
        image_row: int64 [M], the image's row of `image_vectors`, which all parts of a graph share.
        image_subreddit: int64 [M], where it was posted; -1: not in the graph.
        image_key: int64 [M], hash of its id.
        image_vectors: float16 [A, D], unit rows.
        folder: Where `image_vectors` is mapped from; None: it is in memory.
    """

    text_sd: Tensor
    image_sum_sd: Tensor
    num_images_s: Tensor
    image_offsets: Tensor
    image_row: Tensor
    image_subreddit: Tensor
    image_key: Tensor
    image_vectors: Tensor
    folder: Path | None = None

    @property
    def clip_dim(self) -> int:
        """D."""
        return int(self.text_sd.shape[1])

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy`; vectors that are mapped are linked to."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            source = self.folder if name == VECTORS else None
            if source is None or not link_array(source, folder, name):
                np.save(folder / f"{name}.npy", getattr(self, name).numpy())

    @staticmethod
    def open(folder: Path) -> Features:
        """Map what `save` wrote."""
        arrays: dict[str, Any] = {name: map_array(folder / f"{name}.npy") for name in ARRAYS}
        return Features(**arrays, folder=folder)

    def to(self, device: torch.device) -> Features:
        """On another device, but for vectors that would fill it."""
        names = (name for name in ARRAYS if name != VECTORS)
        arrays: dict[str, Any] = {name: getattr(self, name).to(device) for name in names}
        return Features(**arrays, image_vectors=moved(self.image_vectors, device))

    def image_counts(self) -> Tensor:
        """int64 [U]: images of each user."""
        return self.image_offsets[1:] - self.image_offsets[:-1]

    def images_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """(position in `users`, image row) of every image of theirs, int64."""
        starts = self.image_offsets[users]
        return expand_ranges(starts, self.image_offsets[users + 1] - starts)

    def vectors_of(self, image: Tensor) -> Tensor:
        """float32 [N, D] of these images, where they are asked for."""
        return gathered(self.image_vectors, self.image_row[image]).to(torch.float32)

    def image_users(self) -> Tensor:
        """int64 [M]: whose each image is."""
        return torch.repeat_interleave(
            torch.arange(len(self.image_offsets) - 1), self.image_counts()
        )

    def keep_images(self, keep: Tensor) -> Features:
        """Without the images where `keep` (bool [M]) is false: gone from users and subreddits."""
        posted = torch.nonzero(~keep & (self.image_subreddit >= 0))[:, 0]
        places = self.image_subreddit[posted]
        sums = self.image_sum_sd.clone()
        for part in posted.split(IMAGES_AT_ONCE):
            sums.index_add_(0, self.image_subreddit[part], self.vectors_of(part), alpha=-1)
        counts = self.num_images_s - torch.bincount(places, minlength=len(self.num_images_s))
        kept = torch.bincount(self.image_users()[keep], minlength=len(self.image_offsets) - 1)
        return replace(
            self,
            image_sum_sd=sums,
            num_images_s=counts,
            image_offsets=torch.cat([torch.zeros(1, dtype=torch.int64), kept.cumsum(0)]),
            image_row=self.image_row[keep],
            image_subreddit=self.image_subreddit[keep],
            image_key=self.image_key[keep],
        )

    def image_edges(self, graph: GraphStore) -> Tensor:
        """int64 [M]: edge (order of `graph.by_user`) that each image was posted along, or -1."""
        by_user, width = graph.by_user, graph.num_subreddits
        degrees, counts = by_user.degrees(), self.image_counts()
        found = torch.full_like(self.image_subreddit, -1)
        for start, stop in by_user.ranges():  # Pairs of all edges would not fit in memory.
            first, last = by_user.offsets[start], by_user.offsets[stop]
            here = slice(int(self.image_offsets[start]), int(self.image_offsets[stop]))
            place, users = self.image_subreddit[here], torch.arange(start, stop)
            if first == last or not len(place):
                continue
            edges = torch.repeat_interleave(users, degrees[start:stop]) * width
            edges += by_user.afresh().neighbours[first:last]
            wanted = torch.repeat_interleave(users, counts[start:stop]) * width + place
            at = torch.searchsorted(edges, wanted).clamp(max=len(edges) - 1)
            found[here] = torch.where((edges[at] == wanted) & (place >= 0), at + first, -1)
        return found


def moved(table: Tensor, device: torch.device) -> Tensor:
    """The table on a device; where it is if it would fill the device."""
    return table if table.nbytes > MAX_DEVICE_BYTES else table.to(device)


def gathered(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table that may be elsewhere, on the device of `rows`."""
    return table[rows.to(table.device)].to(rows.device)


def load_features(run: Run, graph: GraphStore, folder: Path | None = None) -> Features:
    """Read the tables of stage 2 and align them with the graph.

    Args:
        run, graph: What is read.
        folder: Where the images' vectors are written and mapped; None: they are held in memory.

    Raises:
        MissingInputError: A table was not published.
        ContractError: Vectors of different lengths, or image sums that lack a user's own images.
    """
    text, sums, counts = _subreddit_arrays(run, graph)
    posted = _postings(run, graph)
    vectors, row_M = _image_vectors(run, posted["image_key"].to_numpy(), text.shape[1], folder)
    posted = posted.with_columns(row=row_M).filter(pl.col("row") >= 0)
    per_user = np.bincount(posted["user_index"].to_numpy(), minlength=graph.num_users)
    features = Features(
        text_sd=torch.from_numpy(text),
        image_sum_sd=torch.from_numpy(sums),
        num_images_s=torch.from_numpy(counts),
        image_offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(per_user)])),
        image_row=torch.from_numpy(posted["row"].to_numpy(writable=True)),
        image_subreddit=torch.from_numpy(posted["subreddit_index"].to_numpy(writable=True)),
        image_key=torch.from_numpy(posted["image_key"].to_numpy(writable=True)),
        image_vectors=vectors,
        folder=folder,
    )
    check_sums(features)
    return features


def load_subreddit_features(run: Run, graph: GraphStore) -> Features:
    """The subreddits' part alone, without single images: all that inference reads."""
    text, sums, counts = _subreddit_arrays(run, graph)
    none = torch.zeros(0, dtype=torch.int64)
    return Features(
        text_sd=torch.from_numpy(text),
        image_sum_sd=torch.from_numpy(sums),
        num_images_s=torch.from_numpy(counts),
        image_offsets=torch.zeros(graph.num_users + 1, dtype=torch.int64),
        image_row=none,
        image_subreddit=none,
        image_key=none,
        image_vectors=torch.zeros(0, text.shape[1], dtype=torch.float16),
    )


def no_features(graph: GraphStore) -> Features:
    """Nobody shows or says anything: for graphs whose contents are unknown, or not to be used."""
    none = torch.zeros(0, dtype=torch.int64)
    return Features(
        text_sd=torch.zeros(graph.num_subreddits, 1),
        image_sum_sd=torch.zeros(graph.num_subreddits, 1),
        num_images_s=torch.zeros(graph.num_subreddits, dtype=torch.int64),
        image_offsets=torch.zeros(graph.num_users + 1, dtype=torch.int64),
        image_row=none,
        image_subreddit=none,
        image_key=none,
        image_vectors=torch.zeros(0, 1, dtype=torch.float16),
    )


def check_sums(features: Features) -> None:
    """Nothing, if every subreddit's sum holds at least the images known to be posted there.

    Raises:
        ContractError: It does not; taking a user's own images out of it would be wrong.
    """
    posted = features.image_subreddit[features.image_subreddit >= 0]
    known = torch.bincount(posted, minlength=len(features.num_images_s))
    short = int((known > features.num_images_s).sum())
    if short:
        raise ContractError(
            f"subreddit_features counts fewer images than user_images in {short} subreddits; "
            "run subreddit_features again on the same user_images"
        )


def _subreddit_arrays(
    run: Run, graph: GraphStore
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    table = pl.DataFrame(SUBREDDIT_FEATURES.read(run)).join(
        pl.read_parquet(graph.folder / "subreddit_index.parquet"), on="subreddit"
    )
    rows = table["subreddit_index"].to_numpy()
    found_text = vector_rows(table["text_embedding"], np.float32)
    text = np.zeros((graph.num_subreddits, found_text.shape[1]), dtype=np.float32)
    sums = np.zeros_like(text)
    counts = np.zeros(graph.num_subreddits, dtype=np.int64)
    text[rows] = found_text
    sums[rows] = vector_rows(table["image_sum"], np.float32)
    counts[rows] = table["num_images"].to_numpy()
    return text, sums, counts


def _postings(run: Run, graph: GraphStore) -> pl.DataFrame:
    """user_index, subreddit_index (-1: not in the graph) and image_key of images not held out, by
    user, then by image."""
    subreddits = pl.read_parquet(graph.folder / "subreddit_index.parquet")
    names = ("user_index", "subreddit_index", "image_key")
    parts = [pl.DataFrame(schema=dict.fromkeys(names, pl.Int64))]
    posted = USER_IMAGES.dataset(run).to_batches(
        columns=["user_id", "image_id", "subreddit"],
        filter=~pc.field("heldout"),
        batch_size=POSTINGS_AT_ONCE,
    )
    for batch in posted:
        rows = (
            with_user_index(pl.DataFrame(batch), graph)
            .join(subreddits, on="subreddit", how="left")
            .with_columns(pl.col("subreddit_index").fill_null(-1))
            .sort("user_index", "image_id")
        )
        key = pl.Series("image_key", hash_strings(rows["image_id"].to_list()))
        parts.append(rows.with_columns(key).select(names))
    return pl.concat(parts).sort("user_index", maintain_order=True)


def with_user_index(rows: pl.DataFrame, graph: GraphStore) -> pl.DataFrame:
    """The rows of users in the graph, with their `user_index`; of the names in the graph, which are
    sorted, no more are read than those between the first and the last of the rows."""
    first, last = pl.lit(rows["user_id"].min()), pl.lit(rows["user_id"].max())
    between = pl.col("user_id").is_between(first, last)
    names = pl.scan_parquet(graph.folder / "user_index.parquet").filter(between)
    return rows.join(names.collect(), on="user_id")


def _image_vectors(
    run: Run, key_M: npt.NDArray[np.int64], dim: int, folder: Path | None
) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """(vectors float16 [A, D] of the images that were had, row of each key or -1), file by file."""
    wanted = np.unique(key_M)
    row_of = np.full(len(wanted), -1, dtype=np.int64)
    path, shape = folder and folder / f"{VECTORS}.npy", (len(wanted), dim)
    if path is None or not len(wanted):
        vectors = np.empty(shape, dtype=np.float16)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        vectors = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    num = 0
    for file in IMAGE_EMBEDDINGS.dataset(run).files if len(wanted) else ():
        table = pq.read_table(file, columns=["image_id", "status", "embedding"])
        table = table.filter(pc.equal(table["status"], "ok"))
        keys = hash_strings(table["image_id"].to_pylist())
        at = np.searchsorted(wanted, keys).clip(max=len(wanted) - 1)
        here = np.flatnonzero(wanted[at] == keys)
        if not len(here):
            continue
        found = vector_rows(pl.DataFrame(table)["embedding"], np.float16)[here]
        if found.shape[1] != dim:
            raise ContractError(
                f"image_embeddings have {found.shape[1]} dimensions, subreddit_features "
                f"{dim}; make both with one CLIP"
            )
        vectors[num : num + len(here)] = found
        row_of[at[here]] = np.arange(num, num + len(here))
        num += len(here)
    row_M = row_of[np.searchsorted(wanted, key_M)]
    if path is None or not len(wanted):
        return torch.from_numpy(vectors[:num]), row_M
    # Mapped anew, the pages that were written are the system's, no longer this process's.
    del vectors
    return map_array(path), row_M


def vector_rows(column: pl.Series, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """[rows, D] of a column of fixed-size lists."""
    flat = column.explode(empty_as_null=False).to_numpy()
    width = column.dtype.shape[0]  # type: ignore[attr-defined]
    return np.array(flat, dtype=dtype).reshape(-1, width)
