from pathlib import Path

import numpy as np
import polars as pl
import pytest

from embed.clip import clip_identity, load_clip, unit_rows
from embed.config import EmbedResources, ProductsConfig
from embed.products import subreddit_features, visual_targets
from embed.tables import (
    HELDOUT_TARGETS,
    SUBREDDIT_FEATURES,
    TAG_EMBEDDINGS,
    USER_IMAGES,
    VISUAL_TARGETS,
)
from pipelines.contract import ConfigError, Run, Table
from tests.embed.samples import publish, write_embeddings, write_media, write_submissions

CONFIG = ProductsConfig(heldout_share=0.4, min_images_for_holdout=4, seed=3)
# "many" posts 12 images, "few" 2 of them and one of its own, "none" one that was not had.
POSTS = [
    *(("many", "cats" if n % 2 else "sea", n) for n in range(12)),
    *(("few", "cats", n) for n in (0, 1, 20)),
    ("many", "again", 3),
    ("none", "sea", 30),
]
TITLES = [
    (1, "cats", "a kitten in neon tones"),
    (2, "words", "no picture here"),
    (3, "cats", "cat"),
]


def vector(index: int) -> list[float]:
    return [float(v) for v in unit_rows(np.random.default_rng(index).normal(size=(1, 64)))[0]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(root=tmp_path, staging=tmp_path / "staging")
    write_media(made, POSTS[:9], "2019-01")
    write_media(made, POSTS[9:], "2019-02")
    write_submissions(made, TITLES)
    vectors: dict[int, list[float] | str] = {n: vector(n) for n in (*range(12), 20)}
    write_embeddings(made, {**vectors, 30: "not_found"}, clip_identity("tiny").metadata())
    return made


def rows(table: Table, run: Run) -> pl.DataFrame:
    frame = pl.from_arrow(table.read(run))
    assert isinstance(frame, pl.DataFrame)
    return frame


def targets(run: Run) -> None:
    counts = visual_targets(CONFIG, EmbedResources(), run)
    assert (counts.rows_in, counts.rows_out) == (17, 15)
    assert counts.dropped == {"not_had": 1, "posted_again": 1}
    publish(run)


def images_of(run: Run, user: str, heldout: bool) -> list[int]:
    images = rows(USER_IMAGES, run).filter(
        (pl.col("user_id") == user) & (pl.col("heldout") == heldout)
    )
    return [int(image_id, 16) for image_id in images["image_id"]]


def test_targets_are_unit_means_of_the_images_on_their_side(run: Run) -> None:
    targets(run)
    for product, heldout in ((VISUAL_TARGETS, False), (HELDOUT_TARGETS, True)):
        found = rows(product, run)
        for user, embedding, num_images in found.iter_rows():
            images = images_of(run, user, heldout)
            mean = np.mean([vector(image) for image in images], axis=0, keepdims=True)
            np.testing.assert_allclose(embedding, unit_rows(mean)[0], atol=2e-3)
            assert num_images == len(images)
    assert "many" in rows(HELDOUT_TARGETS, run)["user_id"]
    assert "none" not in rows(VISUAL_TARGETS, run)["user_id"]


def test_no_held_out_image_is_in_any_training_side(run: Run) -> None:
    targets(run)
    held = {n for user in ("many", "few") for n in images_of(run, user, True)}
    trained = {n for user in ("many", "few") for n in images_of(run, user, False)}
    assert held and trained and not held & trained


def test_a_subreddits_sum_is_of_what_was_posted_there_and_not_held_out(run: Run) -> None:
    targets(run)
    subreddit_features(CONFIG, EmbedResources(), run)
    publish(run)
    features = rows(SUBREDDIT_FEATURES, run)
    assert features["subreddit"].to_list() == ["cats", "sea", "words"]
    images = rows(USER_IMAGES, run).filter(~pl.col("heldout"))
    for name, _, image_sum, num_images, num_users in features.iter_rows():
        shown = images.filter(pl.col("subreddit") == name)
        total = sum((np.array(vector(int(i, 16))) for i in shown["image_id"]), np.zeros(64))
        np.testing.assert_allclose(image_sum, total, atol=5e-3)
        assert (num_images, num_users) == (shown.height, shown["user_id"].n_unique())


def test_who_posted_what_is_not_held_as_a_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    targets(run)

    def refuse(table: Table, *_: object) -> None:
        raise AssertionError(f"{table.name} was read whole")

    monkeypatch.setattr(Table, "read", refuse)
    subreddit_features(CONFIG, EmbedResources(), run)


def test_taking_out_one_users_images_leaves_those_of_the_others(run: Run) -> None:
    targets(run)
    subreddit_features(CONFIG, EmbedResources(), run)
    publish(run)
    features = rows(SUBREDDIT_FEATURES, run).filter(pl.col("subreddit") == "cats")
    images = rows(USER_IMAGES, run).filter((pl.col("subreddit") == "cats") & ~pl.col("heldout"))
    own = images.filter(pl.col("user_id") == "many")["image_id"]
    others = images.filter(pl.col("user_id") != "many")["image_id"]
    left = np.array(features["image_sum"][0]) - sum(np.array(vector(int(i, 16))) for i in own)
    expected = sum((np.array(vector(int(i, 16))) for i in others), np.zeros(64))
    np.testing.assert_allclose(left, expected, atol=5e-3)


def test_a_subreddits_text_is_the_mean_of_its_name_and_titles(run: Run) -> None:
    targets(run)
    subreddit_features(CONFIG, EmbedResources(), run)
    publish(run)
    clip = load_clip("tiny")
    texts = {"cats": ["cats", "cat", "a kitten in neon tones"], "sea": ["sea"]}
    found = dict(rows(SUBREDDIT_FEATURES, run).select("subreddit", "text_embedding").iter_rows())
    for name, group in texts.items():
        mean = clip.encode_texts(group).mean(axis=0, keepdims=True)
        np.testing.assert_allclose(found[name], unit_rows(mean)[0], atol=1e-5)
    assert rows(TAG_EMBEDDINGS, run).height == 32


def test_a_second_run_gives_the_same_tables(run: Run) -> None:
    targets(run)
    first = [rows(table, run) for table in (USER_IMAGES, VISUAL_TARGETS, HELDOUT_TARGETS)]
    targets(run)
    again = [rows(table, run) for table in (USER_IMAGES, VISUAL_TARGETS, HELDOUT_TARGETS)]
    assert all(a.equals(b) for a, b in zip(first, again, strict=True))


def test_images_made_by_other_weights_are_refused(run: Run) -> None:
    write_embeddings(run, {0: vector(0), 1: vector(1)}, {"clip_weights": "0" * 64})
    targets_only = ProductsConfig(min_images_for_holdout=99)
    visual_targets(targets_only, EmbedResources(), run)
    publish(run)
    with pytest.raises(ConfigError, match="000000000000"):
        subreddit_features(CONFIG, EmbedResources(), run)
