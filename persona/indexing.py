"""Step index_personas: PERSONAS, EVIDENCE, USER_EMBEDDINGS -> PERSONA_STORE."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from embed.tables import IMAGE_EMBEDDINGS
from graph.tables import USER_EMBEDDINGS
from persona.config import PersonaResources, StoreConfig
from persona.made_with import note_encoder
from persona.quality import read_personas, stated_tags
from persona.shards import Shard, UserTable, plan_shards
from persona.store import PersonaStore
from persona.store_tables import VECTORS, store_schema
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS
from pipelines.contract import ContractError, Counts, MissingInputError, Run

HASHED_ROWS = 1 << 20  # at once: texts of Python for 22 million users take gigabytes
MIN_BATCH_ROWS = 10_000  # an upsert of 1,000 rows costs nearly as much as one of 10,000


def index_personas(config: StoreConfig, resources: PersonaResources, run: Run) -> Counts:
    """Step: PERSONAS, EVIDENCE, USER_EMBEDDINGS -> PERSONA_STORE, with the history of the last."""
    keys = persona_keys(run)
    schema = USER_EMBEDDINGS.dataset(run).schema
    dims = (schema.field(VECTORS[0]).type.list_size, schema.field(VECTORS[1]).type.list_size)
    store = carried_store(PERSONA_STORE.path(run), run.staged(PERSONA_STORE), dims)
    note_encoder(run)
    shards = plan_shards(keys.column("user_id"), max(MIN_BATCH_ROWS, resources.shard_users))
    tables = _Inputs(run)
    if len(shards) > 1:
        tables.spill(shards, run.staged(PERSONA_STORE).parent / "_spill")
    versions = next_run(store, run_version(keys), made_utc(run))
    for shard in shards:
        store.upsert(
            store_rows(*tables.read(shard), {**versions, "clip_version": clip_version(run)})
        )
        run.progress(shard.index + 1, len(shards), "shards")
    shutil.rmtree(run.staged(PERSONA_STORE).parent / "_spill", ignore_errors=True)
    ended = store.retire(str(versions["run_version"])) if shards else 0
    store.finish(config.index_rows)
    return Counts(
        rows_in=len(keys),
        rows_out=store.count(),
        metrics={"shards": float(len(shards)), "ended": float(ended)},
    ).assert_balanced()


def carried_store(published: Path, staged: Path, dims: tuple[int, int]) -> PersonaStore:
    """What the last run published, to go on from; a new store where vectors have another length.

    With vectors of another length, history and runs are carried all the same.
    """
    shutil.rmtree(staged, ignore_errors=True)
    try:
        last = PersonaStore.open(published)
    except MissingInputError:
        return PersonaStore.create(staged, *dims)
    store = last.renewed(staged) if last.is_older else PersonaStore.copy(published, staged)
    return store if store.dims == dims else store.emptied(*dims)


def next_run(store: PersonaStore, content: str, made: int) -> dict[str, str | int]:
    """run_version and made_utc of what is about to be written.

    The same content as the newest run is that run. The same content as an older one is a new run
    all the same, for the personas in between were others.
    """
    runs = store.runs()
    same = [run for run in runs if run["run_version"].partition("-")[0] == content]
    if same and same[-1] == runs[-1]:
        return dict(same[-1])
    version = f"{content}-{len(same) + 1}" if same else content
    return {"run_version": version, "made_utc": max(made, runs[-1]["made_utc"] + 1 if runs else 0)}


def made_utc(run: Run) -> int:
    """When the personas were finished: the newest change of their files, epoch seconds."""
    return max((int(path.stat().st_mtime) for path in PERSONAS.files(run)), default=0)


class _Inputs:
    """PERSONAS, EVIDENCE and USER_EMBEDDINGS by shard."""

    def __init__(self, run: Run) -> None:
        self._tables = {
            "personas": UserTable(PERSONAS, run, PERSONAS.schema.names),
            "evidence": UserTable(EVIDENCE, run, EVIDENCE.schema.names),
            "embeddings": UserTable(USER_EMBEDDINGS, run, ["user_id", *VECTORS]),
        }

    def spill(self, shards: list[Shard], folder: Path) -> None:
        for name, table in self._tables.items():
            table.spill(shards, folder / name)

    def read(self, shard: Shard) -> tuple[pa.Table, pa.Table, pa.Table]:
        personas, evidence, embeddings = (t.read(shard) for t in self._tables.values())
        return personas, evidence, embeddings


def store_rows(
    personas: pa.Table, evidence: pa.Table, embeddings: pa.Table, versions: Mapping[str, str | int]
) -> pa.Table:
    """Rows of the store, by user id.

    Raises:
        ContractError: A persona's user has no embedding.
    """
    personas = personas.sort_by("user_id")
    user_ids = personas.column("user_id")
    places = pc.index_in(user_ids, value_set=embeddings.column("user_id").combine_chunks())
    if places.null_count:
        raise ContractError(f"{places.null_count} personas have no row in user_embeddings")
    items = evidence_json(evidence)
    texts, facets, interests = [], [], []
    for _, persona in read_personas(personas):
        texts.append("\n".join(persona.texts()))
        facets.append([f"{facet}={tag}" for facet, tag in stated_tags(persona)])
        interests.append([claim.text for claim in persona.interests])
    columns = {
        "user_id": user_ids,
        "summary": personas.column("summary"),
        "text": texts,
        "facets": facets,
        "interests": interests,
        "persona": personas.column("persona"),
        "evidence": [items[user_id] for user_id in user_ids.to_pylist()],
        "confidence": personas.column("confidence"),
        **{name: embeddings.column(name).take(places) for name in VECTORS},
        "evidence_hash": personas.column("evidence_hash"),
        "verbalizer": personas.column("verbalizer"),
        **{name: [value] * len(user_ids) for name, value in versions.items()},
    }
    dims = [embeddings.schema.field(name).type.list_size for name in VECTORS]
    return pa.table(columns, schema=store_schema(*dims).with_metadata(None))


def persona_keys(run: Run) -> pa.Table:
    """What a version of PERSONAS depends on; of the texts their digests, for all are too many."""
    names = ["user_id", "evidence_hash", "verbalizer"]
    schema = pa.schema([(name, pa.string()) for name in (*names, "digest")])
    batches = []
    for batch in PERSONAS.dataset(run).to_batches(columns=[*names, "persona"]):
        texts = batch.column("persona").to_pylist()
        digests = [blake2b(text.encode(), digest_size=8).hexdigest() for text in texts]
        columns = [*(batch.column(name) for name in names), pa.array(digests, pa.string())]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return pa.Table.from_batches(batches, schema)


def run_version(keys: pa.Table) -> str:
    """Content address of a set of personas: the same texts and evidence, the same version."""
    ordered = keys.sort_by("user_id")
    digest = blake2b(digest_size=8)
    for name in ("user_id", "evidence_hash", "verbalizer", "digest"):
        for start in range(0, len(ordered), HASHED_ROWS):
            texts = ordered.column(name).slice(start, HASHED_ROWS).to_pylist()
            digest.update(("\n" * bool(start) + "\n".join(texts)).encode())
        digest.update(b"\x1e")
    return digest.hexdigest()


def clip_version(run: Run) -> str:
    """The CLIP whose space `clip_embedding` lies in, as the metadata of IMAGE_EMBEDDINGS says."""
    metadata = IMAGE_EMBEDDINGS.dataset(run).schema.metadata or {}
    names = ("clip_model", "clip_pretrained", "clip_weights")
    return "/".join(metadata.get(name.encode(), b"").decode() for name in names)


def evidence_json(evidence: pa.Table) -> dict[str, str]:
    """Items of each user as a JSON list, in the order of EVIDENCE."""
    fields = ("evidence_id", "kind", "subreddit", "facet", "text", "weight", "inferred")
    frame = pl.from_arrow(evidence.select(["user_id", *fields]))
    assert isinstance(frame, pl.DataFrame)
    item = pl.struct(fields).struct.json_encode()
    lists = frame.group_by("user_id", maintain_order=True).agg(item.alias("items"))
    joined = pl.concat_str(pl.lit("["), pl.col("items").list.join(","), pl.lit("]"))
    return dict(lists.select("user_id", joined.alias("items")).iter_rows())
