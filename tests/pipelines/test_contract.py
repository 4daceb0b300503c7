from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.contract import (
    ConfigError,
    ContractError,
    Counts,
    MissingInputError,
    Run,
    Table,
    column,
    vector,
)

TABLE = Table(
    name="things",
    doc="one thing",
    key=("name",),
    monthly=True,
    schema=pa.schema(
        [
            column("name", pa.string(), "its name"),
            column("size", pa.int32(), "its size", nullable=True),
            column("embedding", vector(pa.float32()), "its vector"),
        ]
    ),
)


def rows(**changes: pa.Array) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1, 0, 0, 1], pa.float32()), 2)
    columns = {
        "name": pa.array(["a", "b"]),
        "size": pa.array([1, None], pa.int32()),
        "embedding": vectors,
    }
    return pa.table(columns | changes)


def test_a_batch_that_keeps_the_contract_passes_whole() -> None:
    checked = TABLE.check(rows())
    assert checked.to_pylist() == rows().to_pylist()
    assert checked.schema.field("embedding").type == pa.list_(pa.float32(), 2)


def test_columns_come_out_in_the_order_of_the_contract() -> None:
    assert TABLE.check(rows().select(["embedding", "size", "name"])).column_names == [
        "name",
        "size",
        "embedding",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": pa.array(["1", "2"])}, "column 'size' is string, expected int32"),
        ({"name": pa.array(["a", None])}, "column 'name' has 1 nulls"),
        ({"extra": pa.array([1, 2])}, "unexpected column 'extra'"),
        ({"embedding": pa.array([[1.0], [2.0]])}, "column 'embedding' is list"),
    ],
)
def test_every_breach_is_named(changes: dict[str, pa.Array], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        TABLE.check(rows(**changes))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ContractError, match="missing column 'size'"):
        TABLE.check(rows().drop_columns(["size"]))


def test_what_is_written_is_read_back_by_month(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    for month in ("2019-08", "2019-09"):
        folder = TABLE.path(Run(root=tmp_path, month=month))
        folder.mkdir(parents=True)
        TABLE.write(folder, rows())
    assert TABLE.read(run).num_rows == 4
    assert TABLE.read(Run(root=tmp_path, month="2019-09")).num_rows == 2


def test_a_table_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="table 'things' not found"):
        TABLE.read(Run(root=tmp_path))


@pytest.mark.parametrize("root", ["s3://bucket/run", "gs://bucket", "file:///tmp/run"])
def test_a_root_in_a_store_is_refused(root: str) -> None:
    with pytest.raises(ConfigError, match=r"address of a store.*expected a folder"):
        Run(root=Path(root))


def test_counts_must_balance() -> None:
    balanced = Counts(rows_in=6, rows_out=3, rejected={"bad_json": 1}, dropped={"bot": 2})
    assert balanced.assert_balanced() is balanced
    with pytest.raises(ContractError, match="6 rows in, 5 accounted for"):
        Counts(rows_in=6, rows_out=5).assert_balanced()
