"""Errors of stage 4 that people can mend; apart, for what raises them is slow to import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class StoreBusyError(RuntimeError):
    """Another process writes or compacts this persona store."""


class ErasureError(RuntimeError):
    """Something of an erased user is still there; the message says where."""


class EndpointError(RuntimeError):
    """The endpoint does not serve: unreachable, overloaded, or refusing all requests.

    Finished users are staged; the same command goes on where this one stopped.

    Args:
        message: What is wrong, and what to do.
        outcomes: Of the users in the call, in order; None of those that were not answered.
    """

    def __init__(self, message: str, outcomes: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.outcomes = outcomes
