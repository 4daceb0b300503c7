"""Exports hold what the store holds."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from persona.export import export
from persona.store import PersonaStore
from pipelines.contract import ConfigError
from tests.persona.synthetic import user_id
from tests.persona.test_store import filled_run, indexed

pytestmark = pytest.mark.engine


def test_parquet_has_every_column_of_every_user(tmp_path: Path) -> None:
    store, _ = indexed(filled_run(tmp_path))
    assert export(store, tmp_path / "out" / "personas.parquet") == 6
    table = pq.read_table(tmp_path / "out" / "personas.parquet").sort_by("user_id")
    assert table.schema.names == store.schema.names
    assert table.to_pylist()[1] == store.get(user_id(1))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["personas.parquet"]


def test_json_lines_hold_objects_and_no_vectors(tmp_path: Path) -> None:
    store, _ = indexed(filled_run(tmp_path))
    assert export(store, tmp_path / "personas.jsonl") == 6
    lines = [json.loads(line) for line in (tmp_path / "personas.jsonl").read_text().splitlines()]
    row = store.get(user_id(2))
    assert row is not None
    line = next(line for line in lines if line["user_id"] == user_id(2))
    assert line["persona"] == json.loads(row["persona"])
    assert line["evidence"] == json.loads(row["evidence"])
    assert not {"embedding", "clip_embedding"} & set(line)


def test_an_empty_store_is_an_empty_file(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path / "store", 2, 3)
    assert export(store, tmp_path / "none.jsonl") == 0
    assert export(store, tmp_path / "none.parquet") == 0
    assert pq.read_table(tmp_path / "none.parquet").schema.names == store.schema.names


def test_other_endings_are_refused(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path / "store", 2, 3)
    with pytest.raises(ConfigError, match=r"expected a name in \.parquet or \.jsonl"):
        export(store, tmp_path / "personas.csv")
