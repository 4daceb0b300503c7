"""One owner at a time, among the processes of one machine."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(
    file: Path,
    busy: Exception,
    *,
    shared: bool = False,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Hold `file`, made if absent; the kernel lets go of it however the process ends.

    Args:
        file: What is held; its content is the caller's.
        busy: Raised if another process holds it.
        shared: Beside others who hold it shared, too.
        on_wait: Called before waiting for the other process; None: nobody waits, `busy` is raised.

    Raises:
        Exception: `busy`, if another process holds it and nobody waits.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if on_wait is None:
                raise busy from error
            on_wait()
            fcntl.flock(handle, kind)
        yield
