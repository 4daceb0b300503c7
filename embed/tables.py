"""Tables of stage 2: images as CLIP vectors, and what users and subreddits look like in CLIP."""

from __future__ import annotations

import pyarrow as pa

from pipelines.contract import Table, column, vector
from pipelines.tables import SUBREDDIT, USER_ID

IMAGE_ARCHIVE = Table(
    name="image_archive",
    doc="input, not made by the pipeline: images that were downloaded before, as Parquet shards",
    key=("url",),
    schema=pa.schema(
        [
            column("url", pa.string(), "canonical url, as in media.url"),
            column("http_status", pa.int16(), "answer of the host: 200, 404, ..."),
            column("content", pa.binary(), "body, whatever it is; empty if none"),
        ]
    ),
)

KEPT_ANSWERS = Table(
    name="kept_answers",
    doc="an archive that a run wrote of what it fetched: IMAGE_ARCHIVE, and what a rerun needs",
    key=("url",),
    schema=pa.schema(
        [
            *IMAGE_ARCHIVE.schema,
            column("outcome", pa.string(), "what the answer meant (embed.outcomes.Outcome)"),
            column("etag", pa.string(), "the host's name for this version; empty if none"),
            column("last_modified", pa.string(), "the host's date of it; empty if none"),
        ]
    ),
)

IMAGE_EMBEDDINGS = Table(
    name="image_embeddings",
    doc="one distinct image; metadata of the files: clip_model, clip_pretrained, clip_weights",
    key=("image_id",),
    schema=pa.schema(
        [
            column("image_id", pa.string(), "as in media"),
            column("status", pa.string(), "ok, or the error class (embed.outcomes.Outcome)"),
            column("phash", pa.uint64(), "64-bit perceptual hash (embed.phash)", nullable=True),
            column("colours", pa.uint64(), "mean colours (embed.phash)", nullable=True),
            column("width", pa.int32(), "pixels", nullable=True),
            column("height", pa.int32(), "pixels", nullable=True),
            column(
                "shared_with",
                pa.string(),
                "near-duplicate whose vector this is; null: its own",
                nullable=True,
            ),
            # Not null where there is no image: pyarrow 25 cannot read nulls of fixed-size lists.
            column("embedding", vector(pa.float16()), "CLIP, unit L2 norm; zeros if not ok"),
        ]
    ),
)

VISUAL_TARGETS = Table(
    name="visual_targets",
    doc="v_u: the images that one user posted, without the held-out ones",
    key=("user_id",),
    schema=pa.schema(
        [
            USER_ID,
            column("embedding", vector(pa.float32()), "mean of unit CLIP vectors, made unit"),
            column("num_images", pa.int32(), "distinct images in the mean"),
        ]
    ),
)

HELDOUT_TARGETS = Table(
    name="heldout_targets",
    doc="images of one user kept for evaluation alone; no later stage but evaluation reads this",
    key=("user_id",),
    schema=VISUAL_TARGETS.schema,
)

USER_IMAGES = Table(
    name="user_images",
    doc="distinct images of each user, with the split that every product obeys",
    key=("user_id", "image_id"),
    schema=pa.schema(
        [
            USER_ID,
            column("image_id", pa.string(), "as in media"),
            SUBREDDIT,
            column("heldout", pa.bool_(), "kept for evaluation: in no target, feature, evidence"),
        ]
    ),
)

SUBREDDIT_FEATURES = Table(
    name="subreddit_features",
    doc="what a subreddit says and shows",
    key=("subreddit",),
    schema=pa.schema(
        [
            SUBREDDIT,
            column("text_embedding", vector(pa.float32()), "CLIP text of name and titles, unit"),
            column(
                "image_sum",
                vector(pa.float32()),
                "sum of unit CLIP vectors of its images, not held out; a sum, so that one user's "
                "own images can be taken out; zeros if none",
            ),
            column("num_images", pa.int32(), "images in the sum"),
            column("num_users", pa.int32(), "users who posted them"),
        ]
    ),
)

TAG_EMBEDDINGS = Table(
    name="tag_embeddings",
    doc="one visual tag of the vocabulary",
    key=("facet", "tag"),
    schema=pa.schema(
        [
            column("facet", pa.string(), "palette, subject, ..."),
            column("tag", pa.string(), "value, readable English"),
            column("embedding", vector(pa.float32()), "CLIP text, ensemble of prompts, unit"),
        ]
    ),
)
