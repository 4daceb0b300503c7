"""How stage 1 runs on Beam: runners, quiet logs, progress, and results that reach the driver."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipelines.config import BeamResources
from pipelines.contract import ConfigError, FileProgress, Run
from pipelines.lost_workers import losses_noticed
from pipelines.quiet_beam import (
    FnApiRunner,
    PipelineOptions,
    SubprocessSDKEnvironment,
    beam,
    quiet,
)
from pipelines.repeat import repeated

POLL_S = 0.5
_LOCAL = "DirectRunner"
_STARTED_BY_JAVA = ("FlinkRunner", "SparkRunner")
CONNECT_S = 5
_JOB_TIMEOUT_S = 30 * 24 * 3600
_OS_ERROR = re.compile(r"\[Errno (\d+)\]")
# The last line of a Python traceback, which other runners wrap in stacks of their own.
_RAISED = re.compile(r"^(?:\w+\.)*\w+(?:Error|Exception): .*", re.MULTILINE)


@contextmanager
def pipeline(resources: BeamResources, log: Path) -> Iterator[beam.Pipeline]:
    """A Beam pipeline that runs when the context closes, and waits until it is done.

    DirectRunner stands for Beam's own runner on this machine: in Beam 2.77 the class of that name
    first tries to download another one.

    Args:
        resources: Runner and workers.
        log: File for what worker processes on this machine print.

    Raises:
        ConfigError: Beam does not know one of the options, or the runner misses something: an
            option, Java, a job server that answers.
        OSError: What a worker met, with its error number: Beam reports it as text.
        WorkerLostError: A worker process of the local runner was killed.
        RuntimeError: A job failed on another runner than the local one.
    """
    local = resources.runner == _LOCAL
    options = options_from(_words(resources))
    assert_startable(resources.runner, options)
    # Other runners log the failure of a job as errors, and raise it as well.
    with quiet(logging.WARNING if local else logging.ERROR), losses_noticed():
        try:
            opened = beam.Pipeline(
                _local_runner(resources, log) if local else resources.runner, options
            )
        except ValueError as error:
            raise ConfigError(f"runner={resources.runner!r}: {error}") from error
        try:
            with opened:
                yield opened
        except RuntimeError as error:
            plainer = _plainer(error, resources.runner)
            if plainer is error:
                raise
            raise plainer from error


def _words(resources: BeamResources) -> list[str]:
    """All options as words; where one is there twice, the last counts."""
    if resources.runner == _LOCAL:
        return [*resources.options, f"--direct_num_workers={resources.workers}"]
    if resources.runner == "PrismRunner":
        # Beam watches a Prism job through one request, and fails the job when that times out.
        return [f"--job_server_timeout={_JOB_TIMEOUT_S}", *resources.options]
    return list(resources.options)


def assert_startable(runner: str, options: PipelineOptions) -> None:
    """Say in one line what Beam would take minutes or a stack of errors to find out.

    Raises:
        ConfigError: No job server answers, no Java to start one, no binary of Prism.
    """
    told = options.get_all_options()
    endpoint, java, prism = (
        told[name] for name in ("job_endpoint", "job_server_java_launcher", "prism_location")
    )
    if endpoint and endpoint != "embed":
        host, _, port = endpoint.rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--job_endpoint={endpoint}: no job server answers there ({error}); expected the "
                "host:port of a running one, such as `make flink-up` starts"
            ) from error
    elif runner in _STARTED_BY_JAVA and shutil.which(java) is None:
        raise ConfigError(
            f"runner={runner!r} without --job_endpoint starts a job server by {java!r}, which is "
            "not on the PATH; install a Java runtime or name a running job server"
        )
    elif runner == "PrismRunner" and prism and not Path(prism).is_file() and "://" not in prism:
        raise ConfigError(f"--prism_location={prism}: no such file; `make prism` builds one")


def _plainer(error: RuntimeError, runner: str) -> Exception:
    """The error without the stacks of other languages, by its number if the system gave it one."""
    text = str(error)
    *_, last = _RAISED.findall(text) or [text.partition("\n")[0]]
    found = _OS_ERROR.search(text)
    if found is not None:
        number = int(found[1])
        return OSError(number, f"{os.strerror(number)} in a Beam worker: {last}")
    if "Unable to fetch remote" in text:
        return ConfigError(
            f"runner={runner!r} lacks its server, and Beam cannot download it; name one by "
            f"--job_endpoint, --flink_job_server_jar or --prism_location ({text})"
        )
    if runner == _LOCAL:
        return error
    return RuntimeError(f"the {runner} job failed: {last}; its logs say more")


def options_from(words: Sequence[str]) -> PipelineOptions:
    """Beam's options of these `--name=value` words.

    Raises:
        ConfigError: Beam knows no such option; it would go on without it.
    """
    options = PipelineOptions(list(words))
    known = options.get_all_options()
    unknown = options.get_all_options(retain_unknown_options=True).keys() - known
    if unknown:
        near = [n for name in sorted(unknown) for n in get_close_matches(name, known, n=1)]
        # The words themselves may hold the secret of a store.
        raise ConfigError(
            f"Beam has no pipeline option {', '.join(sorted(unknown))}"
            + (f"; expected {', '.join(near)}" if near else "")
        )
    return options


def _local_runner(resources: BeamResources, log: Path) -> FnApiRunner:
    if resources.workers == 1:
        return FnApiRunner()
    python = f"{shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main"
    command = f"exec {python} 2>>{shlex.quote(str(log))}"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))


@contextmanager
def progress_from(folder: Path, run: Run, total: float, unit: str) -> Iterator[None]:
    """Report to the run, while the context is open, the sum of what workers noted in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)

    def report() -> None:
        run.progress(noted(folder), total, unit)

    with repeated(report, POLL_S):
        yield
    report()


@contextmanager
def file_progress_from(folder: Path, run: Run, total_bytes: int) -> Iterator[None]:
    """Report, while the context is open, each file that workers note in `folder`, and their sum."""
    folder.mkdir(parents=True, exist_ok=True)
    # Read and reported once: there may be thousands.
    finished: dict[Path, int] = {}

    def report() -> None:
        reading_bytes = 0
        for target in sorted(set(_notes(folder)) - finished.keys()):
            file = FileProgress(**json.loads(target.read_text()))
            run.file_progress(file)
            if file.is_finished:
                finished[target] = file.done_bytes
            else:
                reading_bytes += file.done_bytes
        run.progress(sum(finished.values()) + reading_bytes, total_bytes, "bytes")

    with repeated(report, POLL_S):
        yield
    report()


def note(folder: Path, name: str) -> Callable[[float], None]:
    """Where a worker notes how much of `name` is done; whole numbers, replaced at once."""
    target = folder / name
    return lambda done: _replace(target, str(int(done)))


class FileNote:
    """Where a worker notes how far it has read a file; replaced at once.

    Args:
        folder: Of the notes, which all workers and the driver see.
        name: Of the note.
        label: Of the file.
        total_bytes: Size of the file.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        label: str,
        total_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = folder / name
        self._label = label
        self._total_bytes = total_bytes
        self._clock = clock
        self._started_utc = clock()
        self.read(0, 0)

    def read(self, done_bytes: int, num_lines: int, *, is_finished: bool = False) -> None:
        """Note that so much of the file is read, from its beginning."""
        self._num_lines = num_lines
        file = FileProgress(
            label=self._label,
            done_bytes=done_bytes,
            total_bytes=self._total_bytes,
            num_lines=num_lines,
            started_utc=self._started_utc,
            noted_utc=self._clock(),
            is_finished=is_finished,
        )
        _replace(self._target, json.dumps(asdict(file)))

    def finish(self) -> None:
        """Note that nothing of the file is left to do."""
        self.read(self._total_bytes, self._num_lines, is_finished=True)


def _replace(target: Path, text: str) -> None:
    temporary = target.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.rename(target)


def noted(folder: Path) -> float:
    """Sum of the notes in `folder`."""
    return sum(float(target.read_text()) for target in _notes(folder))


def _notes(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix != ".tmp"]


def save_all(found: beam.PCollection, target: Path) -> None:
    """Let the pipeline write all elements, few and small, where `load_all` finds them."""
    name = target.name
    _ = found | f"All {name}" >> beam.combiners.ToList() | f"Save {name}" >> beam.Map(_save, target)


def _save(elements: list[Any], target: Path) -> None:
    temporary = target.with_suffix(".tmp")
    temporary.write_bytes(pickle.dumps(elements))
    temporary.rename(target)


def load_all(target: Path) -> list[Any]:
    """The elements that a finished pipeline saved, in no order."""
    elements: list[Any] = pickle.loads(target.read_bytes())
    return elements
