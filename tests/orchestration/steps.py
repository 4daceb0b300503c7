"""Small steps for the runner's tests: real tables, real files, no engine."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass

import pyarrow as pa

from orchestration.flow import Step
from orchestration.manifests import Manifest
from orchestration.plan import Dumps
from orchestration.profiles import Profile
from orchestration.runlog import RunLog
from orchestration.runner import How
from pipelines.contract import Counts, Run, Table, column

NUMBERS = Table(
    name="numbers",
    doc="one number",
    key=("number",),
    schema=pa.schema([column("number", pa.int64(), "a number")]),
)


@dataclass(frozen=True, kw_only=True)
class NumbersConfig:
    """How many numbers, and what happens while they are written."""

    count: int = 3
    fail_with: str = ""
    note: str = ""


def write_numbers(config: NumbersConfig, resources: None, run: Run) -> Counts:
    """Step: nothing -> NUMBERS."""
    run.progress(0, config.count, "numbers")
    if config.note:
        run.note(config.note)
    NUMBERS.write(run.staged(NUMBERS), pa.table({"number": pa.array(range(config.count))}))
    if config.fail_with == "disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if config.fail_with:
        raise RuntimeError(config.fail_with)
    return Counts(rows_in=config.count, rows_out=config.count)


def marked_month(
    profile: Profile, month: str, dumps: Dumps, how: How, log: RunLog
) -> list[Manifest]:
    """In place of a month's steps: a file that says that it ran."""
    (profile.root / month).touch()
    time.sleep(0.2)
    raise RuntimeError(month)


STEP = Step(
    name="numbers", function="tests.orchestration.steps:write_numbers", reads=(), writes=(NUMBERS,)
)
