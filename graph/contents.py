"""Features of nodes as the encoder reads them: centred means of images and texts, statistics.

CLIP vectors share a large common part; what tells one from another is their distance from the mean.
So all inputs are centred, by means that belong to the trained encoder (`Centres`).
"""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graph.arrays import ArrayWriter
from graph.csr import map_array
from graph.features import IMAGES_AT_ONCE, Features, gathered, moved
from graph.model import SubredditInputs, UserInputs, unit
from graph.store import GraphStore

IMAGE_PRIOR = 2.0  # Pseudo-images at the mean: the mean of one image is not to be believed.


@dataclass(frozen=True, kw_only=True)
class Centres:
    """Common parts of CLIP vectors.

    Args:
        image_D: float32, mean of all images.
        text_D: float32, mean of the subreddits' texts.
    """

    image_D: Tensor
    text_D: Tensor

    def to(self, device: torch.device) -> Centres:
        """On another device."""
        return Centres(image_D=self.image_D.to(device), text_D=self.text_D.to(device))

    @staticmethod
    def of(features: Features) -> Centres:
        """Means over these features; zeros where there are none."""
        num_texts = (features.text_sd.abs().sum(dim=1) > 0).sum().clamp(min=1)
        return Centres(
            image_D=features.image_sum_sd.sum(dim=0) / features.num_images_s.sum().clamp(min=1),
            text_D=features.text_sd.sum(dim=0) / num_texts,
        )


@dataclass(frozen=True, kw_only=True)
class ImageMeans:
    """What the users who post images post. Only they have a row: most users do not.

    Args:
        row_U: int64 [U], row below; -1 for users without images.
        mean_RD: float32, unit mean of the user's images.
        count_R: int64, images in it.
    """

    row_U: Tensor
    mean_RD: Tensor
    count_R: Tensor

    def to(self, device: torch.device) -> ImageMeans:
        """On another device."""
        return ImageMeans(
            row_U=self.row_U.to(device),
            mean_RD=moved(self.mean_RD, device),
            count_R=self.count_R.to(device),
        )

    @staticmethod
    def of(features: Features, folder: Path | None = None) -> ImageMeans:
        """Means of all of each user's images, in memory, or in mapped files in `folder`."""
        counts = features.image_counts()
        users = torch.nonzero(counts > 0)[:, 0]
        row_U = torch.full((len(counts),), -1, dtype=torch.int64)
        row_U[users] = torch.arange(len(users))
        groups = _of_about(users, counts, IMAGES_AT_ONCE)
        parts = (unit(image_sums(features, part)[0]) for part in groups)
        if folder is None:
            return ImageMeans(row_U=row_U, mean_RD=torch.cat(list(parts)), count_R=counts[users])
        folder.mkdir(parents=True, exist_ok=True)
        with ArrayWriter(folder / "mean.npy", np.float32, features.clip_dim) as means:
            for part in parts:
                means.append(part.numpy())
        np.save(folder / "row.npy", row_U.numpy())
        np.save(folder / "count.npy", counts[users].numpy())
        return ImageMeans.open(folder)

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "row.npy", self.row_U.numpy())
        np.save(folder / "mean.npy", self.mean_RD.numpy())
        np.save(folder / "count.npy", self.count_R.numpy())

    @staticmethod
    def open(folder: Path) -> ImageMeans:
        """Map what `save` wrote."""
        names = {"row_U": "row", "mean_RD": "mean", "count_R": "count"}
        return ImageMeans(**{to: map_array(folder / f"{n}.npy") for to, n in names.items()})

    def centred(self, users: Tensor, centre_D: Tensor) -> tuple[Tensor, Tensor]:
        """(own_image [N, D], float number of images [N]); zeros for users without."""
        row = self.row_U[users]
        has = row >= 0
        image = centre_D.new_zeros(len(users), len(centre_D))
        count = centre_D.new_zeros(len(users))
        image[has] = own_image(gathered(self.mean_RD, row[has]), centre_D)
        count[has] = self.count_R[row[has]].to(torch.float32)
        return image, count


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What does not change from step to step.

    Axes: U users, S subreddits, K statistics.

    Args:
        centres: Taken out of all vectors.
        images: Of users.
        user_stats_UK, subreddit_stats_SK: float32, `graph.stats`.
    """

    centres: Centres
    images: ImageMeans
    user_stats_UK: Tensor
    subreddit_stats_SK: Tensor

    def to(self, device: torch.device) -> Contents:
        """On another device."""
        return Contents(
            centres=self.centres.to(device),
            images=self.images.to(device),
            user_stats_UK=self.user_stats_UK.to(device),
            subreddit_stats_SK=self.subreddit_stats_SK.to(device),
        )

    @staticmethod
    def of(graph: GraphStore, images: ImageMeans, centres: Centres) -> Contents:
        """With the statistics of this graph."""
        return Contents(
            centres=centres,
            images=images,
            user_stats_UK=graph.user_stats,
            subreddit_stats_SK=graph.subreddit_stats,
        )


def own_image(image_ND: Tensor, centre_D: Tensor) -> Tensor:
    """A user's images as an input: unit direction in which their mean leaves the mean image.

    The part along the mean image goes: it is larger the more images are averaged, so a plain
    difference would tell the number of images before anything that they show.

    Args:
        image_ND: float, sums or means of images; rows of zeros stand for no image, and stay.
        centre_D: float, mean image.
    """
    centre_D, image_ND = unit(centre_D), unit(image_ND)
    return unit(image_ND - (image_ND @ centre_D)[:, None] * centre_D)


def image_sums(
    features: Features, users: Tensor, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(sum of unit vectors float32 [B, D], count int64 [B]) of the users' images, or kept ones."""
    owner, image = features.images_of(users)
    if keep is not None:
        owner, image = owner[keep], image[keep]
    sums = torch.zeros(len(users), features.clip_dim, device=users.device)
    sums.index_add_(0, owner, features.vectors_of(image))
    return sums, torch.bincount(owner, minlength=len(users))


def _of_about(users: Tensor, counts: Tensor, num_images: int) -> list[Tensor]:
    """The users in order, in parts of about so many images."""
    before = counts[users].cumsum(0) // num_images
    return list(users.split(before.unique_consecutive(return_counts=True)[1].tolist() or [0]))


def subreddit_inputs(
    features: Features, contents: Contents, subreddits: Tensor, rows: Tensor, without: Tensor
) -> SubredditInputs:
    """Inputs of these subreddits, without the images of the users `without`.

    Args:
        features, contents: Of the graph.
        subreddits: int64 [M], distinct.
        rows: int64 [M], their learned rows.
        without: int64, users; empty at inference.
    """
    sums, counts = features.image_sum_sd[subreddits], features.num_images_s[subreddits].clone()
    _, image = features.images_of(without.unique())
    place = features.image_subreddit[image]
    order = subreddits.argsort()
    slot = torch.searchsorted(subreddits, place, sorter=order).clamp(max=len(subreddits) - 1)
    slot = order[slot]
    here = subreddits[slot] == place
    slot, image = slot[here], image[here]
    sums = sums.index_add(0, slot, features.vectors_of(image), alpha=-1)
    counts -= torch.bincount(slot, minlength=len(subreddits))
    text = features.text_sd[subreddits]
    known_text = text.abs().sum(dim=1, keepdim=True) > 0
    off_centre = sums - counts[:, None] * contents.centres.image_D
    return SubredditInputs(
        row_M=rows,
        text_MD=(text - contents.centres.text_D) * known_text,
        image_MD=off_centre * (counts > 0)[:, None] / (counts[:, None] + IMAGE_PRIOR),
        stats_MK=contents.subreddit_stats_SK[subreddits],
    )


def user_inputs(contents: Contents, users: Tensor) -> UserInputs:
    """Inputs of users with all of their images."""
    image, count = contents.images.centred(users, contents.centres.image_D)
    return UserInputs(stats_NK=contents.user_stats_UK[users], image_ND=image, num_images_N=count)
