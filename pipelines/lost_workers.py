"""Beam's own runner waits for ever for what a killed worker process owes; here it raises."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.contract import WorkerLostError
from pipelines.quiet_beam import ControlConnection

# Threads of Beam that watch a worker, and end with an error that nobody looks at.
_WATCHERS = ("run_worker", "read_grpc_client_inputs")


@contextmanager
def losses_noticed() -> Iterator[None]:
    """Raise `WorkerLostError` where a killed worker is waited for, while the context is open."""
    read, push, hook = ControlConnection._read, ControlConnection.push, threading.excepthook
    losses: dict[ControlConnection, WorkerLostError] = {}

    def read_or_abort(connection: ControlConnection) -> None:
        try:
            read(connection)
        except Exception as error:  # noqa: BLE001  told to those who wait
            lost = WorkerLostError(
                "a Beam worker process was killed, or ran out of memory; run the same command "
                "again, with fewer workers or beam.threads=1 if memory was short"
            )
            lost.__cause__ = error
            losses[connection] = lost
            for future in list(connection._futures_by_id.values()):
                future.abort(lost)

    def push_or_abort(connection: ControlConnection, request: Any) -> Any:
        future = push(connection, request)
        if future is not None and connection in losses:
            future.abort(losses[connection])
        return future

    def tell(failed: threading.ExceptHookArgs) -> None:
        if failed.thread is None or failed.thread.name not in _WATCHERS:
            hook(failed)

    ControlConnection._read, ControlConnection.push = read_or_abort, push_or_abort
    threading.excepthook = tell
    try:
        yield
    finally:
        ControlConnection._read, ControlConnection.push = read, push
        threading.excepthook = hook
