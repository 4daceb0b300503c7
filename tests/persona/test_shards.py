"""Shards partition the users, and spilled tables read the same as unspilled ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from graph.tables import SALIENT_SUBREDDITS
from persona.shards import Shard, UserTable, plan_shards
from pipelines.contract import ContractError
from tests.persona.synthetic import make_run, publish_world, world

COLUMNS = ["user_id", "subreddit", "rank", "attention"]


def ids(*names: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(names, pa.string())])


def test_shards_are_ranges_of_sorted_users() -> None:
    assert plan_shards(ids("d", "a", "c", "b", "e"), 2) == [
        Shard(0, "a", "b", 2),
        Shard(1, "c", "d", 2),
        Shard(2, "e", "e", 1),
    ]
    assert plan_shards(pa.chunked_array([], pa.string()), 2) == []


def test_part_names_sort_and_tell_shards_of_other_sizes_apart() -> None:
    two, three = plan_shards(ids("a", "b", "c"), 2), plan_shards(ids("a", "b", "c"), 3)
    assert [shard.part for shard in two] == ["part-00000-a-2", "part-00001-c-1"]
    assert two[0].part != three[0].part


def test_a_user_may_not_appear_twice() -> None:
    with pytest.raises(ContractError, match="'a' appears twice"):
        plan_shards(ids("a", "b", "a"), 2)


@pytest.mark.parametrize("shard_users", [1, 2, 100])
def test_spilled_rows_equal_filtered_rows(tmp_path: Path, shard_users: int) -> None:
    run = make_run(tmp_path)
    users = world(5)
    publish_world(run, list(reversed(users)))
    keep = ds.field("attention") > 0.25
    plain = UserTable(SALIENT_SUBREDDITS, run, COLUMNS, keep)
    spilled = UserTable(SALIENT_SUBREDDITS, run, COLUMNS, keep)
    shards = plan_shards(ids(*(user.user_id for user in users)), shard_users)
    spilled.spill(shards, tmp_path / "spill")
    read = [spilled.read(shard) for shard in shards]
    assert [t.to_pylist() for t in read] == [plain.read(shard).to_pylist() for shard in shards]
    expected = {(u.user_id, s) for u in users for s, a in u.attention.items() if a > 0.25}
    assert {(r["user_id"], r["subreddit"]) for t in read for r in t.to_pylist()} == expected


def test_users_outside_all_shards_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    users = world(5)
    publish_world(run, users)
    table = UserTable(SALIENT_SUBREDDITS, run, COLUMNS)
    shards = [Shard(0, users[1].user_id, users[1].user_id, 1), Shard(1, "zz", "zz", 1)]
    table.spill(shards, tmp_path / "spill")
    assert set(table.read(shards[0])["user_id"].to_pylist()) == {users[1].user_id}
    assert table.read(shards[1]).num_rows == 0
    assert table.read(shards[1]).column_names == COLUMNS


def test_few_files_are_open_however_many_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    class Writer(pq.ParquetWriter):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            counts.append(len(list(Path("/proc/self/fd").iterdir())))

    monkeypatch.setattr("persona.shards.OPEN_FILES", 8)
    monkeypatch.setattr("persona.shards.pq.ParquetWriter", Writer)
    run = make_run(tmp_path)
    users = world(60)
    publish_world(run, users)
    counts.clear()
    shards = plan_shards(ids(*(user.user_id for user in users)), 1)
    plain = UserTable(SALIENT_SUBREDDITS, run, COLUMNS)
    spilled = UserTable(SALIENT_SUBREDDITS, run, COLUMNS)
    spilled.spill(shards, tmp_path / "spill")
    assert [spilled.read(shard) for shard in shards] == [plain.read(shard) for shard in shards]
    assert len(counts) == 60
    assert max(counts) < min(counts) + 8
