"""Rows of a run into the tables of a persona store: who is new, what changed, what is replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from persona.id_filter import IdFilter
from persona.store_tables import (
    HISTORY,
    HISTORY_SCHEMA,
    RUNS,
    RUNS_SCHEMA,
    TABLE,
    pack,
    unpack,
)
from pipelines.contract import ContractError

_COMPARED = ("user_id", "evidence_hash", "verbalizer", "run_version", "made_utc")


class Upserts:
    """Writes users of one run after the other; remembers whom the table held when it last did.

    Args:
        tables: LanceDB tables by name: TABLE, HISTORY and RUNS.
    """

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables
        self._ids, self._version = IdFilter(0), -1  # of the users in that version of TABLE
        self._begun: set[str] = set()  # runs that nobody but this object has written

    def upsert(self, rows: pa.Table) -> None:
        """Insert or replace users of one run, and note in the history what changed.

        Idempotent by (user, run); rows of an older run change nothing that is newer.

        Raises:
            ContractError: A user appears twice (LanceDB would store both), or rows are of several
                runs.
        """
        ids = rows.column("user_id")
        if pc.count_distinct(ids).as_py() != len(ids):
            raise ContractError("upsert: a user_id appears twice in one batch")
        runs = rows.select(RUNS_SCHEMA.names).group_by(RUNS_SCHEMA.names).aggregate([])
        if len(runs) != 1:
            raise ContractError(f"upsert: rows of {len(runs)} runs in one batch; send them apart")
        run, made_utc = (runs.column(name)[0].as_py() for name in RUNS_SCHEMA.names)
        stored = self._stored(ids)
        is_begun = self._begin(run, runs)
        differs = _differs(rows, stored, partial(self._texts, stored))
        rows = pack(rows)  # once, for the history and for what is current
        changed = _kept(rows.select(HISTORY_SCHEMA.names), differs)
        self._note(changed, stored, made_utc if is_begun else None)
        newer = stored.filter(pc.greater(stored.column("made_utc"), made_utc))
        rest = _kept(rows, pc.invert(_among(ids, newer)))
        self._replace(rest.cast(self._tables[TABLE].schema), stored, run)
        self._ids.add(ids)
        self._version = self._tables[TABLE].version
        if is_begun:
            self._begun.add(run)

    def _stored(self, ids: pa.ChunkedArray) -> pa.Table:
        """`_COMPARED` of those of the users that the table holds."""
        table = self._tables[TABLE]
        table.checkout_latest()  # another process may have written since
        if self._version != table.version:
            self._begun.clear()
        if self._version != table.version or self._ids.is_full:
            self._ids = IdFilter(2 * (table.count_rows() + len(ids)))
            for batch in table.search().select(["user_id"]).to_batches():
                self._ids.add(batch.column("user_id"))
        known = ids.filter(pa.array(self._ids.may_hold(ids)))
        return select_users(table, known, _COMPARED)

    def _texts(self, stored: pa.Table, places: pa.Array) -> pa.Table:
        """user_id and persona of some of the stored rows, in no order."""
        row_ids = _flat(stored, "_rowid").take(places).to_pylist()
        table, names = self._tables[TABLE], ["user_id", "persona"]
        if not row_ids:
            return pa.schema([HISTORY_SCHEMA.field(name) for name in names]).empty_table()
        return unpack(table.take_row_ids(row_ids).select(names).to_arrow())

    def _begin(self, run: str, row: pa.Table) -> bool:
        """Note a run; whether all its rows so far are of this object, and whole.

        A run is begun again only when its upsert went through: one that failed is looked after by
        merges.
        """
        if run in self._begun:
            self._begun.remove(run)
            return True
        known = self._tables[RUNS].to_arrow().column("run_version")
        if pc.is_in(pa.scalar(run), value_set=known.combine_chunks()).as_py():
            return False
        self._tables[RUNS].add(row.cast(RUNS_SCHEMA))
        return True

    def _note(self, changed: pa.Table, stored: pa.Table, begun_utc: int | None) -> None:
        """Add to the history: at once what cannot be in it, by a merge, much slower, the rest.

        Of a run that nobody else wrote, that is all but users who have a row as new as the run's.
        """
        history = self._tables[HISTORY]
        is_new = pa.array([False] * len(changed), pa.bool_())
        if begun_utc is not None:
            as_new = stored.filter(pc.greater_equal(stored.column("made_utc"), begun_utc))
            is_new = pc.invert(_among(changed.column("user_id"), as_new))
        added, merged = _kept(changed, is_new), _kept(changed, pc.invert(is_new))
        if len(added):
            history.add(added.cast(history.schema))
        merge_new(history, ["user_id", "run_version"], merged)

    def _replace(self, rows: pa.Table, stored: pa.Table, run: str) -> None:
        """Put rows of one run in place of what is stored of their users.

        New rows are added before older ones are deleted, which is four times as fast as a merge: a
        kill in between leaves both, of which readers take the newer, and the next try ends it.
        """
        table = self._tables[TABLE]
        is_same = pc.equal(stored.column("run_version"), run)
        again = _among(rows.column("user_id"), stored.filter(is_same))
        repeated, added = _kept(rows, again), _kept(rows, pc.invert(again))
        if len(repeated):
            merge = table.merge_insert("user_id").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(repeated)
        if len(added):
            table.add(added)
        older = stored.filter(pc.invert(is_same))
        replaced = older.filter(_among(older.column("user_id"), rows))
        if len(replaced):
            # By their place, which only compaction changes: twice as fast as by user.
            places = ", ".join(map(str, replaced.column("_rowid").to_pylist()))
            table.delete(f"run_version != {literal(run)} AND _rowid IN ({places})")


def select_users(table: Any, ids: pa.ChunkedArray, columns: tuple[str, ...]) -> pa.Table:
    """Some columns and `_rowid` of the users that a table holds among these, in no order."""
    wanted = ", ".join(map(literal, ids.to_pylist()))
    query = table.search().where(f"user_id IN ({wanted})" if wanted else "false")
    return query.select(list(columns)).with_row_id(True).limit(1 + 4 * len(ids)).to_arrow()


def merge_new(table: Any, keys: list[str], rows: pa.Table) -> None:
    """Insert the rows whose keys are not there yet."""
    if len(rows):
        merge = table.merge_insert(keys).when_not_matched_insert_all()
        merge.execute(rows.cast(table.schema))


def literal(text: str) -> str:
    """A text in a condition."""
    return "'" + text.replace("'", "''") + "'"


def _kept(rows: pa.Table, is_kept: pa.Array) -> pa.Table:
    """The rows that are kept; without a copy where all are, which is the usual case."""
    return rows if pc.all(is_kept).as_py() is not False else rows.filter(is_kept)


def _differs(rows: pa.Table, stored: pa.Table, texts: Callable[[pa.Array], pa.Table]) -> pa.Array:
    """Which rows are of users that are new, or whose persona or its evidence is another.

    A row of a run older than what is stored differs in any case.

    Args:
        rows: To be written.
        stored: `_COMPARED` of their users.
        texts: Gives user_id and persona of some rows of `stored`; long, so of few: evidence that
            has changed says enough.
    """
    ids = rows.column("user_id")
    if not len(stored):
        return pa.array([True] * len(rows), pa.bool_())
    place = pc.index_in(ids, value_set=_flat(stored, "user_id"))
    same = pc.less_equal(_flat(stored, "made_utc").take(place), rows.column("made_utc"))
    for name in ("evidence_hash", "verbalizer"):
        same = pc.and_(same, _equal(rows, stored, name, place))
    same = pc.fill_null(same, False)
    before = texts(place.filter(same).unique())
    place = pc.index_in(ids, value_set=_flat(before, "user_id"))
    return pc.invert(pc.fill_null(pc.and_(same, _equal(rows, before, "persona", place)), False))


def _equal(rows: pa.Table, stored: pa.Table, name: str, place: pa.Array) -> pa.Array:
    before = pc.fill_null(_flat(stored, name).take(place), "")
    return pc.equal(before, pc.fill_null(_flat(rows, name), ""))


def _among(ids: pa.ChunkedArray, stored: pa.Table) -> pa.Array:
    return pc.is_in(ids, value_set=_flat(stored, "user_id"))


def _flat(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
