"""Runs steps: skips what is done, publishes what is whole, records what happened.

Order of a publication: the old manifest goes, tables are renamed into place, the new manifest is
written. Whenever the process dies, a table either has a manifest and is whole, or the step runs
again and replaces it.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestration.engines import ray_cluster
from orchestration.flow import FLOW, Step
from orchestration.manifests import (
    ALL_MONTHS,
    Manifest,
    dump_identity,
    fingerprint,
    input_fingerprints,
    published,
)
from orchestration.memory import PeakMemory
from orchestration.profiles import Profile
from orchestration.progress import FileLog, Reporter
from pipelines.contract import ConfigError, Run
from pipelines.dumps import Dump, discover
from pipelines.locks import held


class RunLockedError(RuntimeError):
    """Another process is running steps under the same root."""


class DiskFullError(OSError):
    """The disk that holds the root is full."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One step for one month (or for all): what would run, under which fingerprint, and why.

    Args:
        reason: Why it must run; None if it is done.
    """

    step: Step
    config: Any
    resources: Any
    month: str | None
    fingerprint: str
    reason: str | None

    @property
    def key(self) -> str:
        """Month in manifests and file names."""
        return self.month or ALL_MONTHS


def run_profile(
    profile: Profile, reporter: Reporter, only: tuple[str, ...] = (), force: bool = False
) -> list[Manifest]:
    """Run every step of the flow (or those in `only`) that is not done; return all manifests.

    Raises:
        RunLockedError: Another process runs under this root.
        DiskFullError: No space was left; what was published before stays valid.
    """
    run = Run(root=profile.root)
    run.root.mkdir(parents=True, exist_ok=True)
    dumps = discover(profile.ingest.inputs, profile.beam.options)
    finished = []
    with lock(run.root), ray_cluster(profile) as start_ray:
        for step in FLOW:
            if only and step.name not in only:
                continue
            for task in tasks(step, profile, run, dumps, force):
                if task.step.ray and task.reason:
                    start_ray()
                finished.append(run_task(task, run, reporter))
    return finished


def tasks(
    step: Step, profile: Profile, run: Run, dumps: dict[str, list[Dump]], force: bool = False
) -> Iterator[Task]:
    """The step's tasks, a month each where it is monthly, with the reason why each must run."""
    for month in sorted(dumps) if step.monthly else [None]:
        config, resources = profile.settings(step.name)
        month_run = replace(run, month=month)
        external = dumps[month] if month and step.name == "ingest" else []
        mark = fingerprint(step, config, month_run, [dump_identity(dump) for dump in external])
        previous = published(run, step.name).get(month or ALL_MONTHS)
        yield Task(
            step=step,
            config=config,
            resources=resources,
            month=month,
            fingerprint=mark,
            reason=_reason(previous, mark, step, run, force),
        )


def _reason(previous: Manifest | None, mark: str, step: Step, run: Run, force: bool) -> str | None:
    if previous is None:
        return "not made yet"
    if force:
        return "forced"
    if previous.fingerprint != mark:
        return "config or inputs changed"
    missing = [w.name for w in step.writes if not w.path(run).exists()]
    return f"missing: {', '.join(missing)}" if missing else None


def run_task(task: Task, run: Run, reporter: Reporter) -> Manifest:
    """Run one task if it has a reason to, publish its tables, and return its manifest."""
    label = task.step.name + (f" {task.month}" if task.month else "")
    if task.reason is None:
        manifest = published(run, task.step.name)[task.key]
        reporter.skipped(label, manifest)
        return manifest
    staging = run.root / ".staging" / f"{task.step.name}-{task.key}-{task.fingerprint[:16]}"
    clear_staging(task, run.root, keep=staging if task.step.resumable else None)
    started = time.monotonic()
    log = FileLog(run.root / "logs" / f"{task.step.name}-{task.key}.log", task.step.name, task.key)
    with reporter.step(label, log) as shown, PeakMemory() as memory, disk_errors(run.root):
        staged = replace(
            run,
            month=task.month,
            staging=staging,
            on_progress=shown.progress,
            on_file=shown.file,
        )
        counts = task.step.load()(task.config, task.resources, staged)
        bytes_written = publish(task, staged)
    manifest = Manifest(
        step=task.step.name,
        month=task.key,
        fingerprint=task.fingerprint,
        config=asdict(task.config),
        inputs=input_fingerprints(task.step, replace(run, month=task.month)),
        counts=counts,
        seconds=round(time.monotonic() - started, 3),
        peak_rss_bytes=memory.peak_bytes,
        bytes_written=bytes_written,
        code_version=code_version(),
    )
    manifest.write(run)
    shutil.rmtree(staging, ignore_errors=True)
    reporter.finished(label, manifest)
    return manifest


def publish(task: Task, run: Run) -> int:
    """Move what the step staged into place; return the bytes published."""
    Manifest.location(run, task.step.name, task.key).unlink(missing_ok=True)
    total = 0
    for output in task.step.writes:
        source, target = run.staged(output), output.path(run)
        total += sum(f.stat().st_size for f in source.rglob("*") if f.is_file())
        retired = run.root / ".staging" / f"retired-{output.name}-{task.key}"
        shutil.rmtree(retired, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(retired)
        source.rename(target)
        shutil.rmtree(retired, ignore_errors=True)
    return total


def clear_staging(task: Task, root: Path, keep: Path | None) -> None:
    """Remove what killed runs of this task left, but for the folder that it can resume from."""
    for folder in (root / ".staging").glob(f"{task.step.name}-{task.key}-*"):
        if folder != keep:
            shutil.rmtree(folder)


@contextmanager
def lock(root: Path) -> Iterator[None]:
    """Hold the root for this process; the kernel lets go of it however the process ends.

    Raises:
        RunLockedError: Another process holds it.
    """
    busy = RunLockedError(
        f"another run is under way in {root}; wait for it or choose another --root"
    )
    with held(root / ".lock", busy):
        yield


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn a full disk into one clear error.

    Raises:
        DiskFullError: Whatever ran out of space in this context.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(root).free
        raise DiskFullError(
            errno.ENOSPC,
            f"no space left under {root} ({free / 1e6:.0f} MB free); make room and run the same "
            "command again: finished steps are kept",
        ) from error


def code_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("tastegraph")
    except PackageNotFoundError as error:
        raise ConfigError("tastegraph is not installed: run `pip install -e .`") from error
