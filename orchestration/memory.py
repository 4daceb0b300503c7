"""Peak memory of a step: this process and all its children, sampled."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

import psutil

SAMPLE_S = 0.5


class PeakMemory:
    """Samples the proportional set size of the process tree while the context is open.

    Proportional, so that memory shared between processes (Ray's object store, mapped graphs) is
    counted once.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        tree = psutil.Process()
        while True:
            processes = [tree, *tree.children(recursive=True)]
            self.peak_bytes = max(self.peak_bytes, sum(pss_bytes(p.pid) for p in processes))
            if self._stop.wait(SAMPLE_S):
                return


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 if it is gone or not ours."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
