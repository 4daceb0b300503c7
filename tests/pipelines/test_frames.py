from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.frames import mapped, to_table, write_scratch
from pipelines.tables import REJECTS


def test_a_scratch_file_is_mapped(tmp_path: Path) -> None:
    media = [[{"url": "a", "source": "b"}], []]
    rows = pl.DataFrame({"id": [1, 2], "text": ["x", "größe"], "media": media})
    path = tmp_path / "rows.arrow"
    write_scratch(rows, path)
    assert mapped(str(path)).equals(rows)


def test_a_table_has_its_columns_alone_and_plain_strings() -> None:
    rows = pl.DataFrame(
        {"more": [1], "line_bytes": [2], "reason": ["r"], "line_number": [7], "dump": ["d"]}
    )
    table = to_table(rows, REJECTS)
    assert REJECTS.check(table).to_pylist() == [
        {"dump": "d", "line_number": 7, "reason": "r", "line_bytes": 2}
    ]
    assert table.schema.field("dump").type == pa.string()
