"""How stage 1 runs on Beam: runners, quiet logs, progress, and results that reach the driver."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.config import BeamResources
from pipelines.contract import Run

POLL_S = 0.5
_LOCAL = "DirectRunner"
# Loggers of Beam that write a line for every worker and bundle, also in its worker processes.
_NOISY = ("apache_beam", "root")


def is_one_process(resources: BeamResources) -> bool:
    """Whether all is done in this process, where a shuffle only costs memory."""
    return resources.runner == _LOCAL and resources.workers == 1


@contextmanager
def pipeline(resources: BeamResources) -> Iterator[beam.Pipeline]:
    """A Beam pipeline that runs when the context closes, and waits until it is done.

    DirectRunner stands for Beam's in-process runner: in Beam 2.77 the class of that name first
    tries to download another runner, and then falls back to this one.
    """
    words = list(resources.options)
    if resources.runner == _LOCAL:
        if resources.workers > 1:
            words += ["--direct_running_mode=multi_processing"]
            words += [f"--direct_num_workers={resources.workers}"]
        words += ["--default_sdk_harness_log_level=ERROR"]
        runner: FnApiRunner | str = FnApiRunner()
    else:
        runner = resources.runner
    with quiet(), beam.Pipeline(runner=runner, options=PipelineOptions(words)) as opened:
        yield opened


@contextmanager
def quiet() -> Iterator[None]:
    """Beam's log messages below WARNING are not shown while the context is open."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
