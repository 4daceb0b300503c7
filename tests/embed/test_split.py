from dataclasses import replace

import polars as pl

from embed.config import ProductsConfig
from embed.split import hold_out, is_chosen, user_images

CONFIG = ProductsConfig(heldout_share=0.5, min_images_for_holdout=4, seed=1)
NUM = 40


def posts(*rows: tuple[str, str, str, int]) -> pl.LazyFrame:
    return pl.LazyFrame(
        list(rows), schema=["user_id", "image_id", "subreddit", "created_utc"], orient="row"
    )


def had(*image_ids: str) -> pl.DataFrame:
    return pl.DataFrame({"image_id": image_ids, "picture_id": image_ids})


def many(user: str, count: int) -> pl.DataFrame:
    ids = [f"{n:03d}" for n in range(count)]
    return pl.DataFrame(
        {"user_id": [user] * count, "image_id": ids, "subreddit": ["s"] * count, "picture_id": ids}
    )


def test_an_image_counts_once_a_user_in_the_subreddit_of_its_first_posting() -> None:
    media = posts(
        ("u", "a", "later", 9), ("u", "a", "first", 3), ("v", "a", "other", 1), ("u", "b", "x", 2)
    )
    assert user_images(media, had("a")).rows() == [
        ("u", "a", "first", "a"),
        ("v", "a", "other", "a"),
    ]


def test_the_hash_decides_and_the_seed_changes_it() -> None:
    images = many("u", NUM)
    first = hold_out(images, CONFIG)
    assert first["heldout"].to_list() == [
        is_chosen(picture, CONFIG.heldout_share, CONFIG.seed) for picture in images["picture_id"]
    ]
    assert 10 <= first["heldout"].sum() <= 30
    assert first.equals(hold_out(images, CONFIG))
    assert not first.equals(hold_out(images, replace(CONFIG, seed=2)))


def test_users_with_few_images_keep_them_all() -> None:
    assert not hold_out(many("u", 3), replace(CONFIG, heldout_share=0.99))["heldout"].any()


def test_an_image_held_out_for_one_user_is_held_out_for_all() -> None:
    both = pl.concat([many("many", NUM), many("few", 2)])
    split = hold_out(both, replace(CONFIG, heldout_share=0.99))
    assert split.filter(pl.col("user_id") == "few")["heldout"].all()


def test_copies_of_one_picture_fall_on_one_side() -> None:
    images = many("u", NUM).with_columns(picture_id=pl.lit("same"))
    for seed in range(8):
        assert hold_out(images, replace(CONFIG, seed=seed))["heldout"].n_unique() == 1


def test_more_images_do_not_move_those_there_are() -> None:
    before, after = hold_out(many("u", 10), CONFIG), hold_out(many("u", NUM), CONFIG)
    assert after["heldout"].head(10).equals(before["heldout"])


def test_the_share_is_about_what_was_asked() -> None:
    chosen = sum(is_chosen(str(n), 0.25, 7) for n in range(4000))
    assert 0.22 < chosen / 4000 < 0.28
    assert not any(is_chosen(str(n), 0.0, 7) for n in range(100))
