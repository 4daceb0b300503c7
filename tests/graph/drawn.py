"""Tiny graphs and features that tests draw by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from graph.csr import Csr
from graph.edges import DECAYED, EDGE_FEATURES
from graph.features import Features


def csr(rows: list[list[int]], decayed: list[float] | None = None) -> Csr:
    """The rows as a graph; its edge features are drawn but for the decayed activity, 1 if None."""
    degrees = torch.tensor([len(row) for row in rows])
    neighbours = torch.tensor([n for row in rows for n in row], dtype=torch.int32)
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(len(neighbours), len(EDGE_FEATURES), generator=generator)
    features[:, DECAYED] = 1.0 if decayed is None else torch.tensor(decayed)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
    return Csr(offsets=offsets, neighbours=neighbours, features=features.half())


def images(
    vectors: Tensor, users: list[int], places: list[int], num_users: int, num_subreddits: int
) -> Features:
    """Features of subreddits whose images are these alone, without texts.

    Args:
        vectors: float [M, D], unit.
        users: Who posted each; ascending.
        places: Where.
        num_users, num_subreddits: Of the graph.
    """
    place = torch.tensor(places)
    counts = torch.bincount(torch.tensor(users), minlength=num_users)
    sums = torch.zeros(num_subreddits, vectors.shape[1]).index_add_(0, place, vectors)
    return Features(
        text_sd=torch.zeros_like(sums),
        image_sum_sd=sums,
        num_images_s=torch.bincount(place, minlength=num_subreddits),
        image_offsets=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        image_row=torch.arange(len(vectors)),
        image_subreddit=place,
        image_key=torch.arange(len(vectors)) * 7919 + 1,
        image_vectors=vectors.to(torch.float16),
    )
