"""One user erased from a whole root: nothing of them is left, and nothing else is gone."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from typer.testing import CliRunner

from embed.tables import IMAGE_EMBEDDINGS
from graph.build import build_graph
from graph.config import GraphConfig, GraphResources
from graph.counter_random import hash_strings
from graph.store import GraphStore
from graph.tables import CHECKPOINT, GRAPH_STORE
from orchestration import command_line
from orchestration.manifests import identity
from persona.erasure import CHUNK_BYTES, ERASED, drop_rows, erase_user, find_traces
from persona.errors import ErasureError
from persona.store import PersonaStore
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS
from pipelines.contract import ConfigError, MissingInputError, Run
from pipelines.forgotten import forgotten_ids
from pipelines.pseudonym import Pseudonyms, new_key_file
from pipelines.tables import MEDIA
from tests.embed.samples import write_tar
from tests.orchestration.test_main import manifest
from tests.persona.synthetic import publish_staged, user_id
from tests.persona.test_store import rows
from tests.persona.web.served import NUM_USERS, make_root

pytestmark = pytest.mark.engine

ANN = user_id(0)  # the first user of the only shard, so parts are named for her


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with every artifact; copied by each test."""
    folder = tmp_path_factory.mktemp("whole")
    run = make_root(folder)
    build_graph(GraphConfig(min_users=1, min_subreddits=1), GraphResources(), run)
    publish_staged(run, GRAPH_STORE)
    seen = np.sort(hash_strings([user_id(i) for i in range(NUM_USERS)]))
    np.save(CHECKPOINT.path(run) / "seen_users.npy", seen)
    (run.root / "report.html").write_text(f"<p>{ANN}</p>")
    (PERSONA_STORE.path(run) / "approval").mkdir()
    (PERSONA_STORE.path(run) / "approval" / "quality.json").write_text("{}")
    (run.root / ".staging" / "left").mkdir(parents=True)
    (run.root / ".staging" / "left" / "note").write_text(ANN)
    return folder


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "run", tmp_path / "run")
    shutil.copytree(whole / "archive", tmp_path / "archive")
    return tmp_path / "run"


def others(root: Path) -> list[object]:
    """All that tables and stores say of everybody else."""
    run = Run(root=root)
    told: list[object] = []
    for path in sorted((root / "tables").rglob("*.parquet")):
        table = pq.read_table(path)
        if "user_id" in table.column_names:
            told.append([row for row in table.to_pylist() if row["user_id"] != ANN])
    store = PersonaStore.open(PERSONA_STORE.path(run))
    for index in range(1, NUM_USERS):
        told += [store.get(user_id(index)), store.history(user_id(index))]
    return told


def test_one_user_is_erased_and_everybody_else_is_as_before(root: Path) -> None:
    before = others(root)
    assert len(find_traces(root, ANN).found) > 10
    erased = erase_user(root, ANN, [root.parent / "archive"])
    assert others(root) == before
    run = Run(root=root)
    store = PersonaStore.open(PERSONA_STORE.path(run))
    assert (store.get(ANN), store.history(ANN), store.count()) == (None, [], NUM_USERS - 1)
    assert (PERSONA_STORE.path(run) / "approval" / "quality.json").read_text() == "{}"
    assert ANN not in GraphStore.open(GRAPH_STORE.path(run)).user_ids()
    for part in (EVIDENCE, PERSONAS):
        assert not any(ANN in path.name for path in part.files(run))
    assert any(ERASED in path.name for path in EVIDENCE.files(run))
    assert not (root / "report.html").exists() and not (root / ".staging").exists()
    assert {"persona_store": 2, "graph_store": 1, "checkpoint": 1, "report.html": 1}.items() <= (
        erased.removed.items()
    )
    assert find_traces(root, ANN).found == []
    assert (erased.files, erased.bytes) > (20, 10_000)
    assert erase_user(root, ANN).removed == {}


@pytest.mark.parametrize("name", ["persona_store", "graph_store"])
@pytest.mark.parametrize("renames", [1, 2])
def test_an_erasure_killed_while_it_swaps_is_finished_by_the_next(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, renames: int
) -> None:
    rename, done = Path.rename, []

    def killed(path: Path, target: Path) -> Path:
        told = rename(path, target)
        if path.name in (name, f"{name}.next"):
            done.append(path.name)
            if len(done) == renames:
                raise KeyboardInterrupt
        return told

    before = others(root)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        erase_user(root, ANN)
    erase_user(root, ANN)
    assert others(root) == before
    assert ANN not in GraphStore.open(GRAPH_STORE.path(Run(root=root))).user_ids()
    assert not list((root / "artifacts").glob("*.old"))


def test_pictures_go_unless_somebody_else_posted_them_too(root: Path) -> None:
    run = Run(root=root)
    media = MEDIA.read(run)
    mine = media.filter(pa.compute.equal(media["user_id"], ANN)).to_pylist()
    again = {**mine[1], "submission_id": 99, "user_id": user_id(4)}
    MEDIA.write(
        MEDIA.path(run), pa.Table.from_pylist([*media.to_pylist(), again], schema=MEDIA.schema)
    )
    members = {"a.jpg": b"A", "a.url": mine[0]["url"].encode()}
    members |= {"b.jpg": b"B", "b.url": mine[1]["url"].encode()}
    shard = write_tar(root.parent / "tars" / "a.tar", members)
    erase_user(root, ANN, [root.parent / "archive", root.parent / "tars"])
    with tarfile.open(shard) as tar:
        assert sorted(tar.getnames()) == ["b.jpg", "b.url"]
    embedded = IMAGE_EMBEDDINGS.read(run)["image_id"].to_pylist()
    archived = pq.read_table(root.parent / "archive")["url"].to_pylist()
    assert (mine[0]["image_id"] in embedded, mine[1]["image_id"] in embedded) == (False, True)
    assert (mine[0]["url"] in archived, mine[1]["url"] in archived) == (False, True)
    assert len(embedded) == len(archived) == NUM_USERS - 1
    metadata = IMAGE_EMBEDDINGS.dataset(run).schema.metadata
    assert metadata[b"clip_model"] == b"tiny"


TEXT_OF_OTHERS = {
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "view": pa.string_view(),
}


def test_rows_go_where_another_program_holds_text_as_a_dictionary(tmp_path: Path) -> None:
    ids = pa.array([ANN, "bob", None]).cast(TEXT_OF_OTHERS["dictionary"])
    table, path = pa.table({"user_id": ids, "n": [1, 2, 3]}), tmp_path / "a.parquet"
    pq.write_table(table, path, compression="zstd")
    assert drop_rows(path, {"user_id": [ANN]}) == 1
    assert pq.read_table(path).to_pylist() == table.to_pylist()[1:]


@pytest.mark.parametrize("kind", [*TEXT_OF_OTHERS, "struct", "structs", "map"])
def test_a_search_finds_text_in_every_type_of_column(tmp_path: Path, kind: str) -> None:
    told = f"of {ANN}"
    column = {
        "struct": lambda: pa.array([{"by": told}] * 5000),
        "structs": lambda: pa.array([[{"n": 1, "by": told}]] * 5000),
        "map": lambda: pa.array([[("by", told)]] * 5000, pa.map_(pa.string(), pa.string())),
    }.get(kind, lambda: pa.array([told] * 5000).cast(TEXT_OF_OTHERS[kind]))()
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"c": column}), path, compression="zstd", write_statistics=False)
    assert find_traces(tmp_path, ANN).found == ["a.parquet"]
    assert find_traces(tmp_path, user_id(77)).found == []


def test_a_damaged_table_is_named_and_ends_the_erasure(root: Path) -> None:
    shard = root.parent / "archive" / "damaged.parquet"
    shard.write_bytes(b"PAR1 and no more")
    with pytest.raises(ErasureError, match=r"damaged\.parquet.*delete or mend it"):
        erase_user(root, ANN, [root.parent / "archive"])


@pytest.mark.parametrize(
    "kind", ["parquet", "zst", "gz", "npy", "name", "seam", "version", "packed"]
)
def test_a_search_finds_what_a_plain_search_does_not(tmp_path: Path, kind: str) -> None:
    noise = bytes(range(256)) * 64
    match kind:
        case "parquet":  # dictionary, then zstd
            table = pa.table({"texts": [[f"of {ANN}"]] * 5000})
            pq.write_table(
                table, tmp_path / "a.parquet", compression="zstd", write_statistics=False
            )
        case "zst":
            (tmp_path / "a.zst").write_bytes(zstandard.compress(noise + ANN.encode() + noise))
        case "gz":
            (tmp_path / "a.gz").write_bytes(gzip.compress(noise + ANN.encode() + noise))
        case "npy":
            np.save(tmp_path / "a.npy", hash_strings(["bob", ANN]))
        case "name":
            (tmp_path / f"part-{ANN}").write_bytes(b"")
        case "seam":
            (tmp_path / "a.bin").write_bytes(b"." * (CHUNK_BYTES - 5) + ANN.encode() + b"..")
        case "version":
            store = PersonaStore.create(tmp_path, 2, 3)
            store.upsert(rows(ANN, "bob"))
            store._table.delete(f"user_id = '{ANN}'")
            assert store.get(ANN) is None
        case "packed":
            told = f"{ANN[:8]} and {ANN[8:]}: {ANN}"  # its bytes are a repetition of two parts
            table = rows("bob")
            place = table.schema.get_field_index("persona")
            persona = pa.array([f"of {told}"], pa.string())
            PersonaStore.create(tmp_path, 2, 3).upsert(table.set_column(place, "persona", persona))
            assert not any(ANN.encode() in p.read_bytes() for p in tmp_path.rglob("*.lance/data/*"))
    assert len(find_traces(tmp_path, ANN).found) >= 1
    assert find_traces(tmp_path, user_id(77)).found == []


def test_what_cannot_be_erased_is_told(root: Path) -> None:
    (root / "notes.txt").write_text(f"remember {ANN}")
    with pytest.raises(ErasureError, match=r"is still in notes\.txt"):
        erase_user(root, ANN)


def test_the_command_erases_by_name_or_id_and_leaves_a_tombstone(root: Path) -> None:
    key = new_key_file(root.parent / "key")

    def forget(*words: str) -> str:
        options = ["--root", str(root), "--key-file", str(key)]
        result = CliRunner().invoke(
            command_line.app, ["forget", *words, *options], catch_exceptions=False
        )
        return result.output

    assert f"no trace of {ANN}" in forget(ANN)  # known here, so it is an id
    assert f"no trace of {ANN}" in forget(ANN)  # and by its tombstone
    named = Pseudonyms.from_file(key).user_id("Somebody")
    assert f"no trace of {named}" in forget("u/somebody")
    unknown = user_id(77)  # looks like an id, but nobody knows it: a name
    assert f"no trace of {Pseudonyms.from_file(key).user_id(unknown)}" in forget(unknown)
    assert f"no trace of {unknown}" in forget(unknown, "--id")
    assert {ANN, named, unknown} <= forgotten_ids(key)
    with pytest.raises(ConfigError, match="--id 'Somebody': expected 16 characters"):
        forget("Somebody", "--id")
    shutil.rmtree(root)
    with pytest.raises(MissingInputError, match="no run at"):
        forget("somebody")


def test_an_erasure_under_another_key_than_the_run_is_refused(root: Path) -> None:
    """Nobody would be found under it, and all would seem well."""
    right, wrong = new_key_file(root.parent / "right"), new_key_file(root.parent / "wrong")
    depends = {"config": {"key_file": identity(right)}}
    made = replace(manifest("2020-01"), depends=depends)
    made.write(Run(root=root))
    right.write_text(right.read_text().strip())  # the same key, as another editor leaves it
    words = ["forget", "somebody", "--root", str(root), "--key-file"]
    with pytest.raises(ConfigError, match=r"wrong': .* was made with another key"):
        CliRunner().invoke(command_line.app, [*words, str(wrong)], catch_exceptions=False)
    assert forgotten_ids(wrong) == frozenset()
    result = CliRunner().invoke(command_line.app, [*words, str(right)], catch_exceptions=False)
    assert "no trace of" in result.output
