import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from embed.tables import IMAGE_ARCHIVE
from orchestration.sample.config import RULES
from orchestration.sample.mess import COMMENT_PERIODS, SUBMISSION_PERIODS, Rule
from orchestration.sample.truth import IMAGES, MEDIA, SUBREDDITS, USERS
from orchestration.sample.world import write_world
from pipelines.pseudonym import Pseudonyms
from tests.orchestration.sample.worlds import SMALL, objects, raw_lines

GOLDEN = (7, "e30515ea2c0b03eb")  # version, SHA-256 of all lines
TINY = replace(SMALL, users=12, subreddits=30, image_size=32, shard_images=8)


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_same_config_same_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    write_world(TINY, tmp_path / "one", workers=1)
    write_world(TINY, tmp_path / "two", workers=2)
    assert _files(tmp_path / "one") == _files(tmp_path / "two")


def test_lines_change_only_with_the_version_of_the_rules(tmp_path: Path) -> None:
    """A world on disk is kept while its config is the same, and `rules` is part of it."""
    write_world(TINY, tmp_path / "world", workers=1)
    lines = [line for p in sorted((tmp_path / "world/dumps").iterdir()) for line in raw_lines(p)]
    digest = hashlib.sha256(b"\n".join(lines)).hexdigest()
    assert (RULES, digest[:16]) == GOLDEN, "raise RULES in config.py, then update GOLDEN"


def test_another_seed_is_another_world(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_world(replace(TINY, seed=seed), tmp_path / str(seed), workers=1)
    one, two = _files(tmp_path / "1"), _files(tmp_path / "2")
    assert one["key"] != two["key"] and one["dumps/RC_2019-08.zst"] != two["dumps/RC_2019-08.zst"]


def test_a_world_is_whole_or_not_there(tmp_path: Path) -> None:
    def interrupt(done: float, total: float | None, unit: str) -> None:
        if unit == "images":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_world(TINY, tmp_path / "world", interrupt, workers=1)
    assert not (tmp_path / "world").exists()
    write_world(TINY, tmp_path / "world", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_a_world_is_not_overwritten(small_world: Path) -> None:
    with pytest.raises(FileExistsError, match="world"):
        write_world(SMALL, small_world)


def test_progress_ends_at_its_totals(tmp_path: Path) -> None:
    calls: list[tuple[float, float | None, str]] = []
    write_world(TINY, tmp_path / "world", lambda *call: calls.append(call), workers=1)
    last = {unit: (done, total) for done, total, unit in calls}
    assert set(last) == {"lines", "images"}
    assert all(done == total for done, total in last.values())


def test_the_archive_holds_every_image_once(small_world: Path) -> None:
    shards = sorted((small_world / "images").glob("*.parquet"))
    tables = [IMAGE_ARCHIVE.check(pq.read_table(shard)) for shard in shards]
    urls = [url for table in tables for url in table["url"].to_pylist()]
    truth = pl.read_parquet(small_world / "truth" / "images.parquet")
    assert len(shards) > 1 and urls == truth["url"].to_list() and len(set(urls)) == len(urls)


def test_truth_has_its_contracts(small_world: Path) -> None:
    for table in (USERS, SUBREDDITS, IMAGES, MEDIA):
        rows = pq.read_table(small_world / "truth" / f"{table.name}.parquet")
        assert table.check(rows).num_rows == len(rows.group_by(list(table.key)).aggregate([]))


def test_users_of_the_truth_did_what_it_says(small_world: Path) -> None:
    users = pl.read_parquet(small_world / "truth" / "users.parquet")
    places: dict[str, set[str]] = {}
    for path in (small_world / "dumps").iterdir():
        for value in objects(path):
            place = value.get("subreddit", "").lower()
            places.setdefault(value["author"], set()).add(place)
    people = users.filter(pl.col("taste").is_not_null())
    assert len(people) == SMALL.users
    for row in people.iter_rows(named=True):
        assert {*row["own_subreddits"], *row["off_subreddits"]} <= places[row["author"]]
    assert set(places) - {"[deleted]"} == set(users["author"])


def test_lines_are_counted_and_every_kind_of_mess_is_there(small_world: Path) -> None:
    summary = json.loads((small_world / "truth" / "lines.json").read_text())
    for name, counts in summary.items():
        assert counts["lines"] == len(raw_lines(small_world / "dumps" / name))
        dropped, rejected = sum(counts["dropped"].values()), sum(counts["rejected"].values())
        assert counts["lines"] == counts["kept"] + dropped + rejected
        assert counts["lines"] == sum(counts["kinds"].values())
        kinds = SUBMISSION_PERIODS if name.startswith("RS") else COMMENT_PERIODS
        assert {kind.value for kind in kinds} <= set(counts["kinds"])
    assert {rule for counts in summary.values() for rule in counts["dropped"]} == {
        rule.value for rule in Rule
    }


def test_nothing_of_the_truth_is_in_the_dumps(small_world: Path) -> None:
    for path in (small_world / "dumps").iterdir():
        for key in _keys(list(objects(path))):
            assert key not in {"taste", "factors", "state", "role", "on_taste", "palette", "kind"}


def test_the_key_makes_pseudonyms(small_world: Path) -> None:
    key = small_world / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(Pseudonyms.from_file(key).user_id("Veltob41")) == 16


def test_a_half_written_world_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / ".world.tmp" / "dumps").mkdir(parents=True)
    (tmp_path / ".world.tmp" / "dumps" / "RS_2001-01.zst").write_bytes(b"old")
    write_world(TINY, tmp_path / "world", workers=1)
    assert not (tmp_path / "world" / "dumps" / "RS_2001-01.zst").exists()
    shutil.rmtree(tmp_path / "world")


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
