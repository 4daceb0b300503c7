from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from orchestration.manifests import Manifest, fingerprint, published
from orchestration.progress import Reporter
from orchestration.runner import DiskFullError, RunLockedError, Task, lock, run_task
from pipelines.contract import Run
from tests.orchestration.steps import NUMBERS, STEP, NumbersConfig

REPORTER = Reporter(Console(quiet=True))


def task(run: Run, config: NumbersConfig, reason: str | None = "not made yet") -> Task:
    mark = fingerprint(STEP, config, run, ())
    return Task(
        step=STEP, config=config, resources=None, month=None, fingerprint=mark, reason=reason
    )


def numbers(run: Run) -> list[int]:
    return NUMBERS.read(run)["number"].to_pylist()


def test_publishes_the_table_and_then_the_manifest(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    manifest = run_task(task(run, NumbersConfig()), run, REPORTER)
    assert numbers(run) == [0, 1, 2]
    assert published(run, "numbers") == {"all": manifest}
    assert manifest.counts.rows_out == 3
    assert manifest.peak_rss_bytes > 0
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_task_without_a_reason_is_skipped(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    first = run_task(task(run, NumbersConfig()), run, REPORTER)
    (tmp_path / "tables" / "numbers" / "part-0.parquet").unlink()  # would come back if it ran
    assert run_task(task(run, NumbersConfig(), reason=None), run, REPORTER) == first
    assert NUMBERS.files(run) == []


def test_another_config_replaces_the_table(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    before = run_task(task(run, NumbersConfig()), run, REPORTER)
    after = run_task(task(run, NumbersConfig(count=5)), run, REPORTER)
    assert numbers(run) == [0, 1, 2, 3, 4]
    assert before.fingerprint != after.fingerprint


def test_a_failing_step_publishes_nothing_and_keeps_what_was(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    kept = run_task(task(run, NumbersConfig()), run, REPORTER)
    with pytest.raises(RuntimeError, match="broken"):
        run_task(task(run, NumbersConfig(count=9, fail_with="broken")), run, REPORTER)
    assert numbers(run) == [0, 1, 2]
    assert published(run, "numbers") == {"all": kept}


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    with pytest.raises(DiskFullError, match=r"no space left under .* run the same command again"):
        run_task(task(run, NumbersConfig(fail_with="disk")), run, REPORTER)


def test_a_damaged_manifest_says_what_to_do(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    run_task(task(run, NumbersConfig()), run, REPORTER)
    Manifest.location(run, "numbers", "all").write_text("{")
    with pytest.raises(ValueError, match="delete it to run the step again"):
        published(run, "numbers")


def test_a_second_run_on_one_root_refuses(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom orchestration.runner import lock\n"
        f"with lock(Path({str(tmp_path)!r})):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunLockedError, match="another run is under way"), lock(tmp_path):
            pass
        holder.kill()
    with lock(tmp_path):  # the kernel let go of it
        pass
