"""All nodes through a trained encoder, layer by layer: subreddits once, then users in shards."""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from graph.blocks import Weighting, draw_neighbours
from graph.contents import Contents, subreddit_inputs, user_inputs
from graph.counter_random import Stream, hash_words
from graph.csr import Csr
from graph.features import Features
from graph.model import Encoded, Neighbourhood, SubredditInputs, TasteEncoder, UserInputs

MAX_USERS_PER_SUBREDDIT = 64
MAX_SUBREDDITS_PER_USER = 64
SUBREDDIT_BATCH = 4096
USER_BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class SubredditStates:
    """Subreddits as the second layer reads them.

    Args:
        inputs: Of all S subreddits.
        h_Sd: float, layer 1.
        item_Sd: float, answers of link prediction.
        prior_S: float, their logit for anybody.
    """

    inputs: SubredditInputs
    h_Sd: Tensor
    item_Sd: Tensor
    prior_S: Tensor

    def to(self, device: torch.device) -> SubredditStates:
        """On another device."""
        return SubredditStates(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class EncodedUsers:
    """A batch of users with the edges that were read.

    Args:
        users: int64 [B].
        encoded: The vectors.
        edge_BF, mask_BF: Edges of `by_user` under `encoded.attention_BF`.
    """

    users: Tensor
    encoded: Encoded
    edge_BF: Tensor
    mask_BF: Tensor


@torch.inference_mode()
def encode_subreddits(
    model: TasteEncoder,
    by_subreddit: Csr,
    features: Features,
    contents: Contents,
    *,
    rows: Tensor,
    seed: int,
) -> SubredditStates:
    """Layer 1 for every subreddit, from up to `MAX_USERS_PER_SUBREDDIT` of its users.

    The result is where the model is.

    Args:
        model: In evaluation mode.
        by_subreddit: Edges that are messages.
        features, contents: Of the same edges.
        rows: int64 [S], learned rows by subreddit, 0 for unknown ones.
        seed: Of the sample of users where a subreddit has more.
    """
    nobody = torch.zeros(0, dtype=torch.int64)
    everyone = torch.arange(by_subreddit.num_rows)
    inputs = subreddit_inputs(features, contents, everyone, rows, nobody)
    key = hash_words(Stream.INPUT, seed, 0, 1)
    h, items = [], []
    for part in everyone.split(SUBREDDIT_BATCH):
        edge, mask = draw_neighbours(
            by_subreddit, part, MAX_USERS_PER_SUBREDDIT, weighting=Weighting.UNIFORM, key=key
        )
        ends = by_subreddit.neighbours[edge].to(torch.int64)
        users, slot = ends.unique(return_inverse=True)
        below = Neighbourhood(slot_RF=slot, mask_RF=mask, edge_RFE=by_subreddit.features[edge])
        x_Md = model.describe(inputs.rows(part).to(model.device))
        users_below = user_inputs(contents, users).to(model.device)
        h.append(model.gather_users(x_Md, users_below, below.to(model.device)))
        items.append(model.item_vectors(x_Md, inputs.rows(part).to(model.device)))
    inputs = inputs.to(model.device)
    return SubredditStates(
        inputs=inputs,
        h_Sd=torch.cat(h),
        item_Sd=torch.cat(items),
        prior_S=model.item_prior(inputs),
    )


@torch.inference_mode()
def encode_users(
    model: TasteEncoder,
    states: SubredditStates,
    by_user: Csr,
    *,
    inputs: UserInputs,
    users: Tensor,
    seed: int,
) -> EncodedUsers:
    """Layer 2 for a batch of users. The result is on the CPU.

    Args:
        model: In evaluation mode.
        states: Of all subreddits.
        by_user: Edges that are messages.
        inputs: Of these users.
        users: int64 [B].
        seed: Of the sample of subreddits where a user has more than `MAX_SUBREDDITS_PER_USER`.
    """
    key = hash_words(Stream.INPUT, seed, 0, 0)
    fanout = max(MAX_SUBREDDITS_PER_USER, 4 * model.config.fanouts[0])
    edge, mask = draw_neighbours(by_user, users, fanout, weighting=Weighting.DECAYED, key=key)
    near = Neighbourhood(
        slot_RF=by_user.neighbours[edge].to(torch.int64),
        mask_RF=mask,
        edge_RFE=by_user.features[edge],
    )
    encoded = model.gather_subreddits(
        states.h_Sd, states.inputs, inputs.to(model.device), near.to(model.device)
    )
    encoded = encoded.to(torch.device("cpu"))
    return EncodedUsers(users=users, encoded=encoded, edge_BF=edge, mask_BF=mask)


def encode_all_users(
    model: TasteEncoder,
    states: SubredditStates,
    by_user: Csr,
    contents: Contents,
    *,
    users: Tensor,
    seed: int,
) -> Iterator[EncodedUsers]:
    """Layer 2 for any number of users, a batch at a time."""
    for part in users.split(USER_BATCH):
        inputs = user_inputs(contents, part)
        yield encode_users(model, states, by_user, inputs=inputs, users=part, seed=seed)
