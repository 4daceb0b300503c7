"""The LanceDB store: upserts, lookups, searches, and the step that fills it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embed.clip import load_clip
from persona.config import EvidenceConfig, PersonaResources, StoreConfig
from persona.errors import StoreBusyError
from persona.evidence import build_evidence
from persona.grounded import verbalize_user
from persona.indexing import (
    carried_store,
    evidence_json,
    index_personas,
    persona_keys,
    run_version,
)
from persona.items import UserEvidence, evidence_table, group_users
from persona.schema import Persona
from persona.store import PersonaStore
from persona.store_tables import HISTORY, TABLE, store_schema, unpack
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS
from persona.verbalizer import outcome_tables
from pipelines.contract import ContractError, Counts, MissingInputError, Run
from tests.persona.examples import snippet, tag
from tests.persona.synthetic import (
    NEON_CATS,
    PASTEL_MOUNTAINS,
    make_run,
    publish_staged,
    publish_world,
    unit,
    user_id,
    world,
)

pytestmark = pytest.mark.engine


def filled_run(root: Path, num_users: int = 6) -> Run:
    """A run with evidence and personas, verbalized in this process."""
    run = make_run(root)
    publish_world(run, world(num_users))
    build_evidence(EvidenceConfig(), PersonaResources(), run)
    publish_staged(run, EVIDENCE)
    users = list(group_users(EVIDENCE.read(run)))
    personas, _ = outcome_tables(users, [verbalize_user(u, 0) for u in users], "grounded")
    PERSONAS.write(run.staged(PERSONAS), personas)
    publish_staged(run, PERSONAS)
    return run


def indexed(run: Run, **config: int) -> tuple[PersonaStore, Counts]:
    counts = index_personas(StoreConfig(**config), PersonaResources(), run)
    return PersonaStore.open(run.staged(PERSONA_STORE)), counts


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PersonaStore:
    return indexed(filled_run(tmp_path_factory.mktemp("store")))[0]


def rows(*names: str, summary: str = "They like neon.", run: str = "r1", made: int = 1) -> pa.Table:
    columns = {
        "run_version": [run] * len(names),
        "made_utc": [made] * len(names),
        "persona": [json.dumps({"summary": summary})] * len(names),
        "user_id": list(names),
        "summary": [summary] * len(names),
        "text": [summary] * len(names),
        "embedding": [[1.0, 0.0]] * len(names),
        "clip_embedding": [[1.0, 0.0, 0.0]] * len(names),
    }
    schema = store_schema(2, 3)
    filled = {f.name: columns.get(f.name, [None] * len(names)) for f in schema}
    return pa.table(filled, schema=schema)


def test_a_user_is_found_with_everything(store: PersonaStore) -> None:
    row = store.get(user_id(0))
    assert row is not None
    persona = Persona.model_validate_json(row["persona"])
    assert row["summary"] == persona.summary
    assert row["text"].splitlines() == list(persona.texts())
    assert row["interests"] == [claim.text for claim in persona.interests]
    assert row["facets"] == ["palette=neon", "subject=cat"]
    assert json.loads(row["evidence"])[0]["evidence_id"] == "s:neonnights"
    np.testing.assert_allclose(row["clip_embedding"], unit(NEON_CATS), atol=1e-6)
    assert row["verbalizer"] == "grounded"
    assert len(row["run_version"]) == 16


def test_evidence_of_hostile_texts_stays_json() -> None:
    text = 'a "quote" and \\ a back-slash, a tab\t, é 日本 \u2028 and </script>'
    users = [UserEvidence("ann", (snippet("jazz", 0, text), tag("palette", "neon", 1.5)))]
    (items,) = evidence_json(evidence_table(users)).values()
    assert [item["text"] for item in json.loads(items)] == [text, "neon"]
    assert json.loads(items)[1] == {
        "evidence_id": "g:palette:neon",
        "kind": "tag",
        "subreddit": None,
        "facet": "palette",
        "text": "neon",
        "weight": 1.5,
        "inferred": False,
    }


def test_unknown_users_are_none_and_ids_are_data(store: PersonaStore) -> None:
    assert store.get("nobody") is None
    assert store.get("x' OR user_id != '") is None
    assert store.count() == 6


def test_words_find_the_personas_that_say_them(store: PersonaStore) -> None:
    cats = {hit["user_id"] for hit in store.search_text("neon cats", 10)}
    assert cats == {user_id(0), user_id(2), user_id(4)}
    assert {hit["user_id"] for hit in store.search_text("mountain", 10)} == {
        user_id(1),
        user_id(3),
        user_id(5),
    }
    assert len(store.search_text("neon", 2)) == 2
    assert store.search_text("zzzz", 3) == []
    assert store.search_text("   ", 3) == []
    assert store.search_text('"unbalanced AND (query', 3) == []


def test_vectors_find_the_nearest(store: PersonaStore) -> None:
    hits = store.search_vector(unit(PASTEL_MOUNTAINS), 3)
    assert [hit["user_id"] for hit in hits] == [user_id(1), user_id(3), user_id(5)]
    assert hits[0]["score"] == pytest.approx(1.0, abs=1e-6)
    nearest = store.search_vector(unit((1.0, 2 / 7, 0.2)), 1, column="embedding")
    assert [hit["user_id"] for hit in nearest] == [user_id(2)]


def test_wrong_vectors_are_refused(store: PersonaStore) -> None:
    with pytest.raises(ValueError, match="clip_embedding holds 4 dimensions"):
        store.search_vector([1.0, 0.0], 3)
    with pytest.raises(ValueError, match="column='summary'"):
        store.search_vector([1.0], 3, column="summary")


def test_filters_take_tags_as_they_are_shown(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    table = rows("ann", "bob")
    facets = pa.array([["time-of-day=golden-hour"], ["palette=neon"]], pa.list_(pa.string()))
    store.upsert(table.set_column(table.schema.get_field_index("facets"), "facets", facets))
    for where in ({"time of day": "Golden hour"}, {"time-of-day": "golden-hour"}):
        hits = store.search_vector([1.0, 0.0, 0.0], 2, where=where)
        assert [hit["user_id"] for hit in hits] == ["ann"]


@pytest.mark.parametrize("length", [1e-40, 1e-20, 1e30, 1e300])
def test_the_length_of_a_vector_says_nothing(store: PersonaStore, length: float) -> None:
    x_D = unit(PASTEL_MOUNTAINS)
    expected = store.search_vector(x_D, 3)
    hits = store.search_vector([float(x) * length for x in x_D], 3)
    assert [hit["user_id"] for hit in hits] == [hit["user_id"] for hit in expected]
    assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in expected])


def test_both_searches_agree_on_the_best(store: PersonaStore) -> None:
    hits = store.search_both("mountains", unit(PASTEL_MOUNTAINS), 3)
    assert [hit["user_id"] for hit in hits] == [user_id(1), user_id(3), user_id(5)]


def test_the_step_indexes_every_persona(tmp_path: Path) -> None:
    run = filled_run(tmp_path, 7)
    store, counts = indexed(run)
    assert counts == Counts(rows_in=7, rows_out=7, metrics={"shards": 1.0, "ended": 0.0})
    assert store.count() == 7


def test_the_version_is_of_content_not_of_time(tmp_path: Path) -> None:
    versions = []
    for name in ("one", "two"):
        run = filled_run(tmp_path / name)
        row = indexed(run)[0].get(user_id(0))
        assert row is not None
        versions.append(row["run_version"])
    assert versions[0] == versions[1]
    keys = persona_keys(run)
    assert run_version(keys) == versions[0]
    assert run_version(keys.slice(1)) != versions[0]


def test_personas_made_otherwise_of_the_same_evidence_are_a_new_run(tmp_path: Path) -> None:
    run = filled_run(tmp_path)
    first = indexed(run)[0].get(user_id(0))
    publish_staged(run, PERSONA_STORE)
    users = list(group_users(EVIDENCE.read(run)))
    told = outcome_tables(users, [verbalize_user(user, 99) for user in users], "grounded")[0]
    shutil.rmtree(PERSONAS.path(run))
    PERSONAS.path(run).mkdir()
    PERSONAS.write(PERSONAS.path(run), told)
    store, _ = indexed(run)
    second = store.get(user_id(0))
    assert first is not None and second is not None
    assert first["persona"] != second["persona"]
    for row in (first, second):
        then = store.get_at(user_id(0), row["run_version"])
        assert then is not None and then["persona"] == row["persona"]


def test_upserts_replace_and_add(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    store.upsert(rows("ann", "bob"))
    store.upsert(rows("bob", "eve", summary="They like pastel."))
    assert store.count() == 3
    summaries = {name: (store.get(name) or {})["summary"] for name in ("ann", "bob", "eve")}
    assert summaries == {
        "ann": "They like neon.",
        "bob": "They like pastel.",
        "eve": "They like pastel.",
    }


def older_store(path: Path) -> PersonaStore:
    """Of the format before texts were packed: ann and bob of r1, ann again of r2."""
    store = PersonaStore.create(path, 2, 3)
    store.upsert(rows("ann", "bob", summary="one", run="r1", made=10))
    store.upsert(rows("ann", summary="two", run="r2", made=20))
    for name in (TABLE, HISTORY):
        plain = unpack(store._tables[name].to_arrow())
        store._db.create_table(name, plain, mode="overwrite")
    return PersonaStore.open(path)


def test_long_texts_are_kept_packed(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    store.upsert(rows("ann", summary="They like neon. " * 500))
    for name, columns in ((TABLE, ("persona", "evidence")), (HISTORY, ("persona",))):
        table = store._tables[name]
        assert {table.schema.field(column).type for column in columns} == {pa.binary()}
        assert len(table.to_arrow().column("persona")[0].as_py()) < 1000
    assert json.loads((store.get("ann") or {})["persona"])["summary"] == "They like neon. " * 500
    (row,) = pa.Table.from_batches(store.batches()).to_pylist()
    assert row == store.get("ann")
    assert pa.Table.from_batches(store.batches()).schema.equals(store.schema)


def test_a_store_of_the_format_before_is_read_and_renewed_but_not_written(tmp_path: Path) -> None:
    store = older_store(tmp_path / "older")
    assert store.is_older
    with pytest.raises(ContractError, match=r"older format.*run index_personas"):
        store.upsert(rows("eve", run="r3", made=30))
    renewed = store.renewed(tmp_path / "renewed")
    assert not renewed.is_older
    for read in (store, renewed):
        assert json.loads((read.get("ann") or {})["persona"]) == {"summary": "two"}
        assert summaries(read.history("ann")) == [("r1", "one"), ("r2", "two")]
        then = read.get_at("ann", "r1")
        assert then is not None and json.loads(then["persona"]) == {"summary": "one"}
        told = pa.Table.from_batches(read.batches()).sort_by("user_id").to_pylist()
        assert told == [read.get("ann"), read.get("bob")]
    renewed.upsert(rows("ann", "eve", summary="three", run="r3", made=30))
    assert [row["run_version"] for row in renewed.history("ann")] == ["r1", "r2", "r3"]
    assert renewed.count() == 3


def test_the_step_goes_on_from_a_store_of_the_format_before(tmp_path: Path) -> None:
    for dims in ((2, 3), (4, 3)):
        published = tmp_path / f"published{dims[0]}"
        older_store(published)
        carried = carried_store(published, tmp_path / "staged", dims)
        assert (carried.is_older, carried.dims) == (False, dims)
        assert summaries(carried.history("ann")) == [("r1", "one"), ("r2", "two")]
        assert carried.count() == (2 if dims == (2, 3) else 0)
        assert PersonaStore.open(published).is_older  # it may be rolled back to


def test_a_user_twice_in_a_batch_is_refused(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    with pytest.raises(ContractError, match="twice"):
        store.upsert(rows("ann", "ann"))
    assert store.count() == 0


def test_compaction_keeps_rows_and_drops_versions(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    for index in range(6):
        store.upsert(rows(f"user{index}"))
    store.build_indexes(index_rows=1000)
    store.compact()
    assert store.count() == 6
    assert len(list((tmp_path / "personas.lance" / "data").glob("*"))) == 1
    assert len(list((tmp_path / "personas.lance" / "_versions").glob("*.manifest"))) == 1
    assert len(PersonaStore.open(tmp_path).search_text("neon", 10)) == 6


def test_large_stores_get_vector_indexes_that_still_find(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 4)
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(600, 4)).astype(np.float32)
    table = rows(*(f"user{index:03d}" for index in range(600)))
    clip = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4)
    fields = store_schema(2, 4)
    columns = [clip if name == "clip_embedding" else table[name] for name in fields.names]
    store.upsert(pa.Table.from_arrays(columns, schema=fields))
    store.build_indexes(index_rows=500)
    hits = store.search_vector(vectors[17], 5)
    assert "user017" in {hit["user_id"] for hit in hits}


def test_words_find_pictures_by_clip(tmp_path: Path) -> None:
    clip = load_clip("tiny")
    store = PersonaStore.create(tmp_path, 2, clip.dim)
    pictures = {"ann": "a cat in neon colours", "bob": "snowy peaks", "eve": "foggy forest"}
    vectors = clip.encode_texts(list(pictures.values()))
    schema = store_schema(2, clip.dim)
    columns = dict(zip(schema.names, rows(*pictures).columns, strict=True))
    columns["clip_embedding"] = pa.FixedSizeListArray.from_arrays(vectors.ravel(), clip.dim)
    store.upsert(pa.table(columns, schema=schema))
    for words, user in (("kitten", "ann"), ("mountains", "bob"), ("fir trees", "eve")):
        assert store.search_vector(clip.encode_texts([words])[0], 1)[0]["user_id"] == user


def summaries(rows: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(row["run_version"], row["summary"]) for row in rows]


def test_history_notes_each_change_once(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    store.upsert(rows("ann", "bob", summary="one", run="r1", made=10))
    store.upsert(rows("ann", summary="two", run="r2", made=20))
    store.upsert(rows("bob", summary="one", run="r2", made=20))
    assert summaries(store.history("ann")) == [("r1", "one"), ("r2", "two")]
    assert summaries(store.history("bob")) == [("r1", "one")]
    assert store.history("nobody") == []
    assert [run["run_version"] for run in store.runs()] == ["r1", "r2"]


def test_upserts_are_idempotent_by_user_and_run(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    batches = [
        rows("ann", "bob", summary="one", run="r1", made=10),
        rows("ann", "eve", summary="two", run="r2", made=20),
    ]
    for batch in (*batches, *batches, batches[0]):  # the last: an old run, come late
        store.upsert(batch)
    assert {name: (store.get(name) or {})["summary"] for name in ("ann", "bob", "eve")} == {
        "ann": "two",
        "bob": "one",
        "eve": "two",
    }
    assert store.count() == 3
    assert summaries(store.history("ann")) == [("r1", "one"), ("r2", "two")]


def test_a_user_is_read_as_of_a_run_or_a_time(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    store.upsert(rows("ann", "bob", summary="one", run="r1", made=10))
    store.upsert(rows("ann", summary="two", run="r2", made=20))
    assert store.retire("r2") == 1
    store.upsert(rows("bob", summary="back", run="r3", made=30))

    def told(user: str, as_of: str | int) -> str | None:
        row = store.get_at(user, as_of)
        return row["summary"] if row else None

    assert [told("ann", at) for at in (9, 10, 19, 20, 99)] == [None, "one", "one", "two", "two"]
    assert [told("bob", run) for run in ("r1", "r2", "r3")] == ["one", None, "back"]
    with pytest.raises(ValueError, match="run 'r9': expected one of r1, r2, r3"):
        store.get_at("ann", "r9")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    other = PersonaStore.open(tmp_path)
    with store._writing():
        for write in (other.compact, lambda: other.upsert(rows("ann"))):
            with pytest.raises(StoreBusyError, match="another process writes it"):
                write()
    other.upsert(rows("ann"))
    assert store.count() in (0, 1)  # a reader lags two seconds at most


def test_a_store_without_a_folder_works_alike(tmp_path: Path) -> None:
    """An address, as of an object store: this one is a file system behind the same interface."""
    address = f"file://{tmp_path}/bucket"
    PersonaStore.create(address, 2, 3).upsert(rows("ann"))
    store = PersonaStore.open(address)
    assert summaries(store.history("ann")) == [("r1", "They like neon.")]
    assert not (tmp_path / "bucket" / ".owner").exists()
    with pytest.raises(MissingInputError, match="no persona store at file://"):
        PersonaStore.open(f"file://{tmp_path}/nothing")


def test_filters_narrow_a_search(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path, 2, 3)
    table = rows("ann", "bob", "eve").to_pydict()
    table["facets"] = [["palette=neon"], ["palette=neon", "subject=cat"], ["palette=pastel"]]
    table["verbalizer"] = ["grounded", "grounded", "it's a model"]
    store.upsert(pa.table(table, schema=store_schema(2, 3)))
    store.build_indexes(1000)

    def found(**where: str) -> list[str]:
        by_text = [hit["user_id"] for hit in store.search_text("neon", 9, where)]
        by_vector = [hit["user_id"] for hit in store.search_vector([1, 0, 0], 9, where=where)]
        assert by_text == by_vector
        return by_text

    assert found(palette="neon") == ["ann", "bob"]
    assert found(palette="neon", subject="cat") == ["bob"]
    assert found(verbalizer="it's a model") == ["eve"]
    assert found(palette="neon') OR (1=1") == []
    with pytest.raises(ValueError, match="filter '--'"):
        store.search_text("neon", 9, {"--": "c"})


def test_users_left_out_of_a_copy_were_never_in_it(tmp_path: Path) -> None:
    store = PersonaStore.create(tmp_path / "all", 2, 3)
    store.upsert(rows("ann", "bob", summary="one", run="r1", made=10))
    store.upsert(rows("ann", "bob", summary="two", run="r2", made=20))
    copy = store.without(["ann"], tmp_path / "rest", index_rows=1000)
    assert (copy.get("ann"), copy.history("ann")) == (None, [])
    assert summaries(copy.history("bob")) == [("r1", "one"), ("r2", "two")]
    assert copy.get("bob") == store.get("bob")
    assert [hit["user_id"] for hit in copy.search_text("two", 9)] == ["bob"]
    assert copy.runs() == store.runs()


def test_the_step_goes_on_from_the_last_store(tmp_path: Path) -> None:
    run = filled_run(tmp_path, 6)
    index_personas(StoreConfig(), PersonaResources(), run)
    publish_staged(run, PERSONA_STORE)
    first = PersonaStore.open(PERSONA_STORE.path(run))
    (before,) = first.runs()
    personas = PERSONAS.read(run)
    PERSONAS.write(PERSONAS.path(run), personas.slice(1))  # the first user left
    counts = index_personas(StoreConfig(), PersonaResources(), run)
    second = PersonaStore.open(run.staged(PERSONA_STORE))
    gone = personas.column("user_id")[0].as_py()
    assert (counts.rows_out, counts.metrics["ended"]) == (5, 1.0)
    assert second.get(gone) is None
    assert second.get_at(gone, before["run_version"]) is not None
    assert [row["persona"] is None for row in second.history(gone)] == [False, True]
    assert [len(second.history(user)) for user in personas.column("user_id").to_pylist()[1:]] == (
        [1] * 5
    )
    assert first.count() == 6  # the published store was not touched


def test_the_same_personas_again_are_the_same_run(tmp_path: Path) -> None:
    run = filled_run(tmp_path, 4)
    first, _ = indexed(run)
    told = [first.runs(), [first.history(user_id(i)) for i in range(4)]]
    publish_staged(run, PERSONA_STORE)
    again, _ = indexed(run)
    assert [again.runs(), [again.history(user_id(i)) for i in range(4)]] == told


@pytest.mark.parametrize("folder", ["", "none"])
def test_no_store_is_a_clear_error_and_asking_makes_none(folder: str, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="run index_personas first"):
        PersonaStore.open(tmp_path / folder)
    assert not any(tmp_path.iterdir())


def test_personas_without_embedding_are_refused(tmp_path: Path) -> None:
    run = filled_run(tmp_path)
    users = [user for user in world(6) if user.user_id != user_id(3)]
    publish_world(run, users)
    with pytest.raises(ContractError, match="1 personas have no row"):
        index_personas(StoreConfig(), PersonaResources(), run)
