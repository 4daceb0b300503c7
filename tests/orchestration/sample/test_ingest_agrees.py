"""The world's truth about its lines and what ingest makes of them were written apart."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from pipelines.config import BeamResources, IngestConfig
from pipelines.contract import Run
from pipelines.ingest import ingest
from pipelines.pseudonym import Pseudonyms
from pipelines.tables import COMMENTS, MEDIA, SUBMISSIONS
from tests.orchestration.sample.worlds import SMALL

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("month", SMALL.months)
def test_ingest_finds_what_the_truth_says(month: str, small_world: Path, tmp_path: Path) -> None:
    config = IngestConfig(inputs=(str(small_world / "dumps"),), key_file=str(small_world / "key"))
    run = Run(root=tmp_path, month=month, staging=tmp_path / "staging")
    counts = ingest(config, BeamResources(), run)

    summary = json.loads((small_world / "truth" / "lines.json").read_text())
    mine = [summary[f"{kind}_{month}.zst"] for kind in ("RS", "RC")]
    assert counts.rows_in == sum(file["lines"] for file in mine)
    assert counts.rows_out == sum(file["kept"] for file in mine)
    assert counts.rows_rejected == sum(sum(file["rejected"].values()) for file in mine)
    assert dict(counts.dropped) == dict(sum((Counter(f["dropped"]) for f in mine), Counter()))

    truth = small_world / "truth"
    media = pl.read_parquet(truth / "media.parquet").filter(pl.col("month") == month)
    columns = ["submission_id", "position", "url"]
    found = pl.read_parquet(run.staged(MEDIA) / "*.parquet").select(columns).sort(columns)
    assert found.equals(media.select(columns).sort(columns))

    names = pl.read_parquet(truth / "users.parquet")["author"]
    key = Pseudonyms.from_file(small_world / "key")
    known = {key.user_id(name) for name in names}
    for table in (SUBMISSIONS, COMMENTS):
        users = pl.read_parquet(run.staged(table) / "*.parquet")["user_id"]
        assert set(users) <= known
    written = b"".join(path.read_bytes().lower() for path in run.staged(COMMENTS).iterdir())
    texts = " ".join(pl.read_parquet(run.staged(COMMENTS) / "*.parquet")["body"]).lower()
    for name in names:
        assert name.lower() not in texts and name.lower().encode() not in written
