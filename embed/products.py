"""Steps: MEDIA, SUBMISSIONS and IMAGE_EMBEDDINGS -> what users and subreddits look like in CLIP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from embed.clip import Clip, Texts, load_clip, unit_rows
from embed.config import EmbedResources, ProductsConfig
from embed.remote import RemoteTexts
from embed.split import hold_out, user_images
from embed.sums import GroupSums, pictures_had, sum_by_group, weights_of
from embed.tables import (
    HELDOUT_TARGETS,
    IMAGE_EMBEDDINGS,
    SUBREDDIT_FEATURES,
    TAG_EMBEDDINGS,
    USER_IMAGES,
    VISUAL_TARGETS,
)
from embed.tags import load_vocabulary, tag_embeddings
from embed.titles import pick_titles, subreddit_texts
from pipelines.contract import ConfigError, Counts, Run, Table
from pipelines.tables import MEDIA, SUBMISSIONS

# Subreddits whose texts are encoded at once: bounds memory, changes nothing.
BLOCK_SUBREDDITS = 2048


def visual_targets(config: ProductsConfig, resources: EmbedResources, run: Run) -> Counts:
    """Step: MEDIA, IMAGE_EMBEDDINGS -> USER_IMAGES, VISUAL_TARGETS, HELDOUT_TARGETS.

    Rows in are those of MEDIA. Images that were not had are dropped, and so is each further
    posting of an image by the same user.
    """
    media = pl.scan_parquet(MEDIA.dataset(run).files, hive_partitioning=False)
    files = IMAGE_EMBEDDINGS.dataset(run).files
    weights_of(files)
    pictures = pictures_had(files)
    images = hold_out(user_images(media, pictures), config)
    num_media = media.select(pl.len()).collect().item()
    num_had = (
        media.join(pictures.lazy(), on="image_id", how="semi").select(pl.len()).collect().item()
    )

    table = images.select(USER_IMAGES.schema.names).to_arrow().cast(USER_IMAGES.schema)
    USER_IMAGES.write(run.staged(USER_IMAGES), table)
    written = {USER_IMAGES.name: images.height}
    for product, heldout in ((VISUAL_TARGETS, False), (HELDOUT_TARGETS, True)):
        part = images.lazy().filter(pl.col("heldout") == heldout)
        blocks = sum_by_group(part.select("image_id", group="user_id"), files)
        written[product.name] = write_targets(product, blocks, run)
    return Counts(
        rows_in=num_media,
        rows_out=images.height,
        dropped={"not_had": num_media - num_had, "posted_again": num_had - images.height},
        written=written,
        metrics={"num_heldout": float(images["heldout"].sum())},
    ).assert_balanced()


def write_targets(product: Table, blocks: Iterable[GroupSums], run: Run) -> int:
    """Write the unit means of users, a file a block; the number of users."""
    num_users = 0
    for index, sums in enumerate(blocks):
        columns = {
            "user_id": pa.array(sums.groups, pa.string()),
            "embedding": vectors(unit_rows(sums.totals)),
            "num_images": pa.array(sums.counts, pa.int32()),
        }
        product.write(run.staged(product), pa.table(columns), f"part-{index:05d}")
        num_users += len(sums.groups)
    return num_users


def subreddit_features(
    config: ProductsConfig,
    resources: EmbedResources,
    run: Run,
    load: Callable[..., Clip] = load_clip,
) -> Counts:
    """Step: SUBMISSIONS, USER_IMAGES, IMAGE_EMBEDDINGS -> SUBREDDIT_FEATURES, TAG_EMBEDDINGS.

    An image counts once for each user who posted it, so that taking out one user's images leaves
    exactly those of the others.

    Raises:
        ConfigError: The images were embedded by other weights than `config.clip` names.
    """
    files = IMAGE_EMBEDDINGS.dataset(run).files
    clip = text_encoder(config, resources, load)
    require_same_weights(clip, files)
    posted = pl.scan_parquet(USER_IMAGES.dataset(run).files, hive_partitioning=False)
    shown = posted.filter(~pl.col("heldout"))
    sums = GroupSums.joined(sum_by_group(shown.select("image_id", group="subreddit"), files))
    posters = shown.group_by("subreddit").agg(pl.col("user_id").n_unique())
    users = dict(posters.collect(engine="streaming").iter_rows())
    titles, num_submissions = pick_titles(SUBMISSIONS.dataset(run).files, config)
    names = sorted(titles.keys() | set(sums.groups))
    image_SD, count_S = sums.aligned(names)
    text_SD = np.empty((len(names), clip.dim), dtype=np.float32)
    for start in range(0, len(names), BLOCK_SUBREDDITS):
        block = names[start : start + BLOCK_SUBREDDITS]
        texts = [subreddit_texts(name, titles.get(name, [])) for name in block]
        text_SD[start : start + len(block)] = mean_texts(texts, clip)
        run.progress(start + len(block), len(names), "subreddits")
    columns = {
        "subreddit": pa.array(names, pa.string()),
        "text_embedding": vectors(text_SD),
        "image_sum": vectors(image_SD),
        "num_images": pa.array(count_S, pa.int32()),
        "num_users": pa.array([users.get(name, 0) for name in names], pa.int32()),
    }
    metadata = clip.identity.metadata()
    SUBREDDIT_FEATURES.write(run.staged(SUBREDDIT_FEATURES), pa.table(columns), metadata=metadata)
    tags = tag_embeddings(clip, load_vocabulary(config.vocabulary))
    TAG_EMBEDDINGS.write(run.staged(TAG_EMBEDDINGS), tags, metadata=metadata)
    return Counts(
        rows_in=len(names),
        rows_out=len(names),
        written={SUBREDDIT_FEATURES.name: len(names), TAG_EMBEDDINGS.name: tags.num_rows},
        metrics={"num_submissions": float(num_submissions)},
    )


def text_encoder(
    config: ProductsConfig, resources: EmbedResources, load: Callable[..., Clip]
) -> Texts:
    """The model, here on the CPU or in a Ray actor on a GPU: the driver may have none."""
    num_gpus = resources.gpus_per_actor
    load_there = partial(
        load,
        model=config.clip.model,
        pretrained=config.clip.pretrained,
        device="cuda" if num_gpus else "cpu",
        precision=resources.precision,
    )
    return RemoteTexts(load_there, num_gpus) if num_gpus else load_there()


def mean_texts(texts: list[list[str]], clip: Texts) -> NDArray[np.float32]:
    """Unit mean of the unit vectors of each group of texts, [groups, dim]; no group is empty."""
    x_TD = clip.encode_texts([text for group in texts for text in group])
    ends = np.cumsum([len(group) for group in texts])
    return unit_rows(np.stack([rows.mean(axis=0) for rows in np.split(x_TD, ends[:-1])]))


def require_same_weights(clip: Texts, files: Sequence[str]) -> None:
    """Nothing, if the images in `files` were embedded by the weights of `clip`.

    Raises:
        ConfigError: They were not, or by those of several models.
    """
    written = weights_of(files)
    if written != clip.identity.weights_sha256:
        raise ConfigError(
            f"clip.model={clip.identity.model!r} has weights {clip.identity.weights_sha256[:12]}, "
            f"image_embeddings were made by {written[:12] or 'unknown ones'}: give embed_images "
            "and the products the same model"
        )


def vectors(x_ND: NDArray[Any]) -> pa.FixedSizeListArray:
    """Rows as a column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), x_ND.shape[1])
