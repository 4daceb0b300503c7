"""Users through a trained encoder: rows of the output tables, and users that no graph knows yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from graph.checkpoint import STATES_FILE, TrainedEncoder, load_encoder, load_states
from graph.contents import Contents, own_image, user_inputs
from graph.edges import edge_features
from graph.encode import EncodedUsers, SubredditStates, encode_users
from graph.model import Neighbourhood, UserInputs
from graph.stats import sample_stats
from graph.store import GraphStore
from graph.tables import SALIENT_SUBREDDITS, USER_EMBEDDINGS
from pipelines.contract import ContractError


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
    names: Sequence[str],
    subreddits: Sequence[str],
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
    embeddings = {
        "user_id": pa.array(names, pa.string()),
        "embedding": vectors(rows.encoded.z_Bd),
        "clip_embedding": vectors(trained.model.clip_embedding(rows.encoded.direction_BD)),
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
    names: Sequence[str],
    subreddits: Sequence[str],
    max_salient: int,
) -> pa.Table:
    """SALIENT_SUBREDDITS of a batch, by attention; shares are over all edges that were read."""
    attention = rows.encoded.attention_BF.masked_fill(~rows.mask_BF, -1.0)
    order = attention.argsort(dim=1, descending=True, stable=True)[:, :max_salient]
    kept = rows.mask_BF.gather(1, order)
    user, rank = kept.nonzero(as_tuple=True)
    edge = rows.edge_BF.gather(1, order)[kept]
    place = graph.by_user.neighbours[edge].tolist()
    table = {
        "user_id": pa.array([names[i] for i in user.tolist()], pa.string()),
        "subreddit": pa.array([subreddits[i] for i in place], pa.string()),
        "rank": pa.array(rank.to(torch.int16).numpy()),
        "attention": pa.array(attention.gather(1, order)[kept].numpy()),
        "num_actions": pa.array(graph.actions[edge].numpy()),
    }
    return SALIENT_SUBREDDITS.check(pa.table(table))


def vectors(x_ND: Tensor) -> pa.FixedSizeListArray:
    """Rows as a column of float32 vectors."""
    flat = pa.array(x_ND.to(torch.float32).contiguous().numpy().ravel())
    return pa.FixedSizeListArray.from_arrays(flat, x_ND.shape[1])


@dataclass(frozen=True, kw_only=True)
class NewUserEncoder:
    """All that embedding a user outside the graph takes; small, and read once.

    Args:
        trained: The encoder.
        states: Layer 1 of the subreddits that training knew, by learned row minus one.
    """

    trained: TrainedEncoder
    states: SubredditStates

    @staticmethod
    def load(checkpoint: Path) -> NewUserEncoder:
        """From the folder of CHECKPOINT.

        Raises:
            MissingInputError: `train_gat` has not run.
        """
        states = load_states(checkpoint / STATES_FILE)
        return NewUserEncoder(trained=load_encoder(checkpoint), states=states)


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What a new user did in one subreddit.

    Args:
        subreddit: Name in lower case.
        num_submissions, num_comments, score: Sums.
        first_utc, last_utc: Epoch seconds.
        months: Calendar months with any activity.
    """

    subreddit: str
    num_submissions: int = 0
    num_comments: int = 1
    score: int = 0
    first_utc: int = 0
    last_utc: int = 0
    months: int = 1


@dataclass(frozen=True, kw_only=True)
class NewUser:
    """A user that was in no graph, as USER_EMBEDDINGS and SALIENT_SUBREDDITS would say.

    Args:
        embedding: float32 [d], unit.
        clip_embedding: float32 [D], unit.
        attention: Share of each known subreddit, the most salient first.
        unknown: Subreddits that the encoder does not know; they count for nothing.
    """

    embedding: npt.NDArray[np.float32]
    clip_embedding: npt.NDArray[np.float32]
    attention: dict[str, float]
    unknown: tuple[str, ...]


def embed_new_user(
    encoder: NewUserEncoder,
    subreddits: Sequence[Activity],
    image: npt.NDArray[np.float32] | None = None,
    half_life_days: float = 90.0,
) -> NewUser:
    """Embed one user from what it did, by one forward pass.

    Args:
        encoder: Loaded once.
        subreddits: Its activity, a subreddit each.
        image: float32 [D], unit, mean of its images; None if it posted none.
        half_life_days: As in GraphConfig.

    Raises:
        ContractError: No activity in any known subreddit, or one named twice.
    """
    names = [a.subreddit for a in subreddits]
    if len(set(names)) != len(names):
        raise ContractError(f"subreddits of a new user: {len(names)} given, some twice; merge them")
    rows = encoder.trained.rows_of(names)
    if not bool((rows > 0).any()):
        raise ContractError(f"none of the {len(names)} subreddits of the new user is known")
    features = torch.from_numpy(edge_features(_as_edges(subreddits, half_life_days)))
    known = rows > 0
    edge_BFE, mask = features[known][None], torch.ones(1, int(known.sum()), dtype=torch.bool)
    model, centre = encoder.trained.model, encoder.trained.centres.image_D
    own = torch.zeros(1, len(centre)) if image is None else torch.from_numpy(image)[None]
    inputs = UserInputs(
        stats_NK=sample_stats(edge_BFE, mask, known.sum()[None]),
        image_ND=own_image(own, centre),
        num_images_N=torch.tensor([0.0 if image is None else 1.0]),
    )
    near = Neighbourhood(slot_RF=rows[known][None] - 1, mask_RF=mask, edge_RFE=edge_BFE)
    with torch.inference_mode():
        encoded = model.gather_subreddits(encoder.states.h_Sd, encoder.states.inputs, inputs, near)
        clip = model.clip_embedding(encoded.direction_BD)
    kept = [name for name, is_known in zip(names, known.tolist(), strict=True) if is_known]
    shares = sorted(
        zip(kept, encoded.attention_BF[0].tolist(), strict=True), key=lambda s: (-s[1], s[0])
    )
    return NewUser(
        embedding=encoded.z_Bd[0].numpy(),
        clip_embedding=clip[0].numpy(),
        attention=dict(shares),
        unknown=tuple(name for name in names if name not in set(kept)),
    )


def _as_edges(subreddits: Sequence[Activity], half_life_days: float) -> pl.DataFrame:
    """As `graph.edges.aggregate`; the clock is the user's last activity."""
    frame = pl.DataFrame([vars(a) for a in subreddits])
    actions = pl.col("num_submissions") + pl.col("num_comments")
    age_days = (pl.col("last_utc").max() - pl.col("last_utc")) / 86_400.0
    return frame.with_columns(
        actions=actions, decayed=actions * 2.0 ** (-age_days / half_life_days)
    )
