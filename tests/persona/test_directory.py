from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from persona import store as store_module
from persona.directory import Directory
from persona.store import MANY_LOOKUPS, PersonaStore
from persona.store_tables import pack
from tests.persona.test_store import rows

pytestmark = pytest.mark.engine

NAMES = [f"user{number}" for number in range(50)]


@pytest.fixture
def store(tmp_path: Path) -> PersonaStore:
    """Often asked, so that it knows where everybody is."""
    store = PersonaStore.create(tmp_path, 2, 3)
    store.upsert(rows(*NAMES[:30]))
    store.upsert(rows(*NAMES[30:]))
    asked_often(store)
    return store


def asked_often(store: PersonaStore) -> None:
    for _ in range(MANY_LOOKUPS + 1):
        store.get(NAMES[0])
    assert store._directory is not None
    assert store._directory.version == store._table.version


def test_all_are_found_at_once_and_nobody_else(store: PersonaStore) -> None:
    found = store.get_many([*NAMES, "nobody", NAMES[3]], ["summary", "user_id"])
    assert found == {name: {"summary": "They like neon.", "user_id": name} for name in NAMES}
    assert store.get_many([]) == {}
    assert store.get_many(["nobody"]) == {}
    assert set(store.get(NAMES[40]) or {}) == set(store.schema.names)


def test_what_was_written_since_is_found(store: PersonaStore) -> None:
    store.upsert(rows(NAMES[1], "new", summary="They like jazz.", run="r2", made=2))
    for _ in range(2):
        found = store.get_many([*NAMES[:2], "new"], ["summary"])
        assert [row["summary"] for row in found.values()].count("They like jazz.") == 2
        assert found[NAMES[0]] == {"summary": "They like neon."}
        asked_often(store)
    store._table.delete(f"user_id = '{NAMES[1]}'")
    assert store.get(NAMES[1]) is None


def test_rows_that_move_while_they_are_looked_up_are_found(
    store: PersonaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Directory(store._table)
    store.compact()
    monkeypatch.setattr(store, "_placed", lambda: known)
    assert set(store.get_many(NAMES)) == set(NAMES)


def test_of_two_rows_that_a_killed_upsert_left_the_newer_counts(store: PersonaStore) -> None:
    store._table.add(pack(rows(NAMES[0], summary="They like jazz.", run="r2", made=2)))
    assert (store.get(NAMES[0]) or {})["summary"] == "They like jazz."
    asked_often(store)
    assert (store.get(NAMES[0]) or {})["summary"] == "They like jazz."


def test_users_with_the_same_hash_are_told_apart(
    store: PersonaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persona.directory._hashed", lambda ids: ids.str.len_bytes().to_numpy())
    store._directory = Directory(store._table)
    assert (store.get(NAMES[4], ["user_id"]) or {})["user_id"] == NAMES[4]
    assert store.get("user9x") is None


def test_one_lookup_does_not_read_all_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PersonaStore.create(tmp_path, 2, 3).upsert(rows(*NAMES))
    monkeypatch.setattr(store_module, "Directory", lambda _: pytest.fail("all ids were read"))
    assert PersonaStore.open(tmp_path).get(NAMES[7]) is not None


def test_others_do_not_wait_for_who_reads_all_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PersonaStore.create(tmp_path, 2, 3).upsert(rows(*NAMES))
    store = PersonaStore.open(tmp_path)
    reading, may_end = Event(), Event()

    def read(table: Any) -> Directory:
        reading.set()
        assert may_end.wait(60)
        return Directory(table)

    monkeypatch.setattr(store_module, "Directory", read)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(asked_often, store)
        assert reading.wait(60)
        assert store.get(NAMES[7]) is not None
        may_end.set()
        reader.result()
