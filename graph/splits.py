"""Which edges and users training may see. By hash of names: a growing graph keeps its splits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graph.counter_random import Stream, hash_words, uniform
from graph.csr import Csr, map_array
from graph.sampling import withhold

MIN_TRAINING_EDGES = 3  # A user keeps so many: fewer would test what nothing can predict.


class Split(IntEnum):
    """What an edge is for."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Who is withheld.

    Args:
        edge: int8 [E] of `Split`, in the order of the graph by user.
        inductive: bool [U]; none of these users' edges and images is in training. Their test edges
            are to be predicted from the others.
    """

    edge: Tensor
    inductive: Tensor

    def training_edges(self, by_user: Csr) -> Tensor:
        """bool [E]: edges that messages and targets of training come from."""
        return (self.edge == Split.TRAIN) & ~torch.repeat_interleave(
            self.inductive, by_user.degrees()
        )

    def input_edges(self) -> Tensor:
        """bool [E]: edges that an encoder under evaluation may see, inductive users' included."""
        return self.edge == Split.TRAIN


def split_edges(
    by_user: Csr,
    user_keys: Tensor,
    subreddit_keys: Tensor,
    *,
    validation_share: float,
    test_share: float,
    inductive_share: float,
    seed: int,
) -> Splits:
    """Draw the splits.

    Edges of a user are taken in the order of their hash while the user keeps
    `MIN_TRAINING_EDGES`; so shares are a little below those asked for.

    Args:
        by_user: The whole graph.
        user_keys, subreddit_keys: int64 hashes of the names.
        validation_share, test_share, inductive_share: In [0, 1).
        seed: Of the hashes.
    """
    edge = np.full(by_user.num_edges, Split.TRAIN, dtype=np.int8)
    rows = by_user.afresh()
    withhold(
        rows.offsets.numpy(),
        rows.neighbours.numpy(),
        user_keys.numpy(),
        subreddit_keys.numpy(),
        int(hash_words(Stream.HELDOUT_EDGE, seed)),
        test_share,
        test_share + validation_share,
        MIN_TRAINING_EDGES,
        (Split.TEST.value, Split.VALIDATION.value, edge),
    )
    inductive = uniform(Stream.INDUCTIVE_USER, seed, user_keys) < inductive_share
    return Splits(edge=torch.from_numpy(edge), inductive=inductive)


@dataclass(frozen=True, kw_only=True)
class Given:
    """A split that came with the data; lies in the folder of the graph store.

    Args:
        test: bool [E], edges to predict, in the order of the graph by user.
        new_users: bool [U], users to withhold; all False if none were named.
    """

    test: Tensor
    new_users: Tensor

    @staticmethod
    def read(folder: Path) -> Given | None:
        """What `save` wrote; None if the graph came without a split."""
        if not (folder / "given_test.npy").is_file():
            return None
        return Given(
            test=map_array(folder / "given_test.npy"),
            new_users=map_array(folder / "given_new_users.npy"),
        )

    def names_users_alone(self) -> bool:
        """Whether it says who is withheld, and leaves it to be drawn which edges are."""
        return bool(self.new_users.any()) and not bool(self.test.any())

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        np.save(folder / "given_test.npy", self.test.numpy())
        np.save(folder / "given_new_users.npy", self.new_users.numpy())

    def apply(self, drawn: Splits, inductive_share: float) -> Splits:
        """The given test edges in place of drawn ones; validation stays as drawn from the rest.

        Args:
            drawn: With validation edges alone.
            inductive_share: 0 withholds nobody; else those named, if any were.
        """
        edge = drawn.edge.clone()
        edge[self.test] = int(Split.TEST)
        named = bool(self.new_users.any()) and inductive_share > 0
        return Splits(edge=edge, inductive=self.new_users if named else drawn.inductive)
