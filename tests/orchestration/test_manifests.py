from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestration.manifests import describe, fingerprint, identity
from pipelines.contract import Run
from tests.orchestration.steps import STEP, NumbersConfig


@dataclass(frozen=True, kw_only=True)
class PlacedConfig:
    """A config with a place in it."""

    archive: str = field(metadata={"location": True})
    inputs: tuple[str, ...] = field(default=(), metadata={"location": "external"})
    seed: int = 0


def test_a_place_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shard").write_text("same")
    here, there = (
        PlacedConfig(archive=str(tmp_path / "a")),
        PlacedConfig(archive=str(tmp_path / "b"), inputs=("elsewhere",)),
    )
    assert describe(here) == describe(there)
    (tmp_path / "b" / "shard").write_text("changed")
    assert describe(here) != describe(there)


def test_what_is_absent_differs_from_what_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert identity(tmp_path / "empty")[1:] != identity(tmp_path / "absent")[1:]


def test_a_fingerprint_changes_with_config_month_and_input_files(tmp_path: Path) -> None:
    run, config = Run(root=tmp_path), NumbersConfig()
    (tmp_path / "dump").write_text("1")
    marks = {
        fingerprint(STEP, config, run, ()),
        fingerprint(STEP, replace(config, count=4), run, ()),
        fingerprint(STEP, config, replace(run, month="2019-08"), ()),
        fingerprint(STEP, config, run, [identity(tmp_path / "dump")]),
    }
    assert len(marks) == 4
    assert fingerprint(STEP, NumbersConfig(), Run(root=tmp_path / "other"), ()) in marks
