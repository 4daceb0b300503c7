"""Users through a trained encoder: rows of the output tables, and users that no graph knows yet."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from graph.checkpoint import TrainedEncoder
from graph.contents import Contents, user_inputs
from graph.encode import EncodedUsers, SubredditStates, encode_users
from graph.store import GraphStore
from graph.tables import SALIENT_SUBREDDITS, USER_EMBEDDINGS


@dataclass(frozen=True, kw_only=True)
class UserShard:
    """Rows of both output tables for one shard of users."""

    embeddings: pa.Table
    salient: pa.Table


def encode_shard(
    trained: TrainedEncoder,
    states: SubredditStates,
    graph: GraphStore,
    contents: Contents,
    *,
    users: Tensor,
    names: pa.StringArray,
    subreddits: pa.StringArray,
    unseen: Tensor,
    max_salient: int,
    seed: int,
) -> UserShard:
    """Encode users of the graph.

    Args:
        trained: The encoder.
        states: Of all subreddits of the graph.
        graph, contents: All edges, and what users look like.
        users: int64 [B].
        names: Of these users.
        subreddits: All names.
        unseen: bool [B], users that training never saw.
        max_salient: Subreddits kept for each user.
        seed: Of neighbour sampling.
    """
    inputs = user_inputs(contents, users)
    rows = encode_users(trained.model, states, graph.by_user, inputs=inputs, users=users, seed=seed)
    clip_BD = trained.model.clip_embedding(rows.encoded.direction_BD.to(trained.model.device))
    embeddings = {
        "user_id": names,
        "embedding": vectors(rows.encoded.z_Bd),
        "clip_embedding": vectors(clip_BD),
        "num_subreddits": pa.array(graph.by_user.degrees(users).to(torch.int32).numpy()),
        "has_images": pa.array((inputs.num_images_N > 0).numpy()),
        "inductive": pa.array(unseen.numpy()),
    }
    return UserShard(
        embeddings=USER_EMBEDDINGS.check(pa.table(embeddings)),
        salient=salient_rows(rows, graph, names, subreddits, max_salient),
    )


def salient_rows(
    rows: EncodedUsers,
    graph: GraphStore,
    names: pa.StringArray,
    subreddits: pa.StringArray,
    max_salient: int,
) -> pa.Table:
    """SALIENT_SUBREDDITS of a batch, by attention; shares are over all edges that were read."""
    attention = rows.encoded.attention_BF.masked_fill(~rows.mask_BF, -1.0)
    order = attention.argsort(dim=1, descending=True, stable=True)[:, :max_salient]
    kept = rows.mask_BF.gather(1, order)
    user, rank = kept.nonzero(as_tuple=True)
    edge = rows.edge_BF.gather(1, order)[kept]
    place = graph.by_user.neighbours[edge].numpy()
    table = {
        "user_id": names.take(pa.array(user.numpy())),
        "subreddit": subreddits.take(pa.array(place)),
        "rank": pa.array(rank.to(torch.int16).numpy()),
        "attention": pa.array(attention.gather(1, order)[kept].numpy()),
        "num_actions": pa.array(
            graph.actions[graph.by_user.feature_row(edge)].to(torch.int64).numpy()
        ),
    }
    return SALIENT_SUBREDDITS.check(pa.table(table))


def vectors(x_ND: Tensor) -> pa.FixedSizeListArray:
    """Rows as a column of float32 vectors."""
    flat = pa.array(x_ND.to("cpu", torch.float32).contiguous().numpy().ravel())
    return pa.FixedSizeListArray.from_arrays(flat, x_ND.shape[1])
