from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

from embed.tables import SUBREDDIT_FEATURES
from graph.features import Features, load_features, load_subreddit_features
from pipelines.contract import ContractError, Run
from tests.graph.conftest import Small
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
