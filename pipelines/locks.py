"""One owner at a time, among the processes of one machine."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(file: Path, busy: Exception) -> Iterator[None]:
    """Hold `file`, made if absent; the kernel lets go of it however the process ends.

    Raises:
        Exception: `busy`, if another process holds it.
    """
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        yield
