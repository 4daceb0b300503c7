"""Beam's own runner waits for ever for what a killed worker process owes; here it raises."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.contract import WorkerLostError
from pipelines.quiet_beam import ControlConnection, InstructionResponse

# Threads of Beam that end with an error when a worker does; the first waits for its process.
_WAITS_FOR_PROCESS = "run_worker"
_WATCHERS = (_WAITS_FOR_PROCESS, "read_grpc_client_inputs", "beam_control_read")


@contextmanager
def losses_noticed() -> Iterator[None]:
    """Raise `WorkerLostError` where a killed worker is waited for, while the context is open."""
    push, hook = ControlConnection.push, threading.excepthook
    asked: set[ControlConnection] = set()
    lost: list[WorkerLostError] = []

    def push_or_fail(connection: ControlConnection, request: Any) -> Any:
        future = push(connection, request)
        asked.add(connection)
        if future is not None and lost:
            fail(future)
        return future

    def fail(future: Any) -> None:
        # An answer: whoever waits for data looks at those alone, not at futures that are aborted.
        future.set(InstructionResponse(instruction_id=future.instruction_id, error=str(lost[0])))

    def tell(failed: threading.ExceptHookArgs) -> None:
        name = "" if failed.thread is None else failed.thread.name
        if name == _WAITS_FOR_PROCESS and not lost:
            lost.append(
                WorkerLostError(
                    f"a Beam worker process was killed, or ran out of memory ({failed.exc_value}); "
                    "run the same command again, with fewer workers or beam.threads=1 if memory "
                    "was short"
                )
            )
            # Without one of its workers the job is lost, so nobody waits for the others either.
            for connection in list(asked):
                for future in list(connection._futures_by_id.values()):
                    fail(future)
        if name not in _WATCHERS:
            hook(failed)

    ControlConnection.push, threading.excepthook = push_or_fail, tell
    try:
        yield
    except Exception as error:
        if lost:
            raise lost[0] from error
        raise
    finally:
        ControlConnection.push, threading.excepthook = push, hook
