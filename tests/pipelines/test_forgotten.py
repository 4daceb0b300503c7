"""Erased users are left out of every later ingest, by a rule of their own."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import polars as pl
import pytest

from pipelines.config import BeamResources, IngestConfig
from pipelines.contract import Run
from pipelines.forgotten import add_tombstone, forgotten_ids, is_forgotten, tombstones
from pipelines.ingest import ingest
from pipelines.pseudonym import Pseudonyms, new_key_file
from pipelines.tables import COMMENTS
from tests.pipelines.test_records import COMMENT


def test_tombstones_are_pseudonyms_beside_the_key(tmp_path: Path) -> None:
    key = new_key_file(tmp_path / "key")
    assert forgotten_ids(key) == frozenset()
    ids = [Pseudonyms.from_file(key).user_id(name) for name in ("Ann", "bob")]
    for id_ in (*ids, ids[0]):
        add_tombstone(key, id_)
    assert tombstones(key).read_text().split() == ids
    assert forgotten_ids(key) == frozenset(ids)
    assert stat.S_IMODE(tombstones(key).stat().st_mode) == 0o600


def test_every_spelling_of_a_name_is_matched_and_no_other(tmp_path: Path) -> None:
    key = new_key_file(tmp_path / "key")
    assert is_forgotten(pl.col("author"), str(key)) is None
    add_tombstone(key, Pseudonyms.from_file(key).user_id("Ann"))
    rule = is_forgotten(pl.col("author"), str(key))
    assert rule is not None
    frame = pl.DataFrame({"author": ["Ann", "ANN", "ann_", None, "bob"]})
    assert frame.select(rule.fill_null(False)).to_series().to_list() == [True, True, *[False] * 3]


@pytest.mark.engine
def test_ingest_drops_the_lines_of_an_erased_user_and_counts_them(tmp_path: Path) -> None:
    key = new_key_file(tmp_path / "key")
    add_tombstone(key, Pseudonyms.from_file(key).user_id("Ann"))
    lines = [{**COMMENT, "id": f"a{i}", "author": name} for i, name in enumerate(("ann", "bob"))]
    odd = {"author": "ANN", "created_utc": "1570000000"}  # text: such a line is read by itself
    lines.append({**COMMENT, "id": "a9", **odd})
    dump = tmp_path / "RC_2019-10.ndjson"
    dump.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = Run(root=tmp_path, month="2019-10", staging=tmp_path / "staging")
    counts = ingest(IngestConfig(inputs=(str(dump),), key_file=str(key)), BeamResources(), run)
    assert (counts.rows_in, counts.rows_out, counts.dropped) == (3, 1, {"forgotten": 2})
    rows = pl.read_parquet(sorted(run.staged(COMMENTS).rglob("*.parquet")))
    assert rows["user_id"].to_list() == [Pseudonyms.from_file(key).user_id("bob")]
