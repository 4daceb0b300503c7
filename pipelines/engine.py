"""How stage 1 runs on Beam: runners, quiet logs, progress, and results that reach the driver."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shlex
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
_OS_ERROR = re.compile(r"\[Errno (\d+)\]")


def worth_spreading(resources: BeamResources, num_files: int) -> bool:
    """Whether parsing should be moved away from the worker that reads the file.

    On one machine all lines would pass through the driver: that pays only if there are fewer files
    than workers, and in a single process it costs memory and gains nothing.
    """
    return resources.runner != _LOCAL or num_files < resources.workers


@contextmanager
def pipeline(resources: BeamResources, log: Path) -> Iterator[beam.Pipeline]:
    """A Beam pipeline that runs when the context closes, and waits until it is done.

    DirectRunner stands for Beam's own runner on this machine: in Beam 2.77 the class of that name
    first tries to download another one.

    Args:
        resources: Runner and workers.
        log: File for what worker processes on this machine print.

    Raises:
        ConfigError: Beam does not know one of the options.
        OSError: What a worker met, with its error number: Beam reports it as text.
    """
    if resources.runner == _LOCAL:
        runner = _local_runner(resources, log)
        words = [*resources.options, f"--direct_num_workers={resources.workers}"]
    else:
        runner, words = resources.runner, list(resources.options)
    try:
        with quiet(logging.WARNING), beam.Pipeline(runner, options_from(words)) as opened:
            yield opened
    except RuntimeError as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, f"{os.strerror(number)} in a Beam worker: {error}") from error


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
