"""Peak memory of a process and all its children, sampled."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

SAMPLE_S = 0.5


class PeakMemory:
    """Samples the proportional set size of the process tree while the context is open.

    Proportional, so that memory shared between processes (Ray's object store, mapped graphs) is
    counted once.

    Args:
        pid: Root of the tree; None: this process.
        every_s: Between two samples.
    """

    def __init__(self, pid: int | None = None, every_s: float = SAMPLE_S) -> None:
        self.peak_bytes = 0
        self._root, self._every_s = psutil.Process(pid), every_s
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
        with suppress(psutil.NoSuchProcess):
            while True:
                processes = [self._root, *self._root.children(recursive=True)]
                self.peak_bytes = max(self.peak_bytes, sum(pss_bytes(p.pid) for p in processes))
                if self._stop.wait(self._every_s):
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
