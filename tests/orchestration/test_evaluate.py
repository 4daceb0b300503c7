from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from embed.clip import clip_identity
from embed.config import ClipConfig
from orchestration.evaluate import first_users, shipped_zero_shot
from persona.tables import PERSONAS
from pipelines.contract import Run


def write(run: Run, part: str, *users: str) -> None:
    folder = PERSONAS.path(run)
    folder.mkdir(parents=True, exist_ok=True)
    row = {"summary": "s", "persona": "{}", "confidence": 1.0, "evidence_hash": "h"}
    rows = [{"user_id": user, **row, "verbalizer": "grounded"} for user in users]
    PERSONAS.write(folder, pa.Table.from_pylist(rows, schema=PERSONAS.schema), part)


def test_of_many_users_the_first_by_id_are_measured(tmp_path: Path) -> None:
    run = Run(root=tmp_path)
    write(run, "part-0", "a", "e", "c")
    write(run, "part-1", "b", "d")
    assert first_users(PERSONAS, run, 3)["user_id"].to_list() == ["a", "c", "b"]
    whole = pl.DataFrame(PERSONAS.read(run))
    assert first_users(PERSONAS, run, 5).equals(whole)


def test_the_shipped_clip_is_measured_again_for_other_weights_only() -> None:
    tiny = ClipConfig()
    last = {"palette": 0.5, "weights": clip_identity(tiny.model).weights_sha256}
    assert shipped_zero_shot(tiny, last) == last
    assert shipped_zero_shot(tiny, {**last, "weights": "others"})["palette"] > 0.5
    assert shipped_zero_shot(ClipConfig(model="ViT-B-32"), last) == {}
