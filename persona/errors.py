"""Errors of stage 4 that people can mend; apart, for what raises them is slow to import."""

from __future__ import annotations


class StoreBusyError(RuntimeError):
    """Another process writes or compacts this persona store."""


class ErasureError(RuntimeError):
    """Something of an erased user is still there; the message says where."""
