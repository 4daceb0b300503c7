from pathlib import Path
from typing import Any

import polars as pl
import pytest

from embed.archive import PLACE_SCHEMA
from embed.outcomes import Outcome
from embed.shards import (
    ORDER,
    Plan,
    ShardManifest,
    clear_unfinished,
    finished_shards,
    plan_shards,
    settled,
    total_by_status,
)

ROWS = pl.DataFrame(
    {
        "image_id": ["c", "a", "b", "d", "e"],
        "url": ["u3", "u1", "u2", "u4", "u5"],
        "file": ["f", None, "f", "f", None],
        "row_group": [1, None, 0, 0, None],
        "row": [0, None, 5, 2, None],
    },
    schema={"image_id": pl.String(), **PLACE_SCHEMA},
)


def plan(made_from: str) -> Plan:
    return Plan(path=Path("rows.parquet"), num_images=5, num_kept=0, made_from=made_from)


def finish(folder: Path, part: str, made_from: str, num_images: int = 2) -> None:
    (folder / f"{part}.parquet").write_bytes(b"rows")
    ShardManifest(
        part=part,
        made_from=made_from,
        num_images=num_images,
        num_by_status={"ok": num_images - 1, "not_found": 1},
    ).write(folder)


def planned(rows: pl.DataFrame, made_with: dict[str, str], folder: Path, at_once: int = 3) -> Any:
    """Shards of two rows; the rows come a few at a time."""
    ordered = rows.sort(ORDER, nulls_last=True).with_columns(kept_file=pl.lit(None, pl.String()))
    return plan_shards(ordered.iter_slices(at_once), 2, made_with, folder)


@pytest.mark.parametrize("at_once", [1, 2, 3, 9])
def test_shards_follow_the_archive_and_end_with_what_it_lacks(tmp_path: Path, at_once: int) -> None:
    plans = planned(ROWS, {}, tmp_path, at_once)
    found = {part: pl.read_parquet(plan.path)["image_id"].to_list() for part, plan in plans.items()}
    assert [plan.num_images for plan in plans.values()] == [2, 2, 1]
    assert found == {
        "part-000000": ["d", "b"],
        "part-000001": ["c", "a"],
        "part-000002": ["e"],
    }


def test_the_hash_of_a_shard_is_by_its_rows_and_what_it_is_made_with(tmp_path: Path) -> None:
    first = planned(ROWS, {"weights": "x"}, tmp_path)
    shuffled = planned(ROWS.sample(fraction=1, shuffle=True, seed=1), {"weights": "x"}, tmp_path, 1)
    assert [p.made_from for p in first.values()] == [p.made_from for p in shuffled.values()]
    other = planned(ROWS, {"weights": "y"}, tmp_path)
    assert not {p.made_from for p in first.values()} & {p.made_from for p in other.values()}
    moved = planned(ROWS.with_columns(pl.col("row") + 1), {"weights": "x"}, tmp_path)
    assert moved["part-000000"].made_from != first["part-000000"].made_from
    assert moved["part-000002"].made_from == first["part-000002"].made_from


def test_only_whole_shards_of_this_plan_are_finished(tmp_path: Path) -> None:
    plans = {f"part-{i}": plan(f"hash-{i}") for i in range(4)}
    finish(tmp_path, "part-0", "hash-0")
    finish(tmp_path, "part-1", "another plan")
    (tmp_path / "part-2.parquet").write_bytes(b"rows without a manifest")
    finish(tmp_path, "part-3", "hash-3")
    (tmp_path / "part-3.parquet").unlink()
    finish(tmp_path, "part-9", "hash-9")
    (tmp_path / "part-8.parquet.tmp").write_bytes(b"half")
    assert [manifest.part for manifest in finished_shards(tmp_path, plans)] == ["part-0"]

    clear_unfinished(tmp_path, plans)
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["_shards/part-0.json", "part-0.parquet"]


def test_statuses_add_up_over_shards(tmp_path: Path) -> None:
    plans = {f"part-{i}": plan("same") for i in range(2)}
    finish(tmp_path, "part-0", "same", 5)
    finish(tmp_path, "part-1", "same", 3)
    assert total_by_status(finished_shards(tmp_path, plans)) == {"not_found": 2, "ok": 6}


@pytest.mark.parametrize(
    ("outcome", "same_limits", "kept"),
    [
        (Outcome.OK, False, True),
        (Outcome.NOT_FOUND, False, True),
        (Outcome.OPTED_OUT, False, True),
        (Outcome.TIMEOUT, True, False),
        (Outcome.NOT_ARCHIVED, True, False),
        (Outcome.TOO_LARGE, True, True),
        (Outcome.TOO_LARGE, False, False),
        (Outcome.TOO_MANY_PIXELS, False, False),
    ],
)
def test_what_asking_again_could_change_is_not_settled(
    outcome: Outcome, same_limits: bool, kept: bool
) -> None:
    published = pl.DataFrame({"image_id": ["a"], "status": [str(outcome)]})
    assert settled(published, same_limits).height == kept
