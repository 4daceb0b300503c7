"""A command -> what it printed, how long it took, and the peak memory of its process tree."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.memory import PeakMemory

SAMPLE_S = 0.1


class FailedCommandError(Exception):
    """A measured command ended with an error; says which, and the end of what it printed."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One finished command.

    Args:
        output: Its standard output.
        seconds: From its start to its end.
        peak_rss_bytes: Most memory that its process tree held at once; what processes share is
            counted once.
    """

    output: str
    seconds: float
    peak_rss_bytes: int


def measure(command: Sequence[str] | str) -> Measured:
    """Run a command, or a pipeline of the shell given as one text, to its end.

    Raises:
        FailedCommandError: It ended with another status than 0.
    """
    words = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else command
    start = time.perf_counter()
    with (
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        PeakMemory(process.pid, SAMPLE_S) as memory,
    ):
        output, errors = process.communicate()
        seconds = time.perf_counter() - start
    if process.returncode:
        raise FailedCommandError(
            f"{' '.join(words)!r} ended with status {process.returncode}:\n{errors[-2_000:]}"
        )
    return Measured(output=output, seconds=seconds, peak_rss_bytes=memory.peak_bytes)
