"""What a run did, as JSON lines with run and step ids: `ROOT/logs/runs/ID.jsonl`."""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)
STARTED, FINISHED, FAILED = "run_started", "run_finished", "run_failed"
STEP_STARTED, STEP_FINISHED, STEP_FAILED = "step_started", "step_finished", "step_failed"
STEP_SKIPPED, STEP_NOTED = "step_skipped", "step_noted"
START = b'{"time": "'  # of every line


class RunLog:
    """Appends events of one run; processes of a run may write to it at once.

    Args:
        root: Folder of the run.
        run_id: As `new_run_id` makes it.
    """

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self._path = folder(root) / f"{run_id}.jsonl"

    def event(self, event: str, **fields: Any) -> None:
        """Append one line; it is written in one call, so lines of several processes never mix.

        Nothing is told on a full disk: that is the run's own error, which a log must not hide.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"time": now, "run": self.run_id, "event": event, **fields}
        with unless_full():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, (json.dumps(told) + "\n").encode())
            finally:
                os.close(file)


@contextmanager
def unless_full() -> Iterator[None]:
    """What is written here is left out where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise


def new_run_id(clock_s: float | None = None) -> str:
    """An id that sorts by time: 20191101T060000Z-1f3a."""
    when = datetime.fromtimestamp(time.time() if clock_s is None else clock_s, UTC)
    return f"{when:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def folder(root: Path) -> Path:
    """Where the logs of runs lie."""
    return root / "logs" / "runs"


def run_ids(root: Path) -> list[str]:
    """Runs that left a log, oldest first."""
    return sorted(path.stem for path in folder(root).glob("*.jsonl"))


def events(root: Path, run_id: str) -> list[dict[str, Any]]:
    """Events of a run in order; one that a kill or a full disk cut is left out."""
    path = folder(root) / f"{run_id}.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    # The next event follows a cut one on the same line; inside of text its start is escaped.
    return [json.loads(line[line.rindex(START) :]) for line in lines]


def outcome(told: list[dict[str, Any]]) -> str:
    """How a run with these events ended, or where it is."""
    if not told:
        return "left no event"
    last = told[-1]
    if last["event"] == FINISHED:
        return "finished"
    if last["event"] == FAILED:
        steps = sorted({f"{e['step']} {e['month']}" for e in told if e["event"] == STEP_FAILED})
        where = f" in {', '.join(steps)}" if steps else ""
        return f"failed{where}: {last['error']}: {last['message']}"
    return f"under way or killed, in {last.get('step', 'its start')}"
