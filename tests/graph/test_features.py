from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

from embed.tables import SUBREDDIT_FEATURES
from graph.contents import ImageMeans, image_sums
from graph.csr import Csr
from graph.evaluate import Held
from graph.features import ARRAYS, Features, load_features, load_subreddit_features
from graph.prepare import make_splits
from graph.variants import prepare
from pipelines.contract import ContractError, Run
from tests.graph.conftest import SMALL, Small
from tests.graph.drawn import images
from tests.graph.synthetic import fixed_size


def drawn() -> Features:
    """Images 0..3, axes of the space, of users 0, 0, 2 and 2 in places 1, 0, 1 and 1."""
    return images(
        torch.eye(4), users=[0, 0, 2, 2], places=[1, 0, 1, 1], num_users=3, num_subreddits=2
    )


def test_images_left_out_are_gone_from_users_and_subreddits() -> None:
    kept = drawn().keep_images(torch.tensor([True, False, False, True]))
    assert kept.image_counts().tolist() == [1, 0, 1]
    assert kept.image_users().tolist() == [0, 2]
    assert kept.num_images_s.tolist() == [0, 2]
    assert kept.image_sum_sd.tolist() == [[0.0] * 4, [1.0, 0.0, 0.0, 1.0]]


def test_images_outside_the_graph_count_in_no_subreddit() -> None:
    features = drawn()
    features.image_subreddit[1] = -1
    kept = features.keep_images(torch.tensor([True, False, True, True]))
    assert torch.equal(kept.num_images_s, features.num_images_s)


def test_images_of_users_come_in_the_order_asked_for() -> None:
    owner, image = drawn().images_of(torch.tensor([2, 1, 0]))
    assert owner.tolist() == [0, 0, 2, 2]
    assert image.tolist() == [2, 3, 0, 1]


def test_image_edges_are_those_between_poster_and_place(small: Small) -> None:
    edge = small.features.image_edges(small.graph)
    by_user = small.graph.by_user
    assert bool((edge >= 0).all())
    assert torch.equal(by_user.rows_of_edges()[edge], small.features.image_users())
    assert torch.equal(by_user.neighbours[edge].long(), small.features.image_subreddit)


def test_rows_are_in_the_order_of_the_graph(small: Small) -> None:
    table = pl.DataFrame(SUBREDDIT_FEATURES.read(small.run)).sort("subreddit")
    assert table["subreddit"].to_list() == small.graph.subreddits()
    text = np.stack(list(table["text_embedding"].to_numpy()))
    np.testing.assert_array_equal(small.features.text_sd.numpy(), text)
    assert small.features.num_images_s.tolist() == table["num_images"].to_list()


def test_inference_reads_the_same_subreddits_and_no_single_image(small: Small) -> None:
    features = load_subreddit_features(small.run, small.graph)
    assert torch.equal(features.image_sum_sd, small.features.image_sum_sd)
    assert features.image_counts().sum() == 0


def test_vectors_are_mapped_once_and_shared_by_all_parts(small: Small, tmp_path: Path) -> None:
    mapped = load_features(small.run, small.graph, tmp_path / "features")
    for name in ARRAYS:
        assert torch.equal(getattr(mapped, name), getattr(small.features, name)), name
    held = Held.of(small.graph, make_splits(small.graph, SMALL), mapped, tmp_path / "views")
    for name, view in (("training", held.training), ("inputs", held.inputs)):
        before = getattr(small.held, name)
        assert view.features.image_counts().sum() < mapped.image_counts().sum()
        users = torch.arange(small.graph.num_users)
        for found, expected in zip(
            image_sums(view.features, users), image_sums(before.features, users), strict=True
        ):
            assert torch.equal(found, expected)
        assert torch.equal(view.contents.images.mean_RD, before.contents.images.mean_RD)
        assert torch.equal(view.features.image_sum_sd, before.features.image_sum_sd)
    prepare(tmp_path / "prepared", held)
    written = tmp_path.rglob("image_vectors.npy")
    assert [p.parent for p in written if not p.is_symlink()] == [tmp_path / "features"]


def test_images_are_read_a_few_at_a_time(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = torch.arange(len(small.features.image_row)) % 3 == 0
    kept, edges = small.features.keep_images(keep), small.features.image_edges(small.graph)
    means = ImageMeans.of(kept)
    num_users = small.graph.num_users
    monkeypatch.setattr("graph.features.POSTINGS_AT_ONCE", 10)
    monkeypatch.setattr("graph.features.IMAGES_AT_ONCE", 7)
    monkeypatch.setattr("graph.contents.IMAGES_AT_ONCE", 7)
    monkeypatch.setattr(Csr, "ranges", lambda rows: [(u, u + 1) for u in range(rows.num_rows)])
    again = load_features(small.run, small.graph)
    for name in ARRAYS:
        assert torch.equal(getattr(again, name), getattr(small.features, name)), name
    assert torch.equal(again.image_edges(small.graph), edges)
    assert torch.equal(again.keep_images(keep).image_sum_sd, kept.image_sum_sd)
    parts = ImageMeans.of(kept)
    assert len(parts.row_U) == num_users
    assert torch.equal(parts.mean_RD, means.mean_RD)
    assert torch.equal(parts.count_R, means.count_R)


def test_vectors_too_large_for_a_device_stay_where_they_are(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.tensor([3, 0, 3])
    expected = small.features.vectors_of(image)
    elsewhere = small.features.to(torch.device("meta"))
    assert elsewhere.image_vectors.is_meta
    monkeypatch.setattr("graph.features.MAX_DEVICE_BYTES", 100)
    elsewhere = small.features.to(torch.device("meta"))
    assert elsewhere.image_row.is_meta
    assert not elsewhere.image_vectors.is_meta
    assert torch.equal(small.features.to(torch.device("cpu")).vectors_of(image), expected)


def test_subreddits_without_features_have_zeros(
    small: Small, fresh_run: Callable[[str], Run]
) -> None:
    run = replaced_features(small, fresh_run("fewer"), lambda table: table.slice(1))
    missing = load_subreddit_features(run, small.graph)
    gone = SUBREDDIT_FEATURES.read(small.run)["subreddit"][0].as_py()
    row = small.graph.subreddits().index(gone)
    assert not missing.text_sd[row].any()
    assert missing.num_images_s[row] == 0


def test_images_of_another_clip_are_refused(small: Small, fresh_run: Callable[[str], Run]) -> None:
    def narrower(table: pa.Table) -> pa.Table:
        columns = {name: table[name] for name in table.column_names}
        for name in ("text_embedding", "image_sum"):
            rows = np.stack(table[name].to_numpy(zero_copy_only=False))[:, :8]
            columns[name] = fixed_size(rows, np.float32)
        return pa.table(columns)

    run = replaced_features(small, fresh_run("narrow"), narrower)
    with pytest.raises(ContractError, match="24 dimensions, subreddit_features 8"):
        load_features(run, small.graph)


def replaced_features(small: Small, run: Run, change: Callable[[pa.Table], pa.Table]) -> Run:
    """The run with another SUBREDDIT_FEATURES."""
    folder = run.root / "tables" / SUBREDDIT_FEATURES.name
    folder.unlink()
    folder.mkdir()
    SUBREDDIT_FEATURES.write(folder, change(SUBREDDIT_FEATURES.read(small.run)))
    return run
