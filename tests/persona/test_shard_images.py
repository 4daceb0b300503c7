"""Rows of images by shards of users: as a filter on the whole table finds them, in one pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from embed.tables import IMAGE_EMBEDDINGS, USER_IMAGES
from persona import shard_images
from persona.shard_images import ShardImages
from persona.shards import Shard, plan_shards
from pipelines.contract import Run
from pipelines.tables import MEDIA
from tests.persona.synthetic import make_run, publish_world, world


@pytest.mark.parametrize("a_pass", [1, 5, 1000])
def test_shards_have_the_rows_of_their_images_and_the_tables_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_pass: int
) -> None:
    monkeypatch.setattr(shard_images, "IMAGES_A_PASS", a_pass)
    run = make_run(tmp_path / "run")
    publish_world(run, world(9))
    posted = USER_IMAGES.read(run)
    # The second shard has users without images, and images of the first are posted again.
    shards = plan_shards(pa.chunked_array([pa.array([f"u{i}" for i in range(6)])]), 2)
    ids = posted.column("image_id")
    images = {
        0: ids.slice(0, 5),
        1: ids.slice(0, 0),
        2: pa.chunked_array([*ids.chunks, *ids.chunks]),
    }
    tables = (IMAGE_EMBEDDINGS, MEDIA)

    def read(source: ShardImages, shard: Shard) -> list[pa.Table]:
        return [source.read(shard, table, images[shard.index]) for table in tables]

    whole = [read(ShardImages(run), shard) for shard in shards]
    assert [len(found) for found, _ in whole] == [len(set(images[i].to_pylist())) for i in range(3)]
    spilled = ShardImages(run)
    spilled.spill(shards, lambda shard: images[shard.index], tmp_path / "spill")
    empty = read(spilled, shards[1])
    remove(run)
    again = [read(spilled, shards[0]), empty, read(spilled, shards[2])]
    for found, expected in zip(again, whole, strict=True):
        assert all(table.equals(other) for table, other in zip(found, expected, strict=True))


def remove(run: Run) -> None:
    for file in (*IMAGE_EMBEDDINGS.dataset(run).files, *MEDIA.dataset(run).files):
        shutil.rmtree(Path(file).parent, ignore_errors=True)
