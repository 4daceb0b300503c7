"""A user that is in no graph -> an embedding, by one forward pass over what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from graph.checkpoint import STATES_FILE, TrainedEncoder, load_encoder, load_states
from graph.contents import own_image
from graph.edges import aggregate, check_interactions, edge_features
from graph.encode import SubredditStates
from graph.model import Neighbourhood, UserInputs
from graph.stats import sample_stats
from graph.store import Clock
from pipelines.contract import ContractError

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NewUserEncoder:
    """All that embedding a user outside the graph takes; read once, then used for anybody.

    Args:
        trained: The encoder.
        states: Layer 1 of the subreddits that training knew, in the order of their rows.
    """

    trained: TrainedEncoder
    states: SubredditStates

    @staticmethod
    def load(checkpoint: Path) -> NewUserEncoder:
        """From the folder of CHECKPOINT.

        Raises:
            MissingInputError: `train_gat` has not run.
        """
        trained = load_encoder(checkpoint)
        return NewUserEncoder(trained=trained, states=load_states(checkpoint / STATES_FILE))


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What a new user did in one subreddit in one month; the columns of INTERACTIONS.

    Args:
        subreddit: Name in lower case.
        active_month: YYYY-MM.
        num_submissions, num_comments, score: Sums.
        first_utc, last_utc: Epoch seconds.
    """

    subreddit: str
    active_month: str
    num_submissions: int
    num_comments: int
    score: int
    first_utc: int
    last_utc: int


@dataclass(frozen=True, kw_only=True)
class NewUser:
    """What USER_EMBEDDINGS and SALIENT_SUBREDDITS would say of the user.

    Args:
        embedding: float32 [d], unit.
        clip_embedding: float32 [D], unit.
        attention: Share of each known subreddit, the most salient first; sums to 1.
        unknown: Subreddits that the encoder does not know; they count for nothing.
    """

    embedding: Vector
    clip_embedding: Vector
    attention: dict[str, float]
    unknown: tuple[str, ...]


def embed_new_user(
    encoder: NewUserEncoder,
    activity: Sequence[Activity],
    image: Vector | None = None,
    num_images: int = 1,
) -> NewUser:
    """Embed one user.

    Args:
        encoder: Loaded once.
        activity: What the user did, in any order.
        image: float32 [D], mean of the CLIP vectors of the user's images; None if it has none.
        num_images: Images in that mean.

    Raises:
        ContractError: No activity in any known subreddit, activity that cannot be, or an image
            vector of the wrong length.
    """
    edges, now_utc = _edges(activity, encoder.trained.clock)
    names = edges["subreddit"].to_list()
    slot = encoder.trained.rows_of(names) - 1
    known = slot >= 0
    if not bool(known.any()):
        raise ContractError(f"none of the {len(names)} subreddits of the new user is known")
    features = edge_features(edges, now_utc, encoder.trained.clock.half_life_days)
    edge_BFE = torch.from_numpy(features).float()[known][None]
    mask = torch.ones(1, int(known.sum()), dtype=torch.bool)
    near = Neighbourhood(slot_RF=slot[known][None], mask_RF=mask, edge_RFE=edge_BFE)
    stats = sample_stats(edge_BFE, mask, mask.sum(dim=1))
    model, states = encoder.trained.model, encoder.states
    with torch.inference_mode():
        inputs = _inputs(encoder.trained, stats, image, num_images)
        encoded = model.gather_subreddits(states.h_Sd, states.inputs, inputs, near)
        clip = model.clip_embedding(encoded.direction_BD)
    kept = [name for name, is_known in zip(names, known.tolist(), strict=True) if is_known]
    shares = zip(kept, encoded.attention_BF[0].tolist(), strict=True)
    return NewUser(
        embedding=encoded.z_Bd[0].numpy(),
        clip_embedding=clip[0].numpy(),
        attention=dict(sorted(shares, key=lambda share: (-share[1], share[0]))),
        unknown=tuple(n for n, is_known in zip(names, known.tolist(), strict=True) if not is_known),
    )


def _edges(activity: Sequence[Activity], clock: Clock) -> tuple[pl.DataFrame, int]:
    """The user's edges as the graph would hold them, sorted by subreddit, and the clock."""
    if not activity:
        raise ContractError("a new user without activity: expected at least one row")
    rows = pl.DataFrame([asdict(row) for row in activity], infer_schema_length=None)
    _, last_utc = check_interactions(rows.lazy())
    now_utc = max(last_utc, clock.now_utc)
    edges = aggregate(rows.with_columns(user_id=pl.lit("")), clock.half_life_days)
    return edges, now_utc


def _inputs(
    trained: TrainedEncoder, stats: Tensor, image: Vector | None, num_images: int
) -> UserInputs:
    dim = trained.model.clip_dim
    if image is not None and image.shape != (dim,):
        raise ContractError(f"image of a new user has shape {image.shape}, expected ({dim},)")
    own = torch.zeros(1, dim) if image is None else torch.from_numpy(image).float()[None]
    return UserInputs(
        stats_NK=stats,
        image_ND=own_image(own, trained.centres.image_D),
        num_images_N=torch.tensor([0.0 if image is None else float(num_images)]),
    )
