"""Frames from scratch files and into tables."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from pipelines.contract import Table


def mapped(path: str) -> pl.DataFrame:
    """The rows of an uncompressed Arrow IPC file, mapped into memory and not read."""
    found = pl.from_arrow(pa.ipc.open_file(pa.memory_map(path)).read_all(), rechunk=False)
    assert isinstance(found, pl.DataFrame)
    return found


def to_table(rows: pl.DataFrame, table: Table) -> pa.Table:
    """The table's columns of `rows`, with Arrow's plain string type in place of polars' views."""
    return rows.select(table.schema.names).to_arrow().cast(table.schema)
