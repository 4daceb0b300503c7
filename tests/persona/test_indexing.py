from __future__ import annotations

from hashlib import blake2b

import pyarrow as pa
import pytest

import persona.indexing
from persona.indexing import run_version

NAMES = ("user_id", "evidence_hash", "verbalizer", "digest")


@pytest.mark.parametrize("at_once", [1, 2, 5, 99])
def test_a_version_is_the_same_however_many_rows_are_hashed_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persona.indexing, "HASHED_ROWS", at_once)
    keys = pa.table({name: [f"{name}{i}" for i in range(5)] for name in NAMES})
    digest = blake2b(digest_size=8)
    for name in NAMES:
        digest.update("\n".join(keys.column(name).to_pylist()).encode() + b"\x1e")
    assert run_version(keys) == digest.hexdigest()
    assert run_version(keys.take([4, 0, 1, 3, 2])) == digest.hexdigest()
