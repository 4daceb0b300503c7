"""All nodes through a trained encoder, layer by layer: subreddits once, then users in shards."""

# ruff: noqa: N815 - names of arrays end in their axes.
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

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
MAX_SLOTS = 1 << 17  # Of neighbours at once: 0.5 GB, and little is spent on what all share.


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
    device = by_subreddit.device
    nobody = torch.zeros(0, dtype=torch.int64, device=device)
    everyone = torch.arange(by_subreddit.num_rows, device=device)
    inputs = subreddit_inputs(features, contents, everyone, rows, nobody)
    key = hash_words(Stream.INPUT, seed, 0, 1)
    h, items = [], []
    for part in everyone.split(SUBREDDIT_BATCH):
        edge, mask = draw_neighbours(
            by_subreddit, part, MAX_USERS_PER_SUBREDDIT, weighting=Weighting.UNIFORM, key=key
        )
        ends = by_subreddit.neighbours[edge].to(torch.int64)
        users, slot = ends.unique(return_inverse=True)
        below = Neighbourhood(slot_RF=slot, mask_RF=mask, edge_RFE=by_subreddit.edge_features(edge))
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
    """Layer 2 for a batch of users. The result is where the edges are.

    Args:
        model: In evaluation mode.
        states: Of all subreddits.
        by_user: Edges that are messages.
        inputs: Of these users.
        users: int64 [B].
        seed: Of the sample of subreddits, by recent activity, where a user has more than
            `MAX_SUBREDDITS_PER_USER`.
    """
    key = hash_words(Stream.INPUT, seed, 0, 0)
    fanout = max(MAX_SUBREDDITS_PER_USER, 4 * model.config.fanouts[0])
    edge, mask = draw_neighbours(
        by_user, users, fanout, weighting=Weighting.DECAYED, key=key, whole=True
    )
    parts, order = [], []
    for rows, width in _of_like_degree(mask.sum(dim=1), fanout):
        few = edge[rows, :width]
        near = Neighbourhood(
            slot_RF=by_user.neighbours[few].to(torch.int64),
            mask_RF=mask[rows, :width],
            edge_RFE=by_user.edge_features(few),
        )
        encoded = model.gather_subreddits(
            states.h_Sd, states.inputs, inputs.rows(rows).to(model.device), near.to(model.device)
        )
        parts.append(_padded(encoded.to(by_user.device), edge.shape[1]))
        order.append(rows)
    return EncodedUsers(
        users=users, encoded=_in_order(parts, torch.cat(order)), edge_BF=edge, mask_BF=mask
    )


def _of_like_degree(degree: Tensor, widest: int) -> Iterator[tuple[Tensor, int]]:
    """Parts of a batch with neighbourhoods of about one width, so that little of them is masked.

    Yields:
        (int64 positions, width that holds their degrees), at most `MAX_SLOTS` slots at a time.
    """
    width, narrower = 1, -1
    while narrower < widest:
        rows = torch.nonzero((degree > narrower) & (degree <= width))[:, 0]
        for part in rows.split(max(1, MAX_SLOTS // width)):
            if len(part) or not len(degree):
                yield part, width
        width, narrower = 2 * width, width


def _padded(encoded: Encoded, width: int) -> Encoded:
    """With attention over as many neighbours, the further ones masked."""
    missing = (0, width - encoded.attention_BF.shape[1])
    return replace(encoded, attention_BF=torch.nn.functional.pad(encoded.attention_BF, missing))


def _in_order(parts: list[Encoded], order: Tensor) -> Encoded:
    """The parts as one batch, whose row `order[i]` is their i-th."""
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return Encoded(
        **{f.name: torch.cat([getattr(p, f.name) for p in parts])[place] for f in fields(Encoded)}
    )


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
