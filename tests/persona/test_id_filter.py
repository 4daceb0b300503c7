"""A Bloom filter: never wrong about who is new, and seldom unsure."""

from __future__ import annotations

import pyarrow as pa
import pytest

from persona.id_filter import IdFilter


def ids(start: int, stop: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([f"{i:016d}" for i in range(start, stop)], pa.string())])


@pytest.mark.parametrize("added", [0, 1, 70_000])
def test_what_was_added_is_always_held(added: int) -> None:
    held = IdFilter(added)
    held.add(ids(0, added // 2))
    held.add(ids(added // 2, added))
    assert held.may_hold(ids(0, added)).all()
    assert held.may_hold(ids(added, added + 20_000)).mean() < 0.005


def test_it_says_when_it_is_full() -> None:
    held = IdFilter(70_000)
    held.add(ids(0, 70_000))
    assert not held.is_full
    held.add(ids(70_000, 70_001))
    assert held.is_full
