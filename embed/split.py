"""Who posted which image, and which images are kept for evaluation alone.

The split goes by picture and not by user: what is held out for one user is in no target, feature
or evidence of anyone, be it posted again by others or under another url.
"""

from __future__ import annotations

import hashlib

import polars as pl

from embed.config import ProductsConfig


def user_images(media: pl.LazyFrame, pictures: pl.DataFrame) -> pl.DataFrame:
    """Distinct (user_id, image_id) with the subreddit of the first posting, sorted.

    Args:
        media: Columns of MEDIA.
        pictures: Images that were had: image_id, picture_id.
    """
    return (
        media.select("user_id", "image_id", "subreddit", "created_utc")
        .join(pictures.lazy(), on="image_id", how="inner")
        .sort("user_id", "image_id", "created_utc", "subreddit")
        .unique(("user_id", "image_id"), keep="first", maintain_order=True)
        .drop("created_utc")
        .collect()
    )


def hold_out(images: pl.DataFrame, config: ProductsConfig) -> pl.DataFrame:
    """`images` with the column `heldout`.

    A picture is held out if its hash says so and one of its posters has at least
    `min_images_for_holdout` images.

    Args:
        images: Columns of `user_images`.
        config: Share, least images, seed.
    """
    enough = pl.len().over("user_id") >= config.min_images_for_holdout
    candidates = images.filter(enough)["picture_id"].unique()
    chosen = [p for p in candidates if is_chosen(p, config.heldout_share, config.seed)]
    return images.with_columns(heldout=pl.col("picture_id").is_in(chosen))


def is_chosen(picture_id: str, share: float, seed: int) -> bool:
    """Whether the hash of (seed, picture) falls into the first `share` of all hashes."""
    digest = hashlib.blake2b(f"{seed}:{picture_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
