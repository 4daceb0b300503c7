from pathlib import Path

import numpy as np
import polars as pl

from embed.sums import embedding_dim, pictures_had, sum_by_group
from embed.tables import IMAGE_EMBEDDINGS
from pipelines.contract import Run
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


def test_sums_and_counts_by_group_over_all_files(tmp_path: Path) -> None:
    images = pl.DataFrame(
        {
            "image_id": [id_of(i) for i in (0, 3, 1, 1, 2)],
            "group": ["b", "b", "a", "b", "gone"],
        }
    )
    sums = sum_by_group(images, files(tmp_path))
    assert sums.groups == ["a", "b", "gone"]
    by_hand = np.array([[0.0, 1.0], [1.6, 1.8], [0.0, 0.0]])
    assert np.allclose(sums.totals, by_hand, atol=1e-3)
    assert sums.counts.tolist() == [1, 3, 0]


def test_aligned_sums_follow_the_names_asked_for(tmp_path: Path) -> None:
    images = pl.DataFrame({"image_id": [id_of(0)], "group": ["b"]})
    totals, counts = sum_by_group(images, files(tmp_path)).aligned(["a", "b"])
    assert (totals.tolist(), counts.tolist()) == ([[0, 0], [1, 0]], [0, 1])


def test_no_images_give_no_groups(tmp_path: Path) -> None:
    images = pl.DataFrame(schema={"image_id": pl.String(), "group": pl.String()})
    sums = sum_by_group(images, files(tmp_path))
    assert (sums.groups, sums.totals.shape) == ([], (0, 2))


def test_copies_of_a_picture_share_the_least_id(tmp_path: Path) -> None:
    pictures = pictures_had(files(tmp_path)).sort("image_id")
    assert pictures.rows() == [(id_of(i), id_of(p)) for i, p in ((0, 0), (1, 1), (3, 3), (4, 0))]


def test_the_dimension_is_read_from_the_file(tmp_path: Path) -> None:
    assert embedding_dim(files(tmp_path)[0]) == 2
