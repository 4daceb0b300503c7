"""What nodes look like: tables of stage 2, aligned with the graph's indices, as mapped arrays.

Images come one by one, because what a user may see of them changes from step to step: which of
their own images are input and which target, and whose images a subreddit's mean may hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from embed.tables import IMAGE_EMBEDDINGS, SUBREDDIT_FEATURES, USER_IMAGES
from graph.counter_random import hash_strings
from graph.csr import expand_ranges, map_array
from graph.store import GraphStore
from pipelines.contract import ContractError, Run

ARRAYS = (
    "text_sd",
    "image_sum_sd",
    "num_images_s",
    "image_offsets",
    "image_vectors",
    "image_subreddit",
    "image_key",
)


@dataclass(frozen=True, kw_only=True)
class Features:
    """Contents of subreddits and images of users.

    Axes: U users, S subreddits, D dimensions of CLIP, M images that are not held out.

    Args:
        text_sd: float32 [S, D], unit rows, zeros where unknown.
        image_sum_sd: float32 [S, D], sum of the unit vectors of a subreddit's images.
        num_images_s: int64 [S], images in the sum.
        image_offsets: int64 [U + 1]: images of user u are rows offsets[u] to offsets[u + 1] below.
        image_vectors: float16 [M, D], unit rows.
        image_subreddit: int64 [M], where it was posted; -1: not in the graph.
        image_key: int64 [M], hash of its id.
    """

    text_sd: Tensor
    image_sum_sd: Tensor
    num_images_s: Tensor
    image_offsets: Tensor
    image_vectors: Tensor
    image_subreddit: Tensor
    image_key: Tensor

    @property
    def clip_dim(self) -> int:
        """D."""
        return int(self.text_sd.shape[1])

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name).numpy())

    @staticmethod
    def open(folder: Path) -> Features:
        """Map what `save` wrote."""
        return Features(**{name: map_array(folder / f"{name}.npy") for name in ARRAYS})

    def to(self, device: torch.device) -> Features:
        """On another device."""
        return Features(**{name: getattr(self, name).to(device) for name in ARRAYS})

    def image_counts(self) -> Tensor:
        """int64 [U]: images of each user."""
        return self.image_offsets[1:] - self.image_offsets[:-1]

    def images_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """(position in `users`, image row) of every image of theirs, int64."""
        starts = self.image_offsets[users]
        return expand_ranges(starts, self.image_offsets[users + 1] - starts)

    def image_users(self) -> Tensor:
        """int64 [M]: whose each image is."""
        return torch.repeat_interleave(
            torch.arange(len(self.image_offsets) - 1), self.image_counts()
        )

    def keep_images(self, keep: Tensor) -> Features:
        """Without the images where `keep` (bool [M]) is false: gone from users and subreddits."""
        posted = ~keep & (self.image_subreddit >= 0)
        places = self.image_subreddit[posted]
        sums = self.image_sum_sd.clone()
        sums.index_add_(0, places, self.image_vectors[posted].to(torch.float32), alpha=-1)
        counts = self.num_images_s - torch.bincount(places, minlength=len(self.num_images_s))
        kept = torch.bincount(self.image_users()[keep], minlength=len(self.image_offsets) - 1)
        return replace(
            self,
            image_sum_sd=sums,
            num_images_s=counts,
            image_offsets=torch.cat([torch.zeros(1, dtype=torch.int64), kept.cumsum(0)]),
            image_vectors=self.image_vectors[keep],
            image_subreddit=self.image_subreddit[keep],
            image_key=self.image_key[keep],
        )

    def image_edges(self, graph: GraphStore) -> Tensor:
        """int64 [M]: edge (order of `graph.by_user`) that each image was posted along, or -1."""
        width = graph.num_subreddits
        edges = graph.by_user.rows_of_edges() * width + graph.by_user.neighbours
        wanted = self.image_users() * width + self.image_subreddit
        at = torch.searchsorted(edges, wanted).clamp(max=len(edges) - 1)
        found = (edges[at] == wanted) & (self.image_subreddit >= 0)
        return torch.where(found, at, -1)


def load_features(run: Run, graph: GraphStore) -> Features:
    """Read the tables of stage 2 and align them with the graph.

    Raises:
        MissingInputError: A table was not published.
        ContractError: Vectors of different lengths, or image sums that lack a user's own images.
    """
    text, sums, counts = _subreddit_arrays(run, graph)
    images = _image_rows(run, graph)
    vectors = _vectors(images["embedding"], np.float16)
    if len(vectors) and vectors.shape[1] != text.shape[1]:
        raise ContractError(
            f"image_embeddings have {vectors.shape[1]} dimensions, subreddit_features "
            f"{text.shape[1]}; make both with one CLIP"
        )
    per_user = np.bincount(images["user_index"].to_numpy(), minlength=graph.num_users)
    features = Features(
        text_sd=torch.from_numpy(text),
        image_sum_sd=torch.from_numpy(sums),
        num_images_s=torch.from_numpy(counts),
        image_offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(per_user)])),
        image_vectors=torch.from_numpy(vectors.reshape(-1, text.shape[1])),
        image_subreddit=torch.from_numpy(images["subreddit_index"].to_numpy().copy()),
        image_key=torch.from_numpy(hash_strings(images["image_id"].to_list())),
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
        image_vectors=torch.zeros(0, text.shape[1], dtype=torch.float16),
        image_subreddit=none,
        image_key=none,
    )


def no_features(graph: GraphStore) -> Features:
    """Nobody shows or says anything: for graphs whose contents are unknown, or not to be used."""
    none = torch.zeros(0, dtype=torch.int64)
    return Features(
        text_sd=torch.zeros(graph.num_subreddits, 1),
        image_sum_sd=torch.zeros(graph.num_subreddits, 1),
        num_images_s=torch.zeros(graph.num_subreddits, dtype=torch.int64),
        image_offsets=torch.zeros(graph.num_users + 1, dtype=torch.int64),
        image_vectors=torch.zeros(0, 1, dtype=torch.float16),
        image_subreddit=none,
        image_key=none,
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
    found_text = _vectors(table["text_embedding"], np.float32)
    text = np.zeros((graph.num_subreddits, found_text.shape[1]), dtype=np.float32)
    sums = np.zeros_like(text)
    counts = np.zeros(graph.num_subreddits, dtype=np.int64)
    text[rows] = found_text
    sums[rows] = _vectors(table["image_sum"], np.float32)
    counts[rows] = table["num_images"].to_numpy()
    return text, sums, counts


def _image_rows(run: Run, graph: GraphStore) -> pl.DataFrame:
    """Index, place, image_id and embedding of images not held out, sorted by user and image."""
    posted = pl.DataFrame(USER_IMAGES.read(run)).filter(~pl.col("heldout"))
    vectors = pl.DataFrame(IMAGE_EMBEDDINGS.read(run, ["image_id", "status", "embedding"]))
    users = pl.read_parquet(graph.folder / "user_index.parquet")
    subreddits = pl.read_parquet(graph.folder / "subreddit_index.parquet")
    return (
        posted.join(vectors.filter(pl.col("status") == "ok"), on="image_id")
        .join(users, on="user_id")
        .join(subreddits, on="subreddit", how="left")
        .with_columns(pl.col("subreddit_index").fill_null(-1))
        .sort("user_index", "image_id")
    )


def _vectors(column: pl.Series, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """[rows, D] of a column of fixed-size lists."""
    flat = column.explode(empty_as_null=False).to_numpy()
    width = column.dtype.shape[0]  # type: ignore[attr-defined]
    return np.array(flat, dtype=dtype).reshape(-1, width)
