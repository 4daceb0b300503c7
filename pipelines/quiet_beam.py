"""Apache Beam, imported without its warnings about cloud clients that are not installed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(level: int) -> Iterator[None]:
    """No log messages of `level` and below while the context is open, and no new root handlers."""
    root = logging.getLogger()
    disabled, handlers = root.manager.disable, list(root.handlers)
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers


with quiet(logging.WARNING):
    import apache_beam as beam
    from apache_beam.io.filesystem import BeamIOError, CompressionTypes
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability.api import beam_fn_api_pb2
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.portability.fn_api_runner.worker_handlers import ControlConnection
    from apache_beam.transforms.environments import SubprocessSDKEnvironment
    from apache_beam.transforms.window import GlobalWindows

InstructionResponse = beam_fn_api_pb2.InstructionResponse

__all__ = [
    "BeamIOError",
    "CompressionTypes",
    "ControlConnection",
    "FileSystems",
    "FnApiRunner",
    "GlobalWindows",
    "InstructionResponse",
    "PipelineOptions",
    "SubprocessSDKEnvironment",
    "beam",
    "quiet",
]
