"""Evidence of one shard of users: subreddits, snippets, tags and images within a budget. Pure.

Flows in: rows of one shard. Flows out: rows of EVIDENCE, users in order, within a user subreddits
by attention, each followed by its snippets, then tags, then images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from persona.budget import (
    IMAGE_TOKENS,
    VISUAL_SHARE,
    divide_budget,
    estimate_tokens,
    within,
)
from persona.config import EvidenceConfig
from persona.demographics import BANDS, band_rows, states_any
from persona.items import IMAGE, SNIPPET, SUBREDDIT, TAG, tag_id
from persona.neighbours import Anchors, neighbour_rows
from persona.privacy import mentions_sensitive, reaches_somebody, sensitive_category
from persona.tables import EVIDENCE
from persona.taste import (
    Floats,
    Populations,
    TagVocabulary,
    image_scores,
    tag_scores,
    top_tags,
)
from persona.topics import is_allowed

_HIDDEN = {"user_id": pl.String, "subreddit": pl.String}
_COLUMNS = EVIDENCE.schema.names
_WEIGHT_DIGITS = 3  # what the evidence hash covers: less would change personas by rounding noise


@dataclass(frozen=True)
class ShardInputs:
    """Rows of one shard of users.

    Args:
        user_ids: Sorted.
        clip: p(z_u), unit rows [U, D], in the order of user_ids.
        z: z_u, unit rows [U, d].
        has_images: v_u was an input of z_u, in the same order.
        salient: Columns of SALIENT_SUBREDDITS.
        snippets: Columns of SNIPPETS.
        images: One row a user and image: user_id, image_id, url, phash, subreddit.
        image_vectors: Their CLIP vectors, unit rows [I, D], in the order of `images`.
        hidden: user_id, subreddit: what was taken out of the above, and may not be inferred either.
        bands: Demographics that may be stated: columns of `persona.demographics.BANDS`.
    """

    user_ids: list[str]
    clip: Floats
    z: Floats
    has_images: NDArray[np.bool_]
    salient: pl.DataFrame
    snippets: pl.DataFrame
    images: pl.DataFrame
    image_vectors: Floats
    hidden: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_HIDDEN))
    bands: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=BANDS))


@dataclass(frozen=True)
class Assembled:
    """Evidence of one shard, and what a rule left out, by rule."""

    evidence: pa.Table
    num_users: int
    dropped: Mapping[str, int]


def assemble(
    inputs: ShardInputs,
    vocabulary: TagVocabulary,
    populations: Populations,
    config: EvidenceConfig,
    anchors: Anchors | None = None,
) -> Assembled:
    """EVIDENCE of one shard; every user's tokens stay within `config.token_budget`.

    Args:
        inputs: Of the shard.
        vocabulary, populations: Tags, and what is usual of them.
        config: Limits.
        anchors: Users that cold ones are compared with; None: nothing is inferred from others.
    """
    allowed = _allowed(inputs.salient)
    tags = tag_rows(inputs, vocabulary, populations, config.tags_per_facet)
    images = image_rows(inputs, config.max_images)
    visual = within(
        pl.concat(
            [tags, images, band_rows(inputs.bands), *_inferred(inputs, allowed, anchors, config)]
        ).sort("user_id", "order", maintain_order=True),
        ["user_id"],
        pl.lit(int(config.token_budget * VISUAL_SHARE)),
    )
    spent = visual.group_by("user_id").agg(spent=pl.col("tokens").sum())
    shares = (
        allowed.sort("user_id", "rank")
        .filter(pl.int_range(pl.len()).over("user_id") < config.max_subreddits)
        .join(spent, on="user_id", how="left")
        .with_columns(budget=config.token_budget - pl.col("spent").fill_null(0).cast(pl.Int64))
    )
    text = pl.col("text")
    harmless = inputs.snippets.filter(~mentions_sensitive(text) & ~reaches_somebody(text))
    harmless = harmless.filter(~states_any(harmless["text"]))
    written = subreddit_rows(divide_budget(shares), harmless)
    rows = pl.concat([written, visual]).sort("user_id", "order", maintain_order=True)
    return Assembled(
        evidence=_evidence(rows),
        num_users=rows["user_id"].n_unique(),
        dropped={
            "sensitive_subreddits": len(inputs.salient) - len(allowed),
            "sensitive_snippets": len(inputs.snippets) - len(harmless),
        },
    )


def subreddit_rows(quotas: pl.DataFrame, snippets: pl.DataFrame) -> pl.DataFrame:
    """Subreddits with their best snippets, each subreddit within its quota.

    Args:
        quotas: user_id, subreddit, rank, attention, quota.
        snippets: Columns of SNIPPETS; the best scored come first, then the newest.
    """
    heads = quotas.select(
        "user_id",
        evidence_id=pl.lit("s:") + pl.col("subreddit"),
        kind=pl.lit(SUBREDDIT),
        subreddit="subreddit",
        facet=pl.lit(None, pl.String),
        text="subreddit",
        weight=pl.col("attention").cast(pl.Float64),
        inferred=pl.lit(False),
        tokens=estimate_tokens(pl.col("subreddit")),
        quota="quota",
        rank=pl.col("rank").cast(pl.Int64),
        place=pl.lit(-1, pl.Int64),
    )
    ordered = snippets.unique("snippet_id", keep="first", maintain_order=True).sort(
        ["user_id", "subreddit", "score", "created_utc", "snippet_id"],
        descending=[False, False, True, True, False],
        nulls_last=[False, False, True, True, False],
    )
    told = (
        ordered.with_columns(place=pl.int_range(pl.len()).over("user_id", "subreddit"))
        .join(quotas, on=["user_id", "subreddit"])
        .select(
            "user_id",
            evidence_id="snippet_id",
            kind=pl.lit(SNIPPET),
            subreddit="subreddit",
            facet=pl.lit(None, pl.String),
            text="text",
            weight=pl.col("attention").cast(pl.Float64),
            inferred=pl.lit(False),
            tokens=estimate_tokens(pl.col("text")),
            quota="quota",
            rank=pl.col("rank").cast(pl.Int64),
            place=pl.col("place").cast(pl.Int64),
        )
    )
    rows = pl.concat([heads, told]).sort("user_id", "rank", "place")
    kept = within(rows, ["user_id", "subreddit"], pl.col("quota"))
    order = pl.col("rank") * 10_000 + pl.col("place") + 1
    return kept.with_columns(order=order).select(*_COLUMNS, "order")


def tag_rows(
    inputs: ShardInputs, vocabulary: TagVocabulary, populations: Populations, per_facet: int
) -> pl.DataFrame:
    """What each user likes more than others do: weight is the z-score over users."""
    z_UT = tag_scores(inputs.clip, inputs.has_images, vocabulary, populations)
    hidden_T = [sensitive_category(tag) is not None for tag in vocabulary.tags]
    z_UT[:, hidden_T] = 0.0
    user_K, tag_K = top_tags(z_UT, vocabulary, per_facet)
    ids = [tag_id(f, t) for f, t in zip(vocabulary.facets, vocabulary.tags, strict=True)]
    frame = pl.DataFrame(
        {
            "user_id": np.array(inputs.user_ids, dtype=object)[user_K].tolist(),
            "evidence_id": [ids[tag] for tag in tag_K.tolist()],
            "facet": [vocabulary.facets[tag] for tag in tag_K.tolist()],
            "text": [vocabulary.tags[tag] for tag in tag_K.tolist()],
            "weight": z_UT[user_K, tag_K],
            "inferred": ~inputs.has_images[user_K],
        },
        schema={
            "user_id": pl.String,
            "evidence_id": pl.String,
            "facet": pl.String,
            "text": pl.String,
            "weight": pl.Float64,
            "inferred": pl.Boolean,
        },
    )
    order = 1_000_000_000 + pl.int_range(pl.len()).over("user_id")
    return frame.with_columns(
        kind=pl.lit(TAG),
        subreddit=pl.lit(None, pl.String),
        tokens=estimate_tokens(pl.col("text")),
        order=order,
    ).select(*_COLUMNS, "order")


def image_rows(inputs: ShardInputs, max_images: int) -> pl.DataFrame:
    """Exemplars: the user's own images nearest p(z_u), near-duplicates once; weight is cosine."""
    index = pl.DataFrame({"user_id": inputs.user_ids}).with_row_index("user_index")
    images = inputs.images.with_row_index("row").join(index, on="user_id", maintain_order="left")
    user_I = images["user_index"].to_numpy().astype(np.int64)
    image_ID = inputs.image_vectors[images["row"].to_numpy()]
    scored = images.with_columns(weight=pl.Series(image_scores(inputs.clip, user_I, image_ID)))
    best = (
        scored.filter(_allowed_mask(scored["subreddit"]))
        .sort("user_id", "weight", "image_id", descending=[False, True, False])
        .unique(["user_id", "phash"], keep="first", maintain_order=True)
        .with_columns(place=pl.int_range(pl.len()).over("user_id"))
        .filter(pl.col("place") < max_images)
    )
    return best.select(
        "user_id",
        evidence_id=pl.lit("i:") + pl.col("image_id").str.head(16),
        kind=pl.lit(IMAGE),
        subreddit="subreddit",
        facet=pl.lit(None, pl.String),
        text="url",
        weight="weight",
        tokens=pl.lit(IMAGE_TOKENS, pl.Int32),
        inferred=pl.lit(False),
        order=2_000_000_000 + pl.col("place"),
    )


def _inferred(
    inputs: ShardInputs, own: pl.DataFrame, anchors: Anchors | None, config: EvidenceConfig
) -> list[pl.DataFrame]:
    if anchors is None:
        return []
    known = pl.concat([own.select(*_HIDDEN), inputs.hidden.select(*_HIDDEN)])
    return [neighbour_rows(inputs.user_ids, inputs.z, known, anchors, config.cold_subreddits)]


def _allowed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(_allowed_mask(rows["subreddit"]))


def _allowed_mask(names: pl.Series) -> pl.Series:
    distinct = names.unique().to_list()
    return names.is_in([name for name in distinct if is_allowed(name)])


def _evidence(rows: pl.DataFrame) -> pa.Table:
    """Rows of EVIDENCE; Arrow's plain strings, whatever polars uses inside."""
    rounded = rows.with_columns(weight=pl.col("weight").round(_WEIGHT_DIGITS).cast(pl.Float32))
    return EVIDENCE.check(rounded.select(_COLUMNS).to_arrow().cast(EVIDENCE.schema))
