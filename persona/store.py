"""The persona store: LanceDB rows of persona, evidence and embeddings, looked up and searched.

Three tables in one folder (or object store): `personas` holds each user once, as of the newest run;
`history` holds a row for each user and run that changed the persona; `runs` holds the runs.
"""

from __future__ import annotations

import os
import shutil
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS, BTree, IvfSq
from numpy.typing import NDArray

from persona.directory import Directory
from persona.errors import StoreBusyError
from persona.items import slug
from persona.packing import text_of
from persona.store_tables import (
    HISTORY,
    HISTORY_SCHEMA,
    PACKED,
    RUNS,
    RUNS_SCHEMA,
    TABLE,
    VECTORS,
    kept,
    pack,
    store_schema,
    unpack,
)
from persona.upserts import Upserts, literal, merge_new
from pipelines.contract import ContractError, MissingInputError
from pipelines.locks import held

OWNER_FILE = ".owner"
READ_LAG = timedelta(seconds=2)  # a reader sees another process's commits after this long
NUM_PROBES = 64  # IVF partitions that a search reads
MANY_LOOKUPS = 16  # of one version, after which the places of all users are worth reading
REFINE = 4  # candidates, times k, that are compared by their exact vectors

Vector = NDArray[np.float32] | Sequence[float]


class Hit(TypedDict):
    """One search result; `score` is higher for better, and comparable within one search only."""

    user_id: str
    summary: str
    score: float


class PersonaStore:
    """Personas at one location: a folder, or the address of an object store ("s3://...").

    Readers are free. One process writes at a time: in a folder a lock sees to that, at an object
    store the deployment must.
    """

    def __init__(self, location: Path | str) -> None:
        self.location = str(location)
        self._db = lancedb.connect(self.location, read_consistency_interval=READ_LAG)
        self._tables: dict[str, Any] = {}
        self._upserts = Upserts(self._tables)
        self._directory: Directory | None = None
        self._looked_up = (-1, 0)  # a version, and lookups in it
        self._lock = threading.Lock()

    @classmethod
    def create(cls, location: Path | str, dim: int, clip_dim: int) -> PersonaStore:
        """A new, empty store, in place of any old one."""
        store = cls(location)
        schemas = {TABLE: store_schema(dim, clip_dim), HISTORY: HISTORY_SCHEMA, RUNS: RUNS_SCHEMA}
        with store._writing():
            for name, schema in schemas.items():
                store._make(name, schema)
        return store

    @classmethod
    def open(cls, location: Path | str) -> PersonaStore:
        """The store at a location.

        Raises:
            MissingInputError: There is none.
        """
        missing = MissingInputError(f"no persona store at {location}; run index_personas first")
        # LanceDB would make the folder, and readers would take it for a store.
        if "://" not in str(location) and not Path(location).is_dir():
            raise missing
        store = cls(location)
        try:
            for name in (TABLE, HISTORY, RUNS):
                store._tables[name] = store._db.open_table(name)
        except (ValueError, FileNotFoundError) as error:
            raise missing from error
        return store

    @classmethod
    def copy(cls, source: Path, target: Path) -> PersonaStore:
        """The store in `source`, again in `target`: by hard links, for its files never change."""
        shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)
        (target / OWNER_FILE).unlink(missing_ok=True)
        return cls.open(target)

    def emptied(self, dim: int, clip_dim: int) -> PersonaStore:
        """This store without current personas, for vectors of other lengths; history stays."""
        with self._writing():
            self._make(TABLE, store_schema(dim, clip_dim))
        return self

    def _make(self, name: str, schema: pa.Schema) -> None:
        table = self._db.create_table(name, schema=kept(schema), mode="overwrite")
        self._tables[name] = table

    @property
    def schema(self) -> pa.Schema:
        """Columns of the current personas, as they are read."""
        return store_schema(*self.dims)

    @property
    def is_older(self) -> bool:
        """Whether its format is an older one, which is read but not written: texts unpacked."""
        return any(
            pa.types.is_string(table.schema.field("persona").type)
            for table in (self._table, self._tables[HISTORY])
        )

    @property
    def dims(self) -> tuple[int, int]:
        """Lengths of z_u and of p(z_u)."""
        dim, clip_dim = (self._table.schema.field(name).type.list_size for name in VECTORS)
        return dim, clip_dim

    @property
    def _table(self) -> Any:
        return self._tables[TABLE]

    def upsert(self, rows: pa.Table) -> None:
        """Insert users of one run, or replace those that an older run wrote; note what changed.

        Idempotent by (user, run): the same rows again, or rows of an older run, change nothing that
        is newer.

        Raises:
            ContractError: A user appears twice, rows are of several runs, or the store is of an
                older format.
            StoreBusyError: Another process writes.
        """
        if self.is_older:
            told = "is of an older format, which is only read; run index_personas to renew it"
            raise ContractError(f"persona store {self.location} {told}")
        if len(rows):
            with self._writing():
                self._upserts.upsert(rows)

    def retire(self, run_version: str) -> int:
        """Remove users that a run no longer has, and note that they ended; returns how many.

        Raises:
            ContractError: The run was never written.
        """
        run = next((r for r in self.runs() if r["run_version"] == run_version), None)
        if run is None:
            raise ContractError(f"retire: no run {run_version!r} in the store")
        gone = f"run_version != {literal(run_version)}"
        with self._writing():
            ids = self._table.search().where(gone).select(["user_id"]).to_arrow().column("user_id")
            ended = {"user_id": ids, **{name: [run[name]] * len(ids) for name in run}}
            empty = {name: [None] * len(ids) for name in HISTORY_SCHEMA.names if name not in ended}
            if len(ids):
                rows = pa.table({**ended, **empty}).select(HISTORY_SCHEMA.names)
                merge_new(self._tables[HISTORY], ["user_id", "run_version"], rows)
                self._table.delete(gone)
        return len(ids)

    def build_indexes(self, index_rows: int) -> None:
        """Key and full-text indexes; vector indexes where there are at least `index_rows` rows."""
        with self._writing():
            self._tables[HISTORY].create_index("user_id", config=BTree(), replace=True)
            self._table.create_index("user_id", config=BTree(), replace=True)
            self._table.create_index("text", config=FTS(with_position=True), replace=True)
            if self.count() >= index_rows:
                for name in VECTORS:
                    # A byte a dimension: product quantization, a thirtieth of that, finds .37 of
                    # the nearest ten where this finds .96, and takes seven times as long to build.
                    config = IvfSq(distance_type="cosine")
                    self._table.create_index(name, config=config, replace=True)

    def finish(self, index_rows: int) -> None:
        """Merge files, then make all indexes anew; for a store that nobody reads yet.

        The other way round, indexes would be made to follow the rows that move.
        """
        with self._writing():
            for table in self._tables.values():
                for index in table.list_indices():
                    table.drop_index(index.name)
        self.compact()
        if self.count():
            self.build_indexes(index_rows)
        self.compact()

    def compact(self, keep: timedelta = timedelta(0)) -> None:
        """Merge small files, bring indexes up to date, and drop versions older than `keep`.

        Readers of a dropped version fail: keep as long as the longest read takes, or nothing where
        nobody else has the store open. One owner at a time.

        Raises:
            StoreBusyError: Another process writes or compacts.
        """
        with self._writing(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "optimize.cleanup_older_than=0", UserWarning)
            for table in self._tables.values():
                table.optimize(cleanup_older_than=keep)

    def count(self) -> int:
        """Users in the store."""
        return int(self._table.count_rows())

    def runs(self) -> list[dict[str, Any]]:
        """run_version and made_utc (epoch seconds) of every run, oldest first."""
        rows = self._tables[RUNS].to_arrow().to_pylist()
        return sorted(rows, key=lambda run: (run["made_utc"], run["run_version"]))

    def get(self, user_id: str, columns: Sequence[str] = ()) -> dict[str, Any] | None:
        """Some columns of one user, or all; None if unknown."""
        return self.get_many([user_id], columns).get(user_id)

    def get_many(
        self, user_ids: Sequence[str], columns: Sequence[str] = ()
    ) -> dict[str, dict[str, Any]]:
        """Some columns of many users, or all, by user id; without those that are unknown.

        Many at once cost little more than one: the price is that of a read, not of its rows.
        """
        names = columns or self.schema.names
        directory = self._placed()
        if directory is None:
            return self._sought(user_ids, names)
        places = directory.places(user_ids)
        found = self._newest(places, user_ids, names)
        if len(found) < min(len(places), len(set(user_ids))):  # rows that have moved meanwhile
            found |= self._sought([id_ for id_ in user_ids if id_ not in found], names)
        return found

    def _placed(self) -> Directory | None:
        """Where users are in the newest version, once that has been asked for often."""
        version = self._table.version
        directory = self._directory
        if directory is not None and directory.version == version:
            return directory
        with self._lock:
            seen, count = self._looked_up
            count = count + 1 if seen == version else 1
            self._looked_up = (version, count)
        if (
            count != MANY_LOOKUPS + 1
        ):  # of those who ask meanwhile, one reads; others go by the index
            return None
        self._directory = Directory(self._table)
        return self._directory

    def _sought(self, user_ids: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows by the index: their places first, then what is asked for.

        In one query, every long text of rows that no index knows yet would be read to find one.
        """
        if not user_ids:
            return {}
        wanted = ", ".join(map(literal, user_ids))
        query = self._table.search().where(f"user_id IN ({wanted})").select(["_rowid"])
        places = query.limit(4 * len(user_ids)).to_arrow().column("_rowid").to_pylist()
        return self._newest(places, user_ids, names)

    def _newest(
        self, places: Sequence[int], user_ids: Sequence[str], names: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """The rows at these places, by user: of two, which a killed upsert leaves, the newer."""
        if not places:
            return {}
        columns = dict.fromkeys((*names, "user_id", "made_utc"))
        taken = self._table.take_row_ids(list(places)).select(list(columns)).to_arrow()
        rows = sorted(taken.to_pylist(), key=lambda row: row["made_utc"])
        wanted = set(user_ids)
        return {
            row["user_id"]: {name: _told(name, row[name]) for name in names}
            for row in rows
            if row["user_id"] in wanted
        }

    def history(self, user_id: str) -> list[dict[str, Any]]:
        """One user's rows of HISTORY, oldest first; a row without persona says the user ended."""
        query = self._tables[HISTORY].search().where(f"user_id = {literal(user_id)}")
        rows = unpack(query.limit(max(1, len(self.runs()))).to_arrow()).to_pylist()
        return sorted(rows, key=lambda row: (row["made_utc"], row["run_version"]))

    def get_at(self, user_id: str, as_of: str | int) -> dict[str, Any] | None:
        """One user's row of HISTORY as it was at a run, or at a time in epoch seconds.

        Returns:
            None where the user was unknown then.

        Raises:
            ValueError: There is no such run.
        """
        when = as_of
        if isinstance(as_of, str):
            known = {run["run_version"]: run["made_utc"] for run in self.runs()}
            if as_of not in known:
                raise ValueError(f"run {as_of!r}: expected one of {', '.join(known) or 'none'}")
            when = known[as_of]
        then = [row for row in self.history(user_id) if row["made_utc"] <= when]
        return then[-1] if then and then[-1]["persona"] is not None else None

    def search_text(self, query: str, k: int, where: Mapping[str, str] | None = None) -> list[Hit]:
        """Users whose persona fits the words, best BM25 score first; see `filters` for `where`."""
        if not query.strip():
            return []
        found = self._table.search(query, query_type="fts", fts_columns="text")
        return self._hits(found, "_score", k, where)

    def search_vector(
        self,
        vector: Vector,
        k: int,
        column: str = "clip_embedding",
        where: Mapping[str, str] | None = None,
    ) -> list[Hit]:
        """Users nearest a vector, by cosine: of CLIP's space, or of z_u (`column="embedding"`).

        Raises:
            ValueError: The vector has another length than the column's, or a number in it is none.
        """
        if column not in VECTORS:
            raise ValueError(f"column={column!r}: expected one of {VECTORS}")
        length = self._table.schema.field(column).type.list_size
        query = np.asarray(vector, np.float64)
        if query.shape != (length,):
            raise ValueError(f"vector of shape {query.shape}: {column} holds {length} dimensions")
        longest = np.abs(query).max()
        if not np.isfinite(longest) or not longest:
            raise ValueError("vector: expected finite numbers that are not all zero")
        query = query / longest  # so that no square of it is lost in single precision, or infinite
        unit = (query / np.linalg.norm(query)).astype(np.float32)
        found = self._table.search(unit, vector_column_name=column).distance_type("cosine")
        return self._hits(found.nprobes(NUM_PROBES).refine_factor(REFINE), "_distance", k, where)

    def search_both(
        self, query: str, vector: Vector, k: int, where: Mapping[str, str] | None = None
    ) -> list[Hit]:
        """Text and vector search in one, by reciprocal rank.

        Source: Cormack et al. 2009, "Reciprocal rank fusion", constant 60.
        """
        scores: dict[str, float] = {}
        summaries: dict[str, str] = {}
        found = (
            self.search_text(query, 4 * k, where),
            self.search_vector(vector, 4 * k, where=where),
        )
        for hits in found:
            for rank, hit in enumerate(hits, start=1):
                user_id = hit["user_id"]
                scores[user_id] = scores.get(user_id, 0.0) + 1 / (60 + rank)
                summaries[user_id] = hit["summary"]
        best = sorted(scores, key=lambda user_id: (-scores[user_id], user_id))[:k]
        return [Hit(user_id=id_, summary=summaries[id_], score=scores[id_]) for id_ in best]

    def batches(self, batch_rows: int = 8192, keep: str | None = None) -> Iterator[pa.RecordBatch]:
        """All rows of the newest run, in batches; those for which the condition `keep` holds."""
        query = self._table.search()
        query = query.where(keep) if keep else query
        for batch in query.to_batches(batch_size=batch_rows):
            yield from unpack(pa.Table.from_batches([batch])).combine_chunks().to_batches()

    def without(self, user_ids: Sequence[str], target: Path, index_rows: int) -> PersonaStore:
        """A copy of this store, in the folder `target`, in which these users never were.

        A deletion in place would leave their rows in old pages, and their ids in the record of the
        deletion itself, so every row that stays is written anew.
        """
        copy = self.renewed(target, user_ids)
        copy.finish(index_rows)
        return copy

    def renewed(self, target: Path, without: Sequence[str] = ()) -> PersonaStore:
        """Every row again, in the folder `target` and in the newest format; no indexes."""
        stays = f"user_id NOT IN ({', '.join(map(literal, without))})" if without else ""
        copy = PersonaStore.create(target, *self.dims)
        for name, table in self._tables.items():
            query = table.search() if name == RUNS or not stays else table.search().where(stays)
            for batch in query.to_batches(batch_size=1 << 16):
                rows = pack(pa.Table.from_batches([batch]))
                copy._tables[name].add(rows.cast(copy._tables[name].schema))
        return copy

    def _hits(self, query: Any, score: str, k: int, where: Mapping[str, str] | None) -> list[Hit]:
        """The best `k` rows, best first; equal scores by user id, so that order is never chance."""
        condition = filters(where or {})
        if condition:
            query = query.where(condition, prefilter=True)
        rows = query.select(["user_id", "summary", score]).limit(k).to_list()
        hits = [
            Hit(
                user_id=row["user_id"],
                summary=row["summary"],
                score=1.0 - row[score] if score == "_distance" else row[score],
            )
            for row in rows
        ]
        return sorted(hits, key=lambda hit: (-hit["score"], hit["user_id"]))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Whoever holds this writes; it is let go when the process ends, however it ends."""
        if "://" in self.location:
            yield
            return
        Path(self.location).mkdir(parents=True, exist_ok=True)
        busy = StoreBusyError(
            f"persona store {self.location}: another process writes it; try again later"
        )
        with held(Path(self.location) / OWNER_FILE, busy):
            yield


def filters(where: Mapping[str, str]) -> str:
    """A condition on rows: facets and `verbalizer` by value, e.g. {"palette": "golden hour"}.

    Raises:
        ValueError: A facet has no letter or digit in it.
    """
    conditions = []
    for name, value in where.items():
        if name == "verbalizer":
            conditions.append(f"verbalizer = {literal(value)}")
        elif slug(name):
            conditions.append(f"array_has(facets, {literal(f'{slug(name)}={slug(value)}')})")
        else:
            raise ValueError(f"filter {name!r}: expected `verbalizer` or the name of a facet")
    return " AND ".join(conditions)


def _told(name: str, cell: Any) -> Any:
    return text_of(cell) if name in PACKED and cell is not None else cell


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
