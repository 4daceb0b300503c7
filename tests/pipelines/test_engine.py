from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from pipelines import engine
from pipelines.config import BeamResources
from pipelines.contract import ConfigError, FileProgress, Run, WorkerLostError
from pipelines.engine import (
    FileNote,
    file_progress_from,
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
    options = ("--s3_secret_access_key=secret", "--direct_num_worker=2")
    with (
        pytest.raises(
            ConfigError, match=r"option direct_num_worker; expected direct_num_workers$"
        ) as caught,
        pipeline(BeamResources(options=options), tmp_path / "log"),
    ):
        pass
    assert "=secret" not in str(caught.value)


@pytest.mark.engine
def test_errors_that_are_not_the_systems_stay_what_they_are(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError, match="while running"),
        pipeline(BeamResources(), tmp_path / "log") as root,
    ):
        _ = root | beam.Create([0]) | beam.Map(lambda x: 1 // x)


def _kill_own_process(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.engine
def test_a_worker_that_is_killed_ends_the_pipeline(tmp_path: Path) -> None:
    with (
        pytest.raises(WorkerLostError, match="a Beam worker process was killed"),
        pipeline(BeamResources(workers=2), tmp_path / "log") as root,
    ):
        _ = root | beam.Create([0]) | beam.Reshuffle() | beam.Map(_kill_own_process)


@pytest.mark.engine
def test_a_worker_that_is_killed_before_it_works_ends_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with (
        pytest.raises(WorkerLostError, match="a Beam worker process was killed"),
        pipeline(BeamResources(workers=2), tmp_path / "log") as root,
    ):
        _ = root | beam.Create([0]) | beam.Reshuffle() | beam.Map(print)


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


def test_files_are_reported_one_by_one_and_in_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "POLL_S", 3600)
    files: list[FileProgress] = []
    told: list[tuple[float, float | None, str]] = []
    run = Run(root=tmp_path, on_file=files.append, on_progress=lambda *report: told.append(report))
    times = iter((100.0, 100.0, 104.0, 105.0))
    with file_progress_from(tmp_path / "notes", run, 500):
        reading = FileNote(tmp_path / "notes", "0-RC", "RC.zst", 400, lambda: 7.0)
        whole = FileNote(tmp_path / "notes", "1-RS", "RS.zst", 100, lambda: next(times))
        reading.read(40, 3)
        whole.read(60, 8)
        whole.finish()
    assert files == [
        FileProgress(
            label="RC.zst",
            done_bytes=40,
            total_bytes=400,
            num_lines=3,
            started_utc=7.0,
            noted_utc=7.0,
        ),
        FileProgress(
            label="RS.zst",
            done_bytes=100,
            total_bytes=100,
            num_lines=8,
            started_utc=100.0,
            noted_utc=105.0,
            is_finished=True,
        ),
    ]
    assert told == [(140, 500, "bytes")]


def test_a_finished_file_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "POLL_S", 0.001)
    files: list[FileProgress] = []
    seen = threading.Event()

    def on_progress(done: float, total: float | None, unit: str) -> None:
        if done == 10:
            seen.set()

    run = Run(root=tmp_path, on_file=files.append, on_progress=on_progress)
    with file_progress_from(tmp_path / "notes", run, 10):
        FileNote(tmp_path / "notes", "0-RC", "RC.zst", 10).finish()
        assert seen.wait(timeout=60)
    assert [file.is_finished for file in files].count(True) == 1


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
