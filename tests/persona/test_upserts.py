"""Upserts take short cuts where they know what a store holds: never to a row twice, or to none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from persona.store import PersonaStore
from persona.store_tables import HISTORY
from persona.upserts import Upserts
from tests.persona.test_store import rows

pytestmark = pytest.mark.engine


@pytest.fixture
def store(tmp_path: Path) -> PersonaStore:
    return PersonaStore.create(tmp_path / "store", 2, 3)


def told(store: PersonaStore) -> dict[str, tuple[str, str]]:
    """(run, summary) of each user, each of whom is there once."""
    found = store._table.to_arrow().select(["user_id", "run_version", "summary"]).to_pylist()
    assert len({row["user_id"] for row in found}) == len(found)
    return {row["user_id"]: (row["run_version"], row["summary"]) for row in found}


def noted(store: PersonaStore) -> Counter[tuple[str, str]]:
    """How often the history has each user and run."""
    found = store._tables[HISTORY].to_arrow()
    keys = zip(*(found.column(n).to_pylist() for n in ("user_id", "run_version")), strict=True)
    return Counter(keys)


def test_two_writers_by_turns_know_of_each_other(store: PersonaStore) -> None:
    other = PersonaStore.open(store.location)
    store.upsert(rows("ann", "bob"))
    other.upsert(rows("bob", "cat"))
    store.upsert(rows("cat", "dan"))
    other.upsert(rows("ann", "dan", summary="Likes jazz.", run="r2", made=2))
    store.upsert(rows("ann", "bob", summary="Likes jazz.", run="r2", made=2))
    assert told(PersonaStore.open(store.location)) == {
        "ann": ("r2", "Likes jazz."),
        "bob": ("r2", "Likes jazz."),
        "cat": ("r1", "They like neon."),
        "dan": ("r2", "Likes jazz."),
    }
    expected = [(u, "r1") for u in ("ann", "bob", "cat", "dan")]
    expected += [(u, "r2") for u in ("ann", "bob", "dan")]
    assert noted(PersonaStore.open(store.location)) == Counter(expected)


def test_new_and_known_users_in_one_batch(store: PersonaStore) -> None:
    names = [f"u{i:03d}" for i in range(40)]
    store.upsert(rows(*names[:20]))
    store.upsert(rows(*names[10:30], summary="Likes jazz.", run="r2", made=2))
    store.upsert(rows(*names[20:40], run="r2", made=2))
    assert {user: run for user, (run, _) in told(store).items()} == {
        name: "r1" if place < 10 else "r2" for place, name in enumerate(names)
    }
    assert set(noted(store).values()) == {1}


def test_a_batch_again_and_one_of_an_older_run_again(store: PersonaStore) -> None:
    store.upsert(rows("ann", run="r2", made=2))
    for _ in range(3):
        store.upsert(rows("ann", "bob", summary="Older.", run="r1", made=1))
        store.upsert(rows("ann", run="r2", made=2))
    assert told(store) == {"ann": ("r2", "They like neon."), "bob": ("r1", "Older.")}
    assert noted(store) == Counter([("ann", "r2"), ("ann", "r1"), ("bob", "r1")])


def test_who_was_retired_may_come_again_in_the_same_run(store: PersonaStore) -> None:
    store.upsert(rows("ann", "bob"))
    store.upsert(rows("bob", run="r2", made=2))
    assert store.retire("r2") == 1
    store.upsert(rows("ann", run="r2", made=2))
    assert told(store)["ann"] == ("r2", "They like neon.")
    assert set(noted(store).values()) == {1}


@pytest.mark.parametrize("step", ["_note", "_replace"])
def test_a_try_that_failed_is_made_good_by_the_next(
    store: PersonaStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A full disk, before or after the history was written."""
    store.upsert(rows("ann"))
    works = getattr(store._upserts, step)

    def fail(*args: object) -> None:
        if step == "_note":
            works(*args)
        raise OSError("No space left on device")

    monkeypatch.setattr(store._upserts, step, fail)
    with pytest.raises(OSError, match="No space"):
        store.upsert(rows("ann", "bob", summary="Likes jazz.", run="r2", made=2))
    monkeypatch.setattr(store._upserts, step, works)
    store.upsert(rows("ann", "bob", summary="Likes jazz.", run="r2", made=2))
    assert told(store) == {"ann": ("r2", "Likes jazz."), "bob": ("r2", "Likes jazz.")}
    assert noted(store) == Counter([("ann", "r1"), ("ann", "r2"), ("bob", "r2")])


def test_long_texts_are_read_only_where_evidence_is_the_same(
    store: PersonaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_by(evidence: str, run: str, made: int, summary: str) -> pa.Table:
        made_rows = rows("ann", "bob", summary=summary, run=run, made=made)
        given = {"evidence_hash": [evidence, "always"], "verbalizer": ["grounded"] * 2}
        columns = {name: made_rows.column(name) for name in made_rows.column_names} | given
        return pa.table(columns, schema=made_rows.schema)

    read: list[list[str]] = []
    texts = Upserts._texts

    def noting(self: Upserts, stored: pa.Table, places: pa.Array) -> pa.Table:
        found = texts(self, stored, places)
        read.append(found.column("user_id").to_pylist())
        return found

    monkeypatch.setattr(Upserts, "_texts", noting)
    store.upsert(told_by("e1", "r1", 1, "They like neon."))
    store.upsert(told_by("e2", "r2", 2, "They like neon."))  # ann's evidence alone is another
    store.upsert(told_by("e2", "r3", 3, "They like jazz."))  # the same evidence, other words
    assert [sorted(users) for users in read] == [["bob"], ["ann", "bob"]]
    assert noted(store) == Counter(
        [("ann", "r1"), ("bob", "r1"), ("ann", "r2"), ("ann", "r3"), ("bob", "r3")]
    )
