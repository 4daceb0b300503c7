import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from embed import once
from embed.once import are_near, fill_shared, leaders, share_over_shards
from embed.phash import colour_levels, perceptual_hash
from embed.tables import IMAGE_EMBEDDINGS
from tests.embed.samples import id_of


def smooth(seed: int, width: int = 400, height: int = 300) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = [rng.integers(0, 255, (n, n, 3), dtype=np.uint8) for n in (4, 12)]
    size = (width, height)
    first, second = [Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in coarse]
    return Image.blend(first, second, 0.4)


def copy(picture: Image.Image, scale: float, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    size = (int(picture.width * scale), int(picture.height * scale))
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def hashes(*pictures: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([perceptual_hash(picture) for picture in pictures], np.uint64),
        np.array([colour_levels(picture) for picture in pictures], np.uint64),
    )


@pytest.mark.parametrize(("scale", "quality"), [(1, 90), (1, 50), (0.5, 85), (0.25, 85), (1.5, 75)])
def test_copies_are_near_and_other_pictures_are_not(scale: float, quality: int) -> None:
    pictures = [smooth(seed) for seed in range(40)]
    phash, colours = hashes(*pictures)
    copied, copied_colours = hashes(*(copy(picture, scale, quality) for picture in pictures))
    assert are_near(phash, copied, colours, copied_colours, 2).mean() >= 0.95
    for apart in range(1, 40):
        assert not are_near(
            phash, np.roll(copied, apart), colours, np.roll(copied_colours, apart), 2
        ).any()


def test_a_recoloured_picture_is_another() -> None:
    picture = smooth(1)
    swapped = Image.merge("RGB", picture.split()[::-1])
    grey = Image.merge("RGB", [picture.convert("L")] * 3)
    (phash, other), (colours, other_colours) = hashes(picture, grey)
    assert (int(phash) ^ int(other)).bit_count() <= 2
    assert not are_near(np.array([phash]), other, np.array([colours]), other_colours, 2)[0]
    black, white = Image.new("RGB", (50, 50)), Image.new("RGB", (50, 50), "white")
    assert (perceptual_hash(black) ^ perceptual_hash(white)).bit_count() <= 1
    assert colour_levels(black) == 0 and colour_levels(white) == 2**60 - 1
    assert colour_levels(swapped) != colour_levels(picture)


def naive(phash: list[int], bits: int) -> list[int]:
    leading: list[int] = []
    found = []
    for index, own in enumerate(phash):
        near = [i for i in leading if (phash[i] ^ own).bit_count() <= bits]
        found.append(near[0] if near else index)
        leading += [] if near else [index]
    return found


@pytest.mark.parametrize("bits", [-1, 0, 1, 2, 3])
def test_leaders_are_those_of_a_search_one_by_one(bits: int) -> None:
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
    assert leaders(np.array(phash, np.uint64), colours, bits).tolist() == expected


def test_leaders_of_several_colours_are_those_of_a_search_one_by_one() -> None:
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
    assert leaders(phash, colours, 1).tolist() == expected.tolist()


def test_no_pictures_have_no_leaders() -> None:
    nothing = np.zeros(0, np.uint64)
    assert leaders(nothing, nothing, 2).tolist() == []


def rows(
    images: list[int], phash: dict[int, int], shared: dict[int, int] | None = None
) -> pa.Table:
    """Rows whose vectors hold the number of their image."""
    with_ = shared or {}
    x_ND = np.repeat(np.array(images, np.float16)[:, None], 3, axis=1)
    columns = {
        "image_id": pa.array([id_of(image) for image in images], pa.string()),
        "status": pa.array(["ok" if image in phash else "timeout" for image in images]),
        "phash": pa.array([phash.get(image) for image in images], pa.uint64()),
        "colours": pa.array([0 if image in phash else None for image in images], pa.uint64()),
        "width": pa.array([9 if image in phash else None for image in images], pa.int32()),
        "height": pa.array([9 if image in phash else None for image in images], pa.int32()),
        "shared_with": pa.array(
            [id_of(with_[image]) if image in with_ else None for image in images], pa.string()
        ),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), 3),
    }
    return IMAGE_EMBEDDINGS.check(pa.table(columns))


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


def test_the_vector_that_is_shared_is_filled_in() -> None:
    table = fill_shared(rows([5, 1, 7], {5: 0, 1: 0, 7: 0}, {7: 5, 1: 99}))
    assert [vector[0] for vector in table["embedding"].to_pylist()] == [5, 1, 5]
    IMAGE_EMBEDDINGS.check(table)


def share(folder: Path, kept: tuple[int, ...] = (), posted: tuple[int, ...] = ()) -> int:
    """How many share; images were posted in the given order, or in that of their numbers."""
    order = posted or range(100)
    when = {"image_id": [id_of(i) for i in order], "created_utc": range(len(order))}
    ids = pl.Series([id_of(image) for image in kept], dtype=pl.String())
    return share_over_shards(folder, 2, ids, pl.DataFrame(when))


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


def test_many_copies_of_one_picture_take_no_pairs_each() -> None:
    phash = np.array(list(itertools.repeat(5, 50_000)), np.uint64)
    found = leaders(phash, np.zeros(50_000, np.uint64), 2)
    assert set(found.tolist()) == {0}


def test_pictures_of_one_hash_and_other_colours_are_hardly_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0

    def counted(*arguments: Any) -> Any:
        nonlocal compared
        compared += len(arguments[0])
        return are_near(*arguments)

    monkeypatch.setattr(once, "are_near", counted)
    num = 400
    colours = np.random.default_rng(0).integers(0, 1 << 60, num, dtype=np.uint64)
    found = leaders(np.zeros(num, np.uint64), colours, 0)
    assert found.tolist() == list(range(num))
    assert compared < 0.15 * num * (num - 1) / 2
