"""Runs steps: skips what is done, publishes what is whole, records what happened."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from orchestration import runlog
from orchestration.approve import QualityError
from orchestration.engines import quiet_engines, ray_cluster
from orchestration.flow import FLOW, Step, step_named
from orchestration.manifests import Manifest, published, rules
from orchestration.memory import PeakMemory
from orchestration.plan import Dumps, Task, gates, not_seen, task_of
from orchestration.profiles import Profile
from orchestration.progress import FileLog, Reporter
from orchestration.prometheus import write_metrics
from orchestration.publishing import publish, put_back
from orchestration.runlog import FULL, RunLog, new_run_id
from pipelines.contract import ConfigError, MissingInputError, Run, WorkerLostError
from pipelines.dumps import discover
from pipelines.locks import held

WATCH_S = 0.5


class RunLockedError(RuntimeError):
    """Another process is running steps under the same root."""


class DiskFullError(OSError):
    """The disk that holds the root is full."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How a run goes about its tasks; never what they make.

    Args:
        only: Names of the steps to run; empty: all.
        months: Months to run monthly steps for, and no other step; empty: everything.
        force: Run what is done, too.
        again: Steps to run though they are done.
        parallel: Months at once, each in a process of its own.
        wait: Wait for another run under the root rather than refuse.
    """

    only: tuple[str, ...] = ()
    months: tuple[str, ...] = ()
    force: bool = False
    again: tuple[str, ...] = ()
    parallel: int = 1
    wait: bool = False

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ConfigError(f"--parallel {self.parallel}: expected at least 1")

    def takes(self, step: str) -> bool:
        """Whether the step is among those to run."""
        return not self.only or step in self.only


def run_profile(profile: Profile, reporter: Reporter, how: How = How()) -> list[Manifest]:
    """Run every step of the flow (or those that `how` names) that is not done.

    Returns:
        Manifests of all of them, made now or before.

    Raises:
        RunLockedError: Another process runs under this root, and `how` says not to wait.
        DiskFullError: No space was left; what was published before stays valid.
        MissingInputError: There are no dumps, or none of a month.
    """
    run = Run(root=profile.root)
    run.root.mkdir(parents=True, exist_ok=True)
    dumps = discover(profile.ingest.inputs, profile.beam.options)
    for month in how.months:
        if month not in dumps:
            raise MissingInputError(f"no dumps of month {month!r}; there are {', '.join(dumps)}")
    log = RunLog(run.root, new_run_id())
    waiting = reporter if how.wait else None
    locked = lock(run.root, log.run_id, shared=bool(how.months), waiting=waiting)
    with disk_errors(run.root), locked, _recorded(run, log):
        log.event(runlog.STARTED, profile=profile.name, pid=os.getpid(), **asdict(how))
        chosen = {month: dumps[month] for month in how.months or dumps}
        finished = _run_months(profile, chosen, how, reporter, log)
        if not how.months:
            finished += _run_rest(profile, dumps, how, reporter, log)
        log.event(runlog.FINISHED)
    return finished


def _run_rest(
    profile: Profile, dumps: Dumps, how: How, reporter: Reporter, log: RunLog
) -> list[Manifest]:
    """The steps over all months, one after another."""
    run, finished = Run(root=profile.root), []
    with ray_cluster(profile) as start_ray:
        for step in FLOW:
            if step.monthly or not how.takes(step.name):
                continue
            forced = how.force or step.name in how.again
            task = task_of(step, profile, run, dumps, forced)
            if task.reasons:
                check_approved(step, run)
            if task.step.ray and task.reasons:
                start_ray()
            finished.append(run_task(task, run, reporter, log))
            write_metrics(run.root)
    return finished


def check_approved(step: Step, run: Run) -> None:
    """That the steps which a step must follow have seen its inputs as they are now.

    `--only` may leave them out, or run after they refused.

    Raises:
        QualityError: They have not.
    """
    unseen = [table for name in step.after for table in not_seen(step_named(name), step, run)]
    if unseen:
        first = " ".join(f"--only {name}" for name in gates(step))
        raise QualityError(
            f"{step.name}: {', '.join(step.after)} has not passed {', '.join(unseen)} as they are "
            f"now, so nothing was published; run {first} --only {step.name}, with --set "
            "approve.policy=always if they are to be published in any case"
        )


def _run_months(
    profile: Profile, dumps: Dumps, how: How, reporter: Reporter, log: RunLog
) -> list[Manifest]:
    """The monthly steps of each month; several months at once where `how` says so."""
    if how.parallel == 1 or len(dumps) == 1:
        return [
            manifest
            for month in dumps
            for manifest in run_month(profile, month, dumps, how, reporter=reporter, log=log)
        ]
    with reporter.watching(profile.root / "logs", log.run_id):
        return _run_beside(profile, dumps, how, reporter, log)


def _run_beside(
    profile: Profile, dumps: Dumps, how: How, reporter: Reporter, log: RunLog
) -> list[Manifest]:
    """The monthly steps of several months at once, each month in a process of its own."""
    context, finished = get_context("spawn"), []
    errors: list[BaseException] = []
    pool = ProcessPoolExecutor(
        min(how.parallel, len(dumps)), context, initializer=_die_with, initargs=(os.getpid(),)
    )
    try:
        under_way = {
            pool.submit(_run_month_here, profile, month, dumps, how, log): month for month in dumps
        }
        for done in as_completed(under_way):
            try:
                manifests = done.result()
            except BrokenProcessPool as error:
                lost = WorkerLostError(
                    "a process that ran months was killed; run the same command again: finished "
                    "months are kept"
                )
                raise lost from error
            except Exception as error:  # noqa: BLE001  told at once; the other months go on
                reporter.note("failed", f"{under_way[done]}: {error}")
                errors.append(error)
                continue
            finished += manifests
            for manifest in manifests:
                reporter.done(manifest, is_new=manifest.run_id == log.run_id)
    finally:
        pool.shutdown(cancel_futures=True)  # who stops a run wants no further month begun
    if errors:
        raise errors[0]
    return sorted(finished, key=lambda manifest: manifest.month)


def _run_month_here(
    profile: Profile, month: str, dumps: Dumps, how: How, log: RunLog
) -> list[Manifest]:
    quiet_engines()
    return run_month(profile, month, dumps, how, reporter=Reporter(Console(quiet=True)), log=log)


def _die_with(parent: int) -> None:
    """End this process when its parent has ended: nobody would take what it makes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_month(
    profile: Profile, month: str, dumps: Dumps, how: How, *, reporter: Reporter, log: RunLog
) -> list[Manifest]:
    """The monthly steps of one month, which nobody else runs meanwhile.

    Raises:
        RunLockedError: Another process runs this month.
    """
    run = Run(root=profile.root, month=month)
    finished = []
    waiting = reporter if how.wait else None
    with lock(run.root, log.run_id, month=month, waiting=waiting):
        for step in FLOW:
            if step.monthly and how.takes(step.name):
                task = task_of(step, profile, run, dumps, how.force)
                finished.append(run_task(task, run, reporter, log))
        write_metrics(run.root)
    return finished


def run_task(task: Task, run: Run, reporter: Reporter, log: RunLog) -> Manifest:
    """Run one task if it has a reason to, publish its tables, and return its manifest."""
    named = {"step": task.step.name, "month": task.key}
    if not task.reasons:
        manifest = published(run, task.step.name)[task.key]
        log.event(runlog.STEP_SKIPPED, **named, made_by=manifest.run_id, kept=task.kept)
        reporter.skipped(task.label, manifest, task.kept)
        return manifest
    log.event(runlog.STEP_STARTED, **named, fingerprint=task.fingerprint, because=task.reasons)
    try:
        manifest = _made(task, run, reporter, log)
    except BaseException as error:
        log.event(runlog.STEP_FAILED, **named, error=type(error).__name__, message=str(error))
        raise
    done = {"seconds": manifest.seconds, "counts": asdict(manifest.counts)}
    log.event(runlog.STEP_FINISHED, **named, **done, bytes_written=manifest.bytes_written)
    reporter.finished(task.label, manifest)
    return manifest


def _made(task: Task, run: Run, reporter: Reporter, log: RunLog) -> Manifest:
    staging = run.root / ".staging" / f"{task.step.name}-{task.key}-{task.fingerprint[:16]}"
    clear_staging(task, run.root, keep=staging if task.step.resumable else None)
    started = time.monotonic()
    target = run.root / "logs" / f"{task.step.name}-{task.key}.log"

    def noted(text: str) -> None:
        log.event(runlog.STEP_NOTED, step=task.step.name, month=task.key, text=text)
        reporter.note(task.label, text)

    files = FileLog(target, task.step.name, task.key, log.run_id)
    with reporter.step(task.label, files) as shown, PeakMemory() as memory, disk_errors(run.root):
        staged = replace(
            run,
            month=task.month,
            rules=rules(task.lineage),
            staging=staging,
            on_progress=shown.progress,
            on_file=shown.file,
            on_note=noted,
        )
        put_back(task, staged)
        counts = task.step.load()(task.config, task.resources, staged)
        bytes_written, hashes = publish(task, staged)
    manifest = Manifest(
        step=task.step.name,
        month=task.key,
        fingerprint=task.fingerprint,
        config=asdict(task.config),
        counts=counts,
        seconds=round(time.monotonic() - started, 3),
        peak_rss_bytes=memory.peak_bytes,
        bytes_written=bytes_written,
        code_version=code_version(),
        depends=task.depends,
        outputs=hashes,
        lineage=task.lineage,
        run_id=log.run_id,
        finished_utc=int(time.time()),
    )
    manifest.write(run)
    shutil.rmtree(staging, ignore_errors=True)
    return manifest


def clear_staging(task: Task, root: Path, keep: Path | None) -> None:
    """Remove what killed runs of this task left, but for the folder that it can resume from."""
    for folder in (root / ".staging").glob(f"{task.step.name}-{task.key}-*"):
        if folder != keep:
            shutil.rmtree(folder)


@contextmanager
def lock(
    root: Path,
    run_id: str = "",
    *,
    month: str = "",
    shared: bool = False,
    waiting: Reporter | None = None,
) -> Iterator[None]:
    """Hold the root for this process, or one month of it; the kernel lets go of it in any end.

    Args:
        root: Folder of the run.
        run_id: Told to whom finds it held.
        month: Of it alone; whoever holds one holds the root, too, maybe with others.
        shared: Beside others who hold single months.
        waiting: Tells that another process is waited for; None: refuse.

    Raises:
        RunLockedError: Another process holds it.
    """
    file = root / (f".lock-{month}" if month else ".lock")
    what = f"month {month} of {root}" if month else str(root)
    busy = RunLockedError(
        f"another run is under way in {what}{holder(file)}; wait for it with --wait, or choose "
        "another --root"
    )
    on_wait = None if waiting is None else lambda: waiting.note("waiting", str(busy))
    with held(file, busy, shared=shared, on_wait=on_wait):
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        told = {"pid": os.getpid(), "host": socket.gethostname(), "run": run_id, "since": now}
        file.write_text(json.dumps(told))
        yield


def holder(file: Path) -> str:
    """Who took a lock last, as words in brackets; empty if unknown."""
    try:
        told = json.loads(file.read_text())
    except (OSError, json.JSONDecodeError):
        return ""
    return f" (process {told['pid']} on {told['host']}, run {told['run']}, since {told['since']})"


@contextmanager
def _recorded(run: Run, log: RunLog) -> Iterator[None]:
    """Log how the run ended, whatever the end, and leave fresh metrics."""
    try:
        yield
    except BaseException as error:
        log.event(runlog.FAILED, error=type(error).__name__, message=str(error))
        raise
    finally:
        write_metrics(run.root)


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn a full disk into one clear error.

    Raises:
        DiskFullError: Whatever ran out of space in this context.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFullError) or not _tells_of_full_disk(error):
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


def _tells_of_full_disk(error: BaseException) -> bool:
    """Whether it is that, or was; Ray hands on as text what its workers met."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:  # an error may be its own cause
        chain.append(cause)
        cause = cause.__cause__
    return any(
        (isinstance(e, OSError) and e.errno in FULL)
        or any(os.strerror(number) in str(e) for number in FULL)
        for e in chain
    )
