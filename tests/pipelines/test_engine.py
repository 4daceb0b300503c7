from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipelines.config import BeamResources
from pipelines.contract import ConfigError, Run
from pipelines.engine import (
    load_all,
    note,
    noted,
    pipeline,
    progress_from,
    save_all,
)
from pipelines.quiet_beam import beam, quiet


@pytest.mark.engine
def test_what_a_pipeline_saves_reaches_the_driver(tmp_path: Path) -> None:
    with pipeline(BeamResources(), tmp_path / "log") as root:
        save_all(root | beam.Create([3, 1, 2]), tmp_path / "some")
        save_all(root | "None" >> beam.Create([]), tmp_path / "none")
    assert sorted(load_all(tmp_path / "some")) == [1, 2, 3]
    assert load_all(tmp_path / "none") == []


@pytest.mark.engine
def test_an_option_that_beam_does_not_know_is_named(tmp_path: Path) -> None:
    resources = BeamResources(options=("--job_name=x", "--direct_num_worker=2"))
    with (
        pytest.raises(ConfigError, match="no pipeline option direct_num_worker;"),
        pipeline(resources, tmp_path / "log"),
    ):
        pass


@pytest.mark.engine
def test_errors_that_are_not_the_systems_stay_what_they_are(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError, match="while running"),
        pipeline(BeamResources(), tmp_path / "log") as root,
    ):
        _ = root | beam.Create([0]) | beam.Map(lambda x: 1 // x)


def test_notes_of_all_workers_add_up(tmp_path: Path) -> None:
    one, two = note(tmp_path, "one"), note(tmp_path, "two")
    one(3.0)
    two(4.0)
    one(10.0)
    (tmp_path / "half.tmp").write_text("9")
    assert noted(tmp_path) == 14


def test_progress_is_told_at_least_once(tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str]] = []
    run = Run(root=tmp_path, on_progress=lambda *report: told.append(report))
    with progress_from(tmp_path / "notes", run, 7, "bytes"):
        note(tmp_path / "notes", "a")(7)
    assert told == [(7, 7, "bytes")]


def test_quiet_leaves_logging_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    with pytest.raises(KeyError), quiet(logging.WARNING):
        logging.warning("not shown")
        logging.error("shown")
        root.addHandler(logging.NullHandler())
        raise KeyError
    assert (root.handlers, root.manager.disable) == (handlers, disabled)
    logging.warning("shown again")
    assert [record.message for record in caplog.records] == ["shown", "shown again"]
