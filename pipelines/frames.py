"""Frames from scratch files and into tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.contract import Table


def write_scratch(rows: pl.DataFrame, path: Path) -> None:
    """Write `rows` as an Arrow IPC file that `mapped` opens."""
    rows.write_ipc(path, compression="uncompressed", compat_level=pl.CompatLevel.newest())


def mapped(path: str) -> pl.DataFrame:
    """The rows of a file of `write_scratch`, mapped into memory and not read."""
    found = pl.from_arrow(pa.ipc.open_file(pa.memory_map(path)).read_all(), rechunk=False)
    assert isinstance(found, pl.DataFrame)
    return found


def to_table(rows: pl.DataFrame, table: Table) -> pa.Table:
    """The table's columns of `rows`, with Arrow's plain string type in place of polars' views."""
    return rows.select(table.schema.names).to_arrow().cast(table.schema)
