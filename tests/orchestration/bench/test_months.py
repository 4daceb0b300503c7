"""Generated months: what the lines look like, and that a seed decides every byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard

from orchestration.bench.months import MONTH_S, MONTH_START_UTC, ensure_month, line_chunks
from pipelines.dumps import Kind

RAW_BYTES = 4_000_000


def objects(kind: Kind) -> list[dict[str, Any]]:
    lines = [line for chunk in line_chunks(kind, RAW_BYTES, seed=3) for line in chunk]
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def submissions() -> list[dict[str, Any]]:
    return objects("RS")


@pytest.fixture(scope="module")
def comments() -> list[dict[str, Any]]:
    return objects("RC")


def share(rows: list[dict[str, Any]], key: str) -> float:
    return sum(bool(row.get(key)) for row in rows) / len(rows)


@pytest.mark.parametrize("kind", ["RS", "RC"])
def test_lines_are_compact_with_sorted_keys(kind: Kind) -> None:
    for line in next(line_chunks(kind, 1_000_000, seed=1)):
        fields = json.loads(line)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        # A ratio of 0.50 stays as the archive writes it; Python writes 0.5.
        assert len(line) - len(text.encode()) in (0, 1)


@pytest.mark.parametrize("kind", ["RS", "RC"])
def test_times_increase_within_the_month_and_ids_are_unique(
    kind: Kind, request: pytest.FixtureRequest
) -> None:
    rows = request.getfixturevalue("submissions" if kind == "RS" else "comments")
    times = [row["created_utc"] for row in rows]
    assert times == sorted(times)
    assert times[0] >= MONTH_START_UTC
    assert times[-1] <= MONTH_START_UTC + MONTH_S
    assert len({row["id"] for row in rows}) == len(rows)


def test_comments_have_the_members_and_lengths_of_2024(comments: list[dict[str, Any]]) -> None:
    keys = Counter(len(row) for row in comments)
    assert min(keys) >= 65 and max(keys) <= 79
    assert 1_500 <= RAW_BYTES / len(comments) <= 2_100
    gone = [row for row in comments if row["author"] == "[deleted]"]
    assert 0.03 < len(gone) / len(comments) < 0.12
    assert not any("author_fullname" in row for row in gone)
    assert {"[removed]", "[deleted]"} <= {row["body"] for row in comments}


def test_submissions_have_the_shares_of_2024(submissions: list[dict[str, Any]]) -> None:
    assert min(len(row) for row in submissions) >= 100
    assert max(len(row) for row in submissions) <= 161
    assert 4_000 <= RAW_BYTES / len(submissions) <= 5_000
    assert 0.09 < share(submissions, "is_gallery") < 0.17
    assert 0.03 < share(submissions, "crosspost_parent") < 0.09
    assert 0.40 < share(submissions, "over_18") < 0.50
    assert 0.12 < share(submissions, "removed_by_category") < 0.20
    assert 0.25 < share(submissions, "preview") < 0.50


def test_galleries_list_what_media_metadata_describes(submissions: list[dict[str, Any]]) -> None:
    galleries = [row for row in submissions if row.get("is_gallery")]
    filled = [row for row in galleries if row["gallery_data"]]
    assert 0 < len(filled) < len(galleries)
    for row in filled:
        items = [item["media_id"] for item in row["gallery_data"]["items"]]
        assert sorted(items) == list(row["media_metadata"])


def test_a_crosspost_holds_the_whole_submission_that_it_names(
    submissions: list[dict[str, Any]],
) -> None:
    crossposts = [row for row in submissions if "crosspost_parent" in row]
    for row in crossposts:
        (parent,) = row["crosspost_parent_list"]
        assert row["crosspost_parent"] == parent["name"] == f"t3_{parent['id']}"
        assert len(parent) > 90 and "_meta" not in parent


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    first, again = (ensure_month("RC", 200_000, 5, tmp_path / name) for name in ("a", "b"))
    other = ensure_month("RC", 200_000, 6, tmp_path / "a")
    assert first.path.read_bytes() == again.path.read_bytes()
    assert first.path.read_bytes() != other.path.read_bytes()


def test_a_month_made_before_is_used_again(tmp_path: Path) -> None:
    made = ensure_month("RS", 100_000, 0, tmp_path)
    written = made.path.stat().st_mtime_ns
    assert ensure_month("RS", 100_000, 0, tmp_path) == made
    assert made.path.stat().st_mtime_ns == written


def test_the_file_is_one_frame_with_a_checksum_and_a_window_of_2_gib(tmp_path: Path) -> None:
    month = ensure_month("RC", 300_000, 0, tmp_path)
    data = month.path.read_bytes()
    frame = zstandard.get_frame_parameters(data)
    assert (frame.window_size, frame.has_checksum) == (1 << 31, True)
    raw = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj().decompress(data)
    assert (len(raw), raw.count(b"\n")) == (month.raw_bytes, month.num_lines)
    assert raw.endswith(b"}\n")


def test_the_command_line_says_where_the_month_lies(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestration.bench.months", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--kind", "RS", "--raw-mb", "0.1"], capture_output=True, text=True, check=True
    )
    (path,) = tmp_path.rglob("RS_*.zst")
    assert done.stdout.startswith(f"{path}: ")
