"""The persona store: LanceDB rows of persona, evidence and embeddings, looked up and searched.

Step index_personas: PERSONAS, EVIDENCE, USER_EMBEDDINGS -> PERSONA_STORE.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypedDict

import lancedb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import FTS, BTree, IvfPq
from numpy.typing import NDArray

from embed.tables import IMAGE_EMBEDDINGS
from graph.tables import USER_EMBEDDINGS
from persona.config import PersonaResources, StoreConfig
from persona.quality import read_personas, stated_tags
from persona.shards import Shard, UserTable, plan_shards
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS
from pipelines.contract import ContractError, Counts, MissingInputError, Run

TABLE = "personas"
VECTORS = ("embedding", "clip_embedding")
MIN_BATCH_ROWS = 10_000  # an upsert of 1,000 rows costs nearly as much as one of 10,000

Vector = NDArray[np.float32] | Sequence[float]


def store_schema(dim: int, clip_dim: int) -> pa.Schema:
    """Columns of the store, for vectors of these lengths."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("summary", pa.string()),
            pa.field("text", pa.string()),  # summary and all claims: what full-text search reads
            pa.field("facets", pa.list_(pa.string())),  # "palette=neon"
            pa.field("interests", pa.list_(pa.string())),
            pa.field("persona", pa.string()),  # JSON of persona.schema.Persona
            pa.field("evidence", pa.string()),  # JSON list of items
            pa.field("confidence", pa.float32()),
            pa.field("embedding", pa.list_(pa.float32(), dim)),  # z_u
            pa.field("clip_embedding", pa.list_(pa.float32(), clip_dim)),  # p(z_u)
            pa.field("evidence_hash", pa.string()),
            pa.field("verbalizer", pa.string()),
            pa.field("clip_version", pa.string()),
            pa.field("run_version", pa.string()),
        ]
    )


class Hit(TypedDict):
    """One search result; `score` is higher for better, and comparable within one search only."""

    user_id: str
    summary: str
    score: float


class PersonaStore:
    """Personas in one LanceDB folder.

    One process writes at a time; readers are free.
    """

    def __init__(self, table: lancedb.table.Table) -> None:
        self._table = table

    @classmethod
    def create(cls, path: Path, dim: int, clip_dim: int) -> PersonaStore:
        """A new, empty store, in place of any old one."""
        schema = store_schema(dim, clip_dim)
        return cls(lancedb.connect(str(path)).create_table(TABLE, schema=schema, mode="overwrite"))

    @classmethod
    def open(cls, path: Path) -> PersonaStore:
        """The store in a folder.

        Raises:
            MissingInputError: There is none.
        """
        if not (path / f"{TABLE}.lance").is_dir():
            raise MissingInputError(f"no persona store at {path}; run index_personas first")
        return cls(lancedb.connect(str(path)).open_table(TABLE))

    def upsert(self, rows: pa.Table) -> None:
        """Insert users, or replace those that are there.

        Raises:
            ContractError: A user appears twice (LanceDB would store both).
        """
        ids = rows.column("user_id")
        if pc.count_distinct(ids).as_py() != len(ids):
            raise ContractError("upsert: a user_id appears twice in one batch")
        merge = self._table.merge_insert("user_id")
        merge.when_matched_update_all().when_not_matched_insert_all().execute(
            rows.cast(self._table.schema)
        )

    def build_indexes(self, index_rows: int) -> None:
        """Key and full-text indexes; vector indexes where there are at least `index_rows` rows."""
        self._table.create_index("user_id", config=BTree(), replace=True)
        self._table.create_index("text", config=FTS(with_position=True), replace=True)
        if self.count() >= index_rows:
            for name in VECTORS:
                self._table.create_index(name, config=IvfPq(distance_type="cosine"), replace=True)

    def compact(self) -> None:
        """Merge small files, bring indexes up to date, and drop all older versions.

        Readers of an older version fail afterwards: for stores that nobody else has open.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "optimize.cleanup_older_than=0", UserWarning)
            self._table.optimize(cleanup_older_than=timedelta(0))

    def count(self) -> int:
        """Users in the store."""
        return int(self._table.count_rows())

    def get(self, user_id: str) -> dict[str, Any] | None:
        """All columns of one user; None if unknown."""
        rows = self._table.search().where(f"user_id = {_literal(user_id)}").limit(1).to_list()
        return dict(rows[0]) if rows else None

    def search_text(self, query: str, k: int) -> list[Hit]:
        """Users whose persona fits the words, best BM25 score first."""
        if not query.strip():
            return []
        found = self._table.search(query, query_type="fts", fts_columns="text")
        rows = found.select(["user_id", "summary", "_score"]).limit(k).to_list()
        return _ranked([(row, row["_score"]) for row in rows])

    def search_vector(self, vector: Vector, k: int, column: str = "clip_embedding") -> list[Hit]:
        """Users nearest a vector, by cosine: of CLIP's space, or of z_u (`column="embedding"`).

        Raises:
            ValueError: The vector has another length than the column's.
        """
        if column not in VECTORS:
            raise ValueError(f"column={column!r}: expected one of {VECTORS}")
        length = self._table.schema.field(column).type.list_size
        query = np.asarray(vector, np.float32)
        if query.shape != (length,):
            raise ValueError(f"vector of shape {query.shape}: {column} holds {length} dimensions")
        found = self._table.search(query, vector_column_name=column).distance_type("cosine")
        rows = found.select(["user_id", "summary", "_distance"]).limit(k).to_list()
        return _ranked([(row, 1.0 - row["_distance"]) for row in rows])

    def search_both(self, query: str, vector: Vector, k: int) -> list[Hit]:
        """Text and vector search in one, by reciprocal rank.

        Source: Cormack et al. 2009, "Reciprocal rank fusion", constant 60.
        """
        scores: dict[str, float] = {}
        summaries: dict[str, str] = {}
        for hits in (self.search_text(query, 4 * k), self.search_vector(vector, 4 * k)):
            for rank, hit in enumerate(hits, start=1):
                user_id = hit["user_id"]
                scores[user_id] = scores.get(user_id, 0.0) + 1 / (60 + rank)
                summaries[user_id] = hit["summary"]
        best = sorted(scores, key=lambda user_id: (-scores[user_id], user_id))[:k]
        return [Hit(user_id=id_, summary=summaries[id_], score=scores[id_]) for id_ in best]


def index_personas(config: StoreConfig, resources: PersonaResources, run: Run) -> Counts:
    """Step: PERSONAS, EVIDENCE, USER_EMBEDDINGS -> PERSONA_STORE, made anew as a whole."""
    keys = PERSONAS.read(run, columns=["user_id", "evidence_hash", "verbalizer"])
    schema = USER_EMBEDDINGS.dataset(run).schema
    dims = [schema.field(name).type.list_size for name in VECTORS]
    store = PersonaStore.create(run.staged(PERSONA_STORE), *dims)
    shards = plan_shards(keys.column("user_id"), max(MIN_BATCH_ROWS, resources.shard_users))
    tables = _Inputs(run)
    if len(shards) > 1:
        tables.spill(shards, run.staged(PERSONA_STORE).parent / "_spill")
    versions = {"run_version": run_version(keys), "clip_version": clip_version(run)}
    for shard in shards:
        store.upsert(store_rows(*tables.read(shard), versions))
        run.progress(shard.index + 1, len(shards), "shards")
    shutil.rmtree(run.staged(PERSONA_STORE).parent / "_spill", ignore_errors=True)
    if shards:
        store.build_indexes(config.index_rows)
    store.compact()
    return Counts(
        rows_in=len(keys), rows_out=store.count(), metrics={"shards": float(len(shards))}
    ).assert_balanced()


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
    personas: pa.Table, evidence: pa.Table, embeddings: pa.Table, versions: dict[str, str]
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
    parsed = [persona for _, persona in read_personas(personas)]
    columns = {
        "user_id": user_ids,
        "summary": personas.column("summary"),
        "text": ["\n".join(persona.texts()) for persona in parsed],
        "facets": [[f"{facet}={tag}" for facet, tag in stated_tags(p)] for p in parsed],
        "interests": [[claim.text for claim in persona.interests] for persona in parsed],
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


def run_version(keys: pa.Table) -> str:
    """Content address of a set of personas: the same evidence and verbalizers, the same version."""
    ordered = keys.sort_by("user_id")
    digest = blake2b(digest_size=8)
    for name in ("user_id", "evidence_hash", "verbalizer"):
        digest.update("\n".join(ordered.column(name).to_pylist()).encode() + b"\x1e")
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


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _ranked(rows: list[tuple[dict[str, str], float]]) -> list[Hit]:
    """Best first; equal scores by user id, so that order is never by chance."""
    hits = [Hit(user_id=r["user_id"], summary=r["summary"], score=float(s)) for r, s in rows]
    return sorted(hits, key=lambda hit: (-hit["score"], hit["user_id"]))
