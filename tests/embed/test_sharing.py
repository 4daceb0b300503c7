import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from embed import buckets, once
from embed.buckets import Buckets, hashed, num_buckets
from embed.once import are_near, fill_shared
from embed.places import POSTED_SCHEMA
from embed.sharing import leaders, share_over_shards
from embed.tables import IMAGE_EMBEDDINGS
from tests.embed.samples import embedding_rows as rows
from tests.embed.samples import id_of


@pytest.fixture(autouse=True, params=[1 << 18, 7])
def bucket_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bucket, and many: neither changes a decision."""
    monkeypatch.setattr(buckets, "BUCKET_ROWS", request.param)


def found_leaders(phash: list[int], colours: Any, bits: int, folder: Path) -> list[int]:
    total = len(phash)
    columns = {"rank": pl.Int64(), "phash": pl.UInt64(), "colours": pl.UInt64()}
    pictures = pl.DataFrame([range(total), phash, colours], schema=columns)
    ranked = Buckets(folder / "ranked", columns, num_buckets(total))
    ranked.add(pictures, pl.col("rank") * len(ranked) // max(1, total))
    return [int(leader) for leader in leaders(ranked, bits, folder)]


def naive(phash: list[int], bits: int) -> list[int]:
    leading: list[int] = []
    found = []
    for index, own in enumerate(phash):
        near = [i for i in leading if (phash[i] ^ own).bit_count() <= bits]
        found.append(near[0] if near else index)
        leading += [] if near else [index]
    return found


@pytest.mark.parametrize("bits", [-1, 0, 1, 2, 3])
def test_leaders_are_those_of_a_search_one_by_one(tmp_path: Path, bits: int) -> None:
    rng = np.random.default_rng(3)
    centres = rng.integers(0, 2**64, 12, dtype=np.uint64)
    phash = []
    for _ in range(400):
        own = int(centres[rng.integers(12)])
        for _ in range(rng.integers(0, 5)):
            own ^= 1 << int(rng.integers(64))
        phash.append(own)
    colours = np.zeros(400, np.uint64)
    expected = naive(phash, bits)
    assert found_leaders(phash, colours, bits, tmp_path) == expected


def test_leaders_of_several_colours_are_those_of_a_search_one_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    phash = rng.integers(0, 4, 300).astype(np.uint64)
    levels = rng.integers(14, 18, (300, 12)) // rng.integers(1, 4, (300, 1))
    colours = (levels.astype(np.uint64) << np.arange(0, 60, 5, dtype=np.uint64)).sum(axis=1)
    expected = np.arange(300)
    for i in range(300):
        near = are_near(phash[:i], phash[i], colours[:i], colours[i], 1)
        own = np.flatnonzero(near & (expected[:i] == np.arange(i)))
        expected[i] = own[0] if len(own) else i
    assert 20 < (expected != np.arange(300)).sum() < 280
    assert found_leaders(phash.tolist(), colours, 1, tmp_path) == expected.tolist()


def test_no_pictures_have_no_leaders(tmp_path: Path) -> None:
    assert found_leaders([], [], 2, tmp_path) == []


def told(folder: Path) -> dict[int, tuple[int | None, float]]:
    """By image, the one that it shares with and the number that its vector holds."""
    found = {}
    for file in folder.glob("*.parquet"):
        for row in pq.read_table(file).to_pylist():
            with_ = row["shared_with"]
            found[int(row["image_id"], 16)] = (
                int(with_, 16) if with_ else None,
                row["embedding"][0],
            )
    return found


def share(folder: Path, kept: tuple[int, ...] = (), posted: tuple[int, ...] = ()) -> int:
    """How many share; images were posted in the given order, or in that of their numbers."""
    order = posted or range(100)
    columns = [id_of(i) for i in order], range(len(order)), [i not in kept for i in order]
    when = pl.DataFrame(columns, schema=POSTED_SCHEMA)
    known = Buckets(folder / "posted", POSTED_SCHEMA, num_buckets(len(order)))
    known.add(when, hashed("image_id", len(known)))
    return share_over_shards(folder, 2, known, folder / "work")


PHASH = {1: 0, 2: 2**9 - 1, 3: 1, 4: 2**40 - 1, 6: 2**9, 7: 2**40 - 1, 8: 3}


def test_sharing_is_the_same_however_images_lie_in_shards(tmp_path: Path) -> None:
    images = [1, 2, 3, 4, 5, 6, 7, 8]
    found = []
    for name, parts in {
        "one": [images],
        "two": [images[:4], images[4:]],
        "other": [images[::2], images[1::2]],
        "each": [[image] for image in images],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        for index, part in enumerate(parts):
            IMAGE_EMBEDDINGS.write(folder, rows(part, PHASH), f"part-{index}", {"a": "b"})
        assert share(folder) == 4
        before = {file: file.stat().st_mtime_ns for file in folder.glob("*.parquet")}
        assert share(folder) == 4
        assert before == {file: file.stat().st_mtime_ns for file in folder.glob("*.parquet")}
        assert all(pq.read_schema(file).metadata[b"a"] == b"b" for file in before)
        found.append(told(folder))
    expected = {
        1: (None, 1), 2: (None, 2), 3: (1, 1), 4: (None, 4), 5: (None, 5), 6: (1, 1),
        7: (4, 4), 8: (1, 1),
    }  # fmt: skip
    assert found == [expected] * 4


def test_rows_made_before_lead_and_stay_and_what_shares_with_the_gone_is_its_own(
    tmp_path: Path,
) -> None:
    IMAGE_EMBEDDINGS.write(tmp_path, rows([1, 2], {1: 0, 2: 0}), "part-0")
    IMAGE_EMBEDDINGS.write(tmp_path, rows([8, 9], {8: 1, 9: 2**60 - 1}, {9: 77}), "part-1")
    share(tmp_path, kept=(8, 9))
    assert told(tmp_path) == {1: (8, 8), 2: (8, 8), 8: (None, 8), 9: (None, 9)}


def test_what_shares_by_its_pixels_leads_if_it_was_posted_first(tmp_path: Path) -> None:
    IMAGE_EMBEDDINGS.write(tmp_path, rows([1], {1: 1}), "part-0")
    filled = fill_shared(rows([5, 6], {5: 1, 6: 1}, {6: 5}))
    IMAGE_EMBEDDINGS.write(tmp_path, filled, "part-1")
    assert share(tmp_path, posted=(6, 1, 5)) == 2
    assert told(tmp_path) == {1: (6, 5), 5: (6, 5), 6: (None, 5)}  # The same pixels: one vector.


@pytest.mark.parametrize("seed", range(5))
def test_a_month_that_is_added_gives_what_all_months_give(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [int(i) for i in rng.permutation(60)]  # as posted; the last 20 in the new month
    phash = {i: int(rng.integers(4)) << 40 | int(rng.integers(16)) for i in images}
    found = []
    for name, months in (("added", [images[:40], images[40:]]), ("all", [images])):
        folder = tmp_path / name
        kept: list[int] = []
        folder.mkdir()
        for month in months:
            for number, part in enumerate(np.array_split(sorted(month), len(months) + 1)):
                table = rows([int(i) for i in part], phash)
                IMAGE_EMBEDDINGS.write(folder, table, f"{len(kept)}-{number}")
            share(folder, kept=tuple(kept), posted=tuple(images))
            kept += month
        found.append(told(folder))
    assert found[0] == found[1]
    assert 0 < sum(with_ is None for with_, _ in found[0].values()) < 60


def test_many_copies_of_one_picture_take_no_pairs_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "BUCKET_ROWS", 10_000)
    found = found_leaders(list(itertools.repeat(5, 50_000)), np.zeros(50_000), 2, tmp_path)
    assert set(found) == {0}


def test_pictures_of_one_hash_and_other_colours_are_hardly_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0

    def counted(*arguments: Any) -> Any:
        nonlocal compared
        compared += len(arguments[0])
        return are_near(*arguments)

    monkeypatch.setattr(once, "are_near", counted)
    num = 400
    colours = np.random.default_rng(0).integers(0, 1 << 60, num, dtype=np.uint64)
    found = found_leaders([0] * num, colours, 0, tmp_path)
    assert found == list(range(num))
    assert compared < 0.15 * num * (num - 1) / 2
