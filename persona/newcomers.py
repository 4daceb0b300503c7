"""A user that no run has seen: subreddits and images in, evidence to verbalize out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from embed.clip import Clip, unit_rows
from embed.decode import Decoded, decode
from graph.new_user import Activity, NewUser, NewUserEncoder, embed_new_user
from persona.assemble import ShardInputs, assemble
from persona.config import EvidenceConfig
from persona.items import UserEvidence, group_users
from persona.neighbours import Anchors
from persona.taste import Populations, TagVocabulary
from pipelines.contract import ContractError
from pipelines.tables import SNIPPETS

MAX_PIXELS = 40_000_000
NEW_USER = "new"

Vector = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a new user did in one subreddit.

    Args:
        subreddit: Lower case, no r/.
        submissions, comments: At least one in all.
        last_utc: Epoch seconds; None: as recent as anything that training saw.
    """

    subreddit: str
    submissions: int
    comments: int
    last_utc: int | None


@dataclass(frozen=True, kw_only=True)
class Newcomers:
    """All that evidence of new users takes; loaded once.

    Args:
        is_of_store: Whether the encoder is the one that the visible personas were embedded by.
    """

    encoder: NewUserEncoder
    vocabulary: TagVocabulary
    populations: Populations
    config: EvidenceConfig
    anchors: Anchors | None = None
    is_of_store: bool = True

    def embed(self, visits: Sequence[Visit], image: Vector | None, num_images: int) -> NewUser:
        """Embedding, attention and unknown subreddits.

        Raises:
            ContractError: No known subreddit among them.
        """
        now_utc = self.encoder.trained.clock.now_utc
        return embed_new_user(
            self.encoder, [_activity(visit, now_utc) for visit in visits], image, num_images or 1
        )

    def evidence(self, user: NewUser, has_images: bool) -> UserEvidence:
        """What may be said of an embedded user; no items where nothing may."""
        salient = pl.DataFrame(
            {
                "user_id": [NEW_USER] * len(user.attention),
                "subreddit": list(user.attention),
                "rank": range(len(user.attention)),
                "attention": list(user.attention.values()),
            },
            schema_overrides={"rank": pl.Int16, "attention": pl.Float32},
        )
        snippets = pl.from_arrow(SNIPPETS.empty())
        assert isinstance(snippets, pl.DataFrame)
        inputs = ShardInputs(
            user_ids=[NEW_USER],
            clip=user.clip_embedding[None],
            z=user.embedding[None],
            has_images=np.array([has_images]),
            salient=salient,
            snippets=snippets,
            images=_no_images(),
            image_vectors=np.zeros((0, len(user.clip_embedding)), np.float32),
        )
        assembled = assemble(inputs, self.vocabulary, self.populations, self.config, self.anchors)
        return next(group_users(assembled.evidence), UserEvidence(NEW_USER, ()))


def image_mean(clip: Clip, bodies: Sequence[bytes]) -> Vector | None:
    """v_u of some pictures, unit; None without any.

    Raises:
        ContractError: One of them is no picture, or too large.
    """
    pictures = []
    for place, body in enumerate(bodies):
        decoded = decode(body, MAX_PIXELS, clip.image_px)
        if not isinstance(decoded, Decoded):
            raise ContractError(f"images.{place}: {decoded.value}; expected a JPEG, PNG or WebP")
        pictures.append(decoded.picture)
    return unit_rows(clip.encode_images(pictures).mean(axis=0)[None])[0] if pictures else None


def _activity(visit: Visit, now_utc: int) -> Activity:
    last_utc = now_utc if visit.last_utc is None else visit.last_utc
    return Activity(
        subreddit=visit.subreddit,
        active_month=datetime.fromtimestamp(last_utc, UTC).strftime("%Y-%m"),
        num_submissions=visit.submissions,
        num_comments=visit.comments,
        score=visit.submissions + visit.comments,  # one point each, as Reddit gives
        first_utc=last_utc,
        last_utc=last_utc,
    )


def _no_images() -> pl.DataFrame:
    texts = ("user_id", "image_id", "url", "subreddit")
    return pl.DataFrame(schema={**dict.fromkeys(texts, pl.String), "phash": pl.UInt64})
