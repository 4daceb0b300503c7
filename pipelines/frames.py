"""Frames between workers and into tables."""

from __future__ import annotations

import io
from collections.abc import Iterable

import polars as pl
import pyarrow as pa

from pipelines.contract import Table


def to_bytes(frame: pl.DataFrame) -> bytes:
    """Arrow IPC stream of a frame."""
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compat_level=pl.CompatLevel.newest())
    return buffer.getvalue()


def from_bytes(parts: Iterable[bytes]) -> pl.DataFrame:
    """The rows of IPC streams of frames, whichever columns each has, below each other."""
    return pl.concat([pl.read_ipc_stream(io.BytesIO(part)) for part in parts], how="diagonal")


def to_table(rows: pl.DataFrame, table: Table) -> pa.Table:
    """The table's columns of `rows`, with Arrow's plain string type in place of polars' views."""
    return rows.select(table.schema.names).to_arrow().cast(table.schema)
