from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from orchestration import profiles, runlog
from orchestration.manifests import Manifest, depends, fingerprint, published
from orchestration.plan import Task
from orchestration.progress import Reporter
from orchestration.runlog import RunLog
from orchestration.runner import (
    DiskFullError,
    How,
    RunLockedError,
    disk_errors,
    lock,
    run_profile,
    run_task,
)
from pipelines.contract import Run
from tests.orchestration.steps import NUMBERS, STEP, NumbersConfig, marked_month

REPORTER = Reporter(Console(quiet=True))


def task(run: Run, config: NumbersConfig, reasons: tuple[str, ...] = ("not made yet",)) -> Task:
    on = depends(STEP, config, run)
    mark = fingerprint(STEP, None, on)
    return Task(
        step=STEP,
        config=config,
        resources=None,
        month=None,
        fingerprint=mark,
        depends=on,
        reasons=reasons,
    )


def ran(it: Task, run: Run) -> Manifest:
    return run_task(it, run, REPORTER, RunLog(run.root, "r"))


def numbers(run: Run) -> list[int]:
    return NUMBERS.read(run)["number"].to_pylist()


def test_what_a_killed_publication_had_moved_aside_is_there_again_when_the_step_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the old table went and before the new one came: steps go on from the old."""
    run = Run(root=tmp_path)
    ran(task(run, NumbersConfig()), run)
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if target == NUMBERS.path(run):
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            ran(task(run, NumbersConfig(count=4)), run)
    assert not NUMBERS.path(run).exists()
    with pytest.raises(RuntimeError, match="late"):
        ran(task(run, NumbersConfig(count=5, fail_with="late")), run)
    assert numbers(run) == [0, 1, 2]
    ran(task(run, NumbersConfig(count=4)), run)
    assert numbers(run) == [0, 1, 2, 3]


def test_publishes_the_table_and_then_the_manifest(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    manifest = ran(task(run, NumbersConfig()), run)
    assert numbers(run) == [0, 1, 2]
    assert published(run, "numbers") == {"all": manifest}
    assert manifest.counts.rows_out == 3
    assert manifest.peak_rss_bytes > 0
    assert list((tmp_path / ".staging").iterdir()) == []


def test_what_a_step_says_is_shown_at_once_and_logged(tmp_path: Path) -> None:
    run, shown = Run(root=tmp_path), io.StringIO()
    said = task(run, NumbersConfig(note="a.example [silent] is waited for"))
    run_task(said, run, Reporter(Console(file=shown, width=200)), RunLog(run.root, "r"))
    noted, done = shown.getvalue().splitlines()
    assert noted.split(maxsplit=2) == ["note", "numbers", "a.example [silent] is waited for"]
    assert done.startswith("done")
    (event,) = (e for e in runlog.events(run.root, "r") if e["event"] == runlog.STEP_NOTED)
    assert (event["step"], event["text"]) == ("numbers", "a.example [silent] is waited for")


def test_a_task_without_a_reason_is_skipped(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    first = ran(task(run, NumbersConfig()), run)
    (tmp_path / "tables" / "numbers" / "part-0.parquet").unlink()  # would come back if it ran
    assert ran(task(run, NumbersConfig(), reasons=()), run) == first
    assert NUMBERS.files(run) == []


def test_another_config_replaces_the_table(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    before = ran(task(run, NumbersConfig()), run)
    after = ran(task(run, NumbersConfig(count=5)), run)
    assert numbers(run) == [0, 1, 2, 3, 4]
    assert before.fingerprint != after.fingerprint


def test_a_failing_step_publishes_nothing_and_keeps_what_was(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    kept = ran(task(run, NumbersConfig()), run)
    with pytest.raises(RuntimeError, match="broken"):
        ran(task(run, NumbersConfig(count=9, fail_with="broken")), run)
    assert numbers(run) == [0, 1, 2]
    assert published(run, "numbers") == {"all": kept}


@pytest.mark.parametrize("told", ["disk", "RayTaskError: [Errno 28] No space left on device"])
def test_a_full_disk_is_one_clear_error_whoever_met_it(tmp_path: Path, told: str) -> None:
    run = Run(root=tmp_path)
    with pytest.raises(DiskFullError, match=r"no space left under .* run the same command again"):
        ran(task(run, NumbersConfig(fail_with=told)), run)


def test_an_error_that_is_its_own_cause_stays_what_it_is(tmp_path: Path) -> None:
    error = RuntimeError("odd")
    with pytest.raises(RuntimeError, match="odd"), disk_errors(tmp_path):
        raise error from error


def test_a_damaged_manifest_says_what_to_do(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    ran(task(run, NumbersConfig()), run)
    run.manifest("numbers", "all").write_text("{")
    with pytest.raises(ValueError, match="delete it to run the step again"):
        published(run, "numbers")


def test_a_manifest_that_goes_while_they_are_read_is_not_there(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    kept = ran(task(run, NumbersConfig()), run)
    gone = run.manifest("numbers", "2019-08")
    gone.symlink_to(tmp_path / "gone")  # listed, but not there when it is opened
    assert published(run, "numbers") == {"all": kept}


def test_the_log_tells_what_became_of_each_step(tmp_path: Path) -> None:
    run, log = Run(root=tmp_path), RunLog(tmp_path, "r")
    run_task(task(run, NumbersConfig()), run, REPORTER, log)
    run_task(task(run, NumbersConfig(), reasons=()), run, REPORTER, log)
    with pytest.raises(RuntimeError, match="broken"):
        run_task(task(run, NumbersConfig(fail_with="broken")), run, REPORTER, log)
    with (runlog.folder(tmp_path) / "r.jsonl").open("a") as file:
        file.write('{"cut')  # by a kill
    told = runlog.events(tmp_path, "r")
    assert [(event["run"], event["step"], event["event"]) for event in told] == [
        ("r", "numbers", runlog.STEP_STARTED),
        ("r", "numbers", runlog.STEP_FINISHED),
        ("r", "numbers", runlog.STEP_SKIPPED),
        ("r", "numbers", runlog.STEP_STARTED),
        ("r", "numbers", runlog.STEP_FAILED),
    ]
    assert told[1]["counts"]["rows_out"] == 3
    assert told[4]["message"] == "broken"


HOLDER = """
import sys
from pathlib import Path
from orchestration.runner import lock
with lock(Path(sys.argv[1]), "run-1", month=sys.argv[2], shared=sys.argv[3] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(root: Path, month: str = "", kind: str = "alone") -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-c", HOLDER, str(root), month, kind]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder
        holder.kill()


def test_a_second_run_on_one_root_refuses_and_names_the_first(tmp_path: Path) -> None:
    with holding(tmp_path) as holder:
        told = rf"another run is under way in .* \(process {holder.pid} on .*, run run-1, since "
        with pytest.raises(RunLockedError, match=told), lock(tmp_path):
            pass
        with pytest.raises(RunLockedError), lock(tmp_path, shared=True):
            pass
    with lock(tmp_path):  # the kernel let go of it
        pass


def test_a_second_run_waits_if_told_to(tmp_path: Path) -> None:
    shown = io.StringIO()
    with holding(tmp_path) as holder:
        assert holder.stdin is not None
        threading.Timer(0.5, holder.stdin.close).start()
        with lock(tmp_path, waiting=Reporter(Console(file=shown, width=200))):
            assert holder.wait(timeout=10) == 0
    assert "another run is under way" in shown.getvalue()


def test_months_run_beside_each_other_but_each_once(tmp_path: Path) -> None:
    with holding(tmp_path, kind="shared"), holding(tmp_path, month="2019-08"):
        with lock(tmp_path, shared=True), lock(tmp_path, month="2019-09"):
            pass
        with (
            pytest.raises(RunLockedError, match="in month 2019-08"),
            lock(tmp_path, month="2019-08"),
        ):
            pass
        with pytest.raises(RunLockedError), lock(tmp_path):
            pass


def test_a_run_that_is_stopped_begins_no_further_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Reporter):
        def note(self, label: str, text: str) -> None:
            raise KeyboardInterrupt

    for month in range(1, 13):
        (tmp_path / f"RC_2019-{month:02}.ndjson").touch()
    profile = profiles.dumps(tmp_path / "run", (str(tmp_path),), tmp_path / "key")
    monkeypatch.setattr("orchestration.runner._run_month_here", marked_month)
    with pytest.raises(KeyboardInterrupt):
        run_profile(profile, Stopped(Console(quiet=True)), How(parallel=2))
    begun = list((tmp_path / "run").glob("2019-*"))
    assert 1 <= len(begun) < 12


def test_an_event_that_a_full_disk_cut_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, write = RunLog(tmp_path, "r"), os.write
    log.event(runlog.STARTED, profile="p")
    with monkeypatch.context() as full:
        full.setattr("orchestration.runlog.os.write", lambda file, line: write(file, line[:40]))
        log.event(runlog.STEP_STARTED, step="numbers")
    log.event(runlog.FAILED, error="DiskFullError", message='{"time": "is no event')
    told = runlog.events(tmp_path, "r")
    assert [event["event"] for event in told] == [runlog.STARTED, runlog.FAILED]


def test_a_log_on_a_full_disk_does_not_hide_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(root=tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("orchestration.runlog.os.write", full)
    with pytest.raises(DiskFullError, match="no space left under"):
        ran(task(run, NumbersConfig(fail_with="disk")), run)
