"""A small part of `make fuzz-ingest`, and that it would notice what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.dumps import Kind
from tests.pipelines.fuzz import check_container, check_lines, compare, ingest_bytes, some_lines
from tests.pipelines.mutations import Container, mutated, mutated_container

pytestmark = pytest.mark.engine

RAW = some_lines(40, seed=0)
LINES = RAW.split(b"\n")[:-1]


def in_container(number: int, kind: str) -> Container:
    """The first mutated file of this kind from seed `number` on."""
    found = (mutated_container(RAW, seed) for seed in range(number, number + 100))
    return next(container for container in found if container.kind == kind)


@pytest.mark.parametrize("kind", ["RC", "RS"])
def test_mutated_lines_are_read_as_the_plain_parser_reads_them(kind: Kind, tmp_path: Path) -> None:
    counts = check_lines(kind, 1_500, 11, tmp_path / "work")
    assert counts.rows_in >= 1_500 - 50
    assert {"bad_json", "bad_utf8", "bad_id", "bad_time", "not_object"} <= set(counts.rejected)


@pytest.mark.parametrize("seed", range(12))
def test_mutated_files_are_whole_or_reported(seed: int, tmp_path: Path) -> None:
    check_container(mutated_container(RAW, seed), RAW, tmp_path / "work")


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("cut", "corrupt"), ("garbage", "corrupt"), ("other", "corrupt"), ("twice", "whole")],
)
def test_what_was_done_to_a_file_decides_what_must_be_reported(
    kind: str, outcome: str, tmp_path: Path
) -> None:
    for number in (0, 100):
        container = in_container(number, kind)
        assert check_container(container, RAW, tmp_path / "work") == outcome


def test_a_row_that_differs_is_noticed(tmp_path: Path) -> None:
    counts, run = ingest_bytes(RAW, "RC_2025-12.ndjson", tmp_path / "work")
    compare("RC", LINES, counts, run)
    at = next(n for n, line in enumerate(LINES) if b'"body":"[' not in line)
    other = [*LINES[:at], LINES[at].replace(b'"body":"', b'"body":"not '), *LINES[at + 1 :]]
    with pytest.raises(AssertionError, match=r"'body': \('[^n]"):
        compare("RC", other, counts, run)


def test_a_reject_that_differs_is_noticed_with_its_line(tmp_path: Path) -> None:
    counts, run = ingest_bytes(RAW, "RC_2025-12.ndjson", tmp_path / "work")
    with pytest.raises(AssertionError, match="line 3: None, expected bad_json"):
        compare("RC", [*LINES[:2], b"{", *LINES[3:]], counts, run)


def test_a_seed_decides_every_mutation() -> None:
    assert mutated(LINES, 5) == mutated(LINES, 5)
    assert mutated(LINES, 5) != mutated(LINES, 6)
    assert mutated_container(RAW, 5) == mutated_container(RAW, 5)
