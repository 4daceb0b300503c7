"""Rows of one shard, one rule at a time."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from persona.assemble import ShardInputs, image_rows, subreddit_rows, tag_rows
from persona.taste import Populations, TagPopulation, TagVocabulary

QUOTAS = pl.DataFrame(
    {
        "user_id": ["ann", "ann"],
        "subreddit": ["jazz", "chess"],
        "rank": [0, 3],
        "attention": [0.75, 0.25],
        "quota": [50, 30],
    }
)


def snippets(*rows: tuple[str, str, int | None, int]) -> pl.DataFrame:
    """(id, subreddit, score, time) of texts that cost 10 tokens each."""
    schema = {"snippet_id": pl.String, "subreddit": pl.String, "score": pl.Int32}
    frame = pl.DataFrame(rows, schema=schema | {"created_utc": pl.Int64}, orient="row")
    return frame.with_columns(user_id=pl.lit("ann"), text=pl.lit("12345678"))


def inputs(images: pl.DataFrame, vectors: list[list[float]]) -> ShardInputs:
    return ShardInputs(
        user_ids=["ann", "bob"],
        clip=np.eye(2, dtype=np.float32),
        z=np.eye(2, dtype=np.float32),
        has_images=np.array([True, False]),
        salient=pl.DataFrame(),
        snippets=pl.DataFrame(),
        images=images,
        image_vectors=np.array(vectors, np.float16).reshape(-1, 2),
    )


def test_best_scored_then_newest_snippets_fill_the_quota() -> None:
    told = snippets(
        ("t1_old", "jazz", 5, 1),
        ("t1_new", "jazz", 5, 2),
        ("t1_best", "jazz", 9, 1),
        ("t1_unknown", "jazz", None, 9),
        ("t1_minus", "jazz", -3, 9),
        ("t1_far", "golf", 99, 9),
    )
    rows = subreddit_rows(QUOTAS, told)
    assert rows["evidence_id"].to_list() == [
        "s:jazz",
        "t1_best",
        "t1_new",
        "t1_old",
        "t1_minus",
        "s:chess",
    ]
    assert rows["tokens"].to_list() == [9, 10, 10, 10, 10, 10]
    assert rows["weight"].to_list() == [0.75] * 5 + [0.25]


def test_a_snippet_of_two_months_is_told_once() -> None:
    told = snippets(("t1_same", "jazz", 5, 1), ("t1_same", "jazz", 5, 1))
    assert subreddit_rows(QUOTAS, told)["evidence_id"].to_list() == ["s:jazz", "t1_same", "s:chess"]


def test_a_quota_too_small_for_the_name_leaves_the_subreddit_out() -> None:
    poor = QUOTAS.with_columns(quota=pl.Series([50, 8]))
    rows = subreddit_rows(poor, snippets(("t1_a", "chess", 1, 1)))
    assert rows["subreddit"].to_list() == ["jazz"]


def test_tags_are_marked_inferred_without_images_and_sensitive_ones_are_hidden() -> None:
    vocabulary = TagVocabulary(
        ("palette", "palette", "subject"),
        ("neon", "muted", "church"),
        np.array([[1, 0], [0, 1], [0, 1]], np.float32),
    )
    one = TagPopulation(np.zeros(3), np.full(3, 0.5), 10)
    rows = tag_rows(inputs(pl.DataFrame(), []), vocabulary, Populations(one, one), per_facet=2)
    assert rows.select("user_id", "text", "weight", "inferred").rows() == [
        ("ann", "neon", 2.0, False),
        ("bob", "muted", 2.0, True),
    ]


@pytest.mark.parametrize(
    ("max_images", "told"),
    [
        (1, [("ann", "u:d"), ("bob", "u:c")]),
        (2, [("ann", "u:d"), ("ann", "u:b"), ("bob", "u:c")]),
    ],
)
def test_exemplars_are_nearest_first_and_never_of_sensitive_subreddits(
    max_images: int, told: list[tuple[str, str]]
) -> None:
    images = pl.DataFrame(
        {
            "user_id": ["ann", "ann", "bob", "ann"],
            "image_id": ["a" * 32, "b" * 32, "c" * 32, "d" * 32],
            "url": ["u:a", "u:b", "u:c", "u:d"],
            "phash": [1, 2, 1, 4],
            "subreddit": ["gonewild", "jazz", "jazz", "jazz"],
        }
    )
    rows = image_rows(inputs(images, [[1, 0], [0.6, 0.8], [0, 1], [0.8, 0.6]]), max_images)
    assert rows.select("user_id", "text").rows() == told
