from __future__ import annotations

import polars as pl
import pyarrow as pa

from pipelines.frames import from_bytes, to_bytes, to_table
from pipelines.tables import REJECTS


def test_frames_of_different_columns_come_back_below_each_other() -> None:
    media = [[{"url": "a", "source": "b"}], []]
    whole = pl.DataFrame({"id": [1, 2], "text": ["x", "größe"], "media": media})
    stub = pl.DataFrame({"id": [3]})
    found = from_bytes([to_bytes(whole), to_bytes(stub), to_bytes(whole[:0])])
    assert found.to_dicts() == [*whole.to_dicts(), {"id": 3, "text": None, "media": None}]


def test_a_table_has_its_columns_alone_and_plain_strings() -> None:
    rows = pl.DataFrame(
        {"more": [1], "line_bytes": [2], "reason": ["r"], "line_number": [7], "dump": ["d"]}
    )
    table = to_table(rows, REJECTS)
    assert REJECTS.check(table).to_pylist() == [
        {"dump": "d", "line_number": 7, "reason": "r", "line_bytes": 2}
    ]
    assert table.schema.field("dump").type == pa.string()
