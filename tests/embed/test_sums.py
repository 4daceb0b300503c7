import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from embed.sums import GroupSums, embedding_dim, pictures_had, sum_by_group, weights_of
from embed.tables import IMAGE_EMBEDDINGS
from pipelines.contract import ConfigError, Run
from tests.embed.samples import id_of, write_embeddings

VECTORS: dict[int, tuple[float, ...] | str] = {
    0: (1.0, 0.0),
    1: (0.0, 1.0),
    2: "not_found",
    3: (0.6, 0.8),
    4: (1.0, 0.0),
}


def files(tmp_path: Path) -> list[str]:
    run = Run(root=tmp_path)
    write_embeddings(run, VECTORS, {})
    return [str(file) for file in IMAGE_EMBEDDINGS.files(run)]


def summed(images: pl.DataFrame, of: list[str]) -> GroupSums:
    return GroupSums.joined(sum_by_group(images.lazy(), of))


def test_sums_and_counts_by_group_over_all_files(tmp_path: Path) -> None:
    images = pl.DataFrame(
        {
            "image_id": [id_of(i) for i in (0, 3, 1, 1, 2)],
            "group": ["b", "b", "a", "b", "gone"],
        }
    )
    sums = summed(images, files(tmp_path))
    assert sums.groups == ["a", "b", "gone"]
    by_hand = np.array([[0.0, 1.0], [1.6, 1.8], [0.0, 0.0]])
    assert np.allclose(sums.totals, by_hand, atol=1e-3)
    assert sums.counts.tolist() == [1, 3, 0]


def test_aligned_sums_follow_the_names_asked_for(tmp_path: Path) -> None:
    images = pl.DataFrame({"image_id": [id_of(0)], "group": ["b"]})
    totals, counts = summed(images, files(tmp_path)).aligned(["a", "b"])
    assert (totals.tolist(), counts.tolist()) == ([[0, 0], [1, 0]], [0, 1])


def test_no_images_give_no_groups(tmp_path: Path) -> None:
    images = pl.DataFrame(schema={"image_id": pl.String(), "group": pl.String()})
    sums = summed(images, files(tmp_path))
    assert (sums.groups, sums.totals.shape) == ([], (0, 2))


def test_copies_of_a_picture_share_the_least_id(tmp_path: Path) -> None:
    pictures = pictures_had(files(tmp_path)).sort("image_id")
    assert pictures.rows() == [(id_of(i), id_of(p)) for i, p in ((0, 0), (1, 1), (3, 3), (4, 0))]


def test_the_dimension_is_read_from_the_file(tmp_path: Path) -> None:
    assert embedding_dim(files(tmp_path)[0]) == 2


def test_blocks_of_groups_and_shares_of_images_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors: dict[int, tuple[float, ...] | str] = {
        n: tuple(v) for n, v in enumerate(rng.normal(size=(200, 4)))
    }
    run = Run(root=tmp_path)
    write_embeddings(run, vectors, {})
    made = [str(file) for file in IMAGE_EMBEDDINGS.files(run)]
    images = pl.DataFrame(
        {
            "image_id": [id_of(int(n)) for n in rng.integers(0, 200, 1_000)],
            "group": [f"user-{n}" for n in rng.integers(0, 50, 1_000)],
        }
    )
    whole = summed(images, made)
    monkeypatch.setattr("embed.sums.JOINED_AT_ONCE", 64)
    blocks = list(sum_by_group(images.lazy(), made, max_bytes=7 * 4 * 8))
    assert [len(block.groups) for block in blocks] == [7] * 7 + [1]
    parts = GroupSums.joined(blocks)
    assert parts.groups == whole.groups
    assert np.array_equal(parts.totals, whole.totals)
    assert np.array_equal(parts.counts, whole.counts)


def test_many_groups_take_no_more_memory_than_a_block(tmp_path: Path) -> None:
    num, dim = 20_000, 64
    rng = np.random.default_rng(0)
    run = Run(root=tmp_path)
    rows = rng.normal(size=(100, dim)).tolist()
    write_embeddings(run, dict(enumerate(rows)), {})
    made = [str(file) for file in IMAGE_EMBEDDINGS.files(run)]
    images = pl.DataFrame(
        {
            "image_id": [id_of(n % 100) for n in range(num)],
            "group": [f"user-{n:06d}" for n in range(num)],
        }
    )
    block_bytes, all_bytes = 1 << 20, num * dim * 8
    tracemalloc.start()
    num_groups = sum(
        len(block.groups) for block in sum_by_group(images.lazy(), made, max_bytes=block_bytes)
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_groups == num
    assert peak < 5 * block_bytes < all_bytes


def test_files_of_several_models_are_refused_by_name(tmp_path: Path) -> None:
    for name, weights in (("one", "a" * 64), ("two", "b" * 64)):
        write_embeddings(Run(root=tmp_path / name), VECTORS, {"clip_weights": weights})
    one, two = (IMAGE_EMBEDDINGS.files(Run(root=tmp_path / name)) for name in ("one", "two"))
    assert weights_of([str(file) for file in one]) == "a" * 64
    with pytest.raises(ConfigError, match=r"2 models.*aaaaaaaaaaaa.*bbbbbbbbbbbb"):
        weights_of([str(file) for file in (*one, *two)])
