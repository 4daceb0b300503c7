from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from embed.config import ProductsConfig
from embed.titles import pick_titles, rank_of, subreddit_texts
from pipelines.contract import Run
from pipelines.tables import SUBMISSIONS
from tests.embed.samples import write_submissions

CONFIG = ProductsConfig(titles_per_subreddit=3, seed=5)
TITLES = [(n, "cats" if n % 2 else "dogs", f"title {n}") for n in range(1, 41)]


def picked(tmp_path: Path, *months: list[tuple[int, str, str]]) -> dict[str, list[str]]:
    run = Run(root=tmp_path)
    for index, month in enumerate(months):
        write_submissions(run, month, f"2019-{index + 1:02d}")
    titles, number = pick_titles([str(f) for f in SUBMISSIONS.files(run)], CONFIG)
    assert number == sum(len(month) for month in months)
    return titles


def test_titles_are_those_of_least_rank(tmp_path: Path) -> None:
    rank = rank_of(pl.Series(range(41), dtype=pl.UInt64()), CONFIG.seed).to_list()
    expected = {
        name: [t for n, s, t in sorted(TITLES, key=lambda row: rank[row[0]]) if s == name][:3]
        for name in ("cats", "dogs")
    }
    assert picked(tmp_path, TITLES) == expected


def test_order_and_months_make_no_difference(tmp_path: Path) -> None:
    whole = picked(tmp_path / "whole", TITLES)
    assert picked(tmp_path / "split", TITLES[25:], TITLES[:25]) == whole


def test_a_title_posted_again_is_picked_once(tmp_path: Path) -> None:
    assert picked(tmp_path, [(n, "cats", "same") for n in range(1, 9)]) == {"cats": ["same"]}


def test_ranks_spread_over_all_numbers_and_differ_by_seed() -> None:
    ids = pl.Series(range(1000), dtype=pl.UInt64())
    first, other = rank_of(ids, 0), rank_of(ids, 1)
    assert first.n_unique() == 1000 and not first.equals(other)
    assert abs(float(np.mean(first.to_numpy() / 2**64)) - 0.5) < 0.03
    # SplitMix64 with state 0 gives this first number.
    assert rank_of(pl.Series([0], dtype=pl.UInt64()), 1)[0] == 0xE220A8397B1DCDAF


def test_the_seed_changes_the_titles(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    write_submissions(run, TITLES)
    files = [str(f) for f in SUBMISSIONS.files(run)]
    assert pick_titles(files, CONFIG) != pick_titles(files, replace(CONFIG, seed=6))


def test_texts_are_the_name_in_words_and_the_titles_that_say_something() -> None:
    assert subreddit_texts("old_maps", ["a map", "  "]) == ["old maps", "a map"]
