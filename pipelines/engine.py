"""How stage 1 runs on Beam: runners, quiet logs, progress, and results that reach the driver."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.config import BeamResources
from pipelines.contract import ConfigError, Run
from pipelines.quiet_beam import (
    FnApiRunner,
    PipelineOptions,
    SubprocessSDKEnvironment,
    beam,
    quiet,
)

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
        RuntimeError: A job failed on another runner than the local one.
    """
    local = resources.runner == _LOCAL
    options = options_from(_words(resources))
    assert_startable(resources.runner, options)
    # Other runners log the failure of a job as errors, and raise it as well.
    with quiet(logging.WARNING if local else logging.ERROR):
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
            raise _plainer(error, resources.runner) from error


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
    unknown = (
        options.get_all_options(retain_unknown_options=True).keys() - options.get_all_options()
    )
    if unknown:
        raise ConfigError(f"Beam has no pipeline option {', '.join(sorted(unknown))}; see {words}")
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
    stop = threading.Event()

    def report() -> None:
        while not stop.wait(POLL_S):
            run.progress(noted(folder), total, unit)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    run.progress(noted(folder), total, unit)


def note(folder: Path, name: str) -> Callable[[float], None]:
    """Where a worker notes how much of `name` is done; whole numbers, replaced at once."""
    target = folder / name
    temporary = target.with_suffix(".tmp")

    def write(done: float) -> None:
        temporary.write_text(str(int(done)))
        temporary.rename(target)

    return write


def noted(folder: Path) -> float:
    """Sum of the notes in `folder`."""
    return sum(float(file.read_text()) for file in folder.iterdir() if file.suffix != ".tmp")


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
