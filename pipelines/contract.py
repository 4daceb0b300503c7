"""What all stages share: tables, artifacts, runs, counts. Knows pyarrow and nothing else.

A step is a plain function `step(config, resources, run) -> Counts`. It reads published tables
(`TABLE.path(run)`), and writes to a staging folder (`run.staged(TABLE)`); the runner publishes what
was staged by renaming it and writes the step's manifest last. So a table that has a manifest is
whole, and a killed step leaves nothing that a reader could mistake for a result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

# "s3://bucket" as a path, which has made one slash of two.
_ADDRESS = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]+:/")


class ContractError(ValueError):
    """A table does not have the columns, types or rows that its contract promises."""


class ConfigError(ValueError):
    """A configuration value is wrong; the message says name, value, expectation and remedy."""


class WorkerLostError(RuntimeError):
    """A process that did part of a step was killed; what it had finished is kept."""


class MissingInputError(FileNotFoundError):
    """An input that a step needs is not there; the message says which, where, and who writes it."""


def column(name: str, type_: pa.DataType, doc: str, *, nullable: bool = False) -> pa.Field:
    """A documented field; not nullable unless absence has a meaning."""
    return pa.field(name, type_, nullable=nullable, metadata={"doc": doc})


def vector(value_type: pa.DataType) -> pa.DataType:
    """Type of a vector column: stored as a fixed-size list whose length is the model's.

    The length is the only thing that a contract leaves open: it is known when the model is.
    """
    return pa.list_(value_type)


@dataclass(frozen=True, kw_only=True)
class FileProgress:
    """How far a worker has read a file. Times are of the worker's clock, rates since it began.

    Args:
        label: Tells the file from others of its step and month.
        done_bytes: Read so far, compressed if the file is.
        total_bytes: Size of the file.
        num_lines: Lines read so far.
        started_utc: When the worker began.
        noted_utc: When it had come so far.
        is_finished: Nothing of it is left to do.
    """

    label: str
    done_bytes: int
    total_bytes: int
    num_lines: int
    started_utc: float
    noted_utc: float
    is_finished: bool = False

    @property
    def bytes_per_s(self) -> float:
        """Bytes of the file a second; 0 while no time has passed."""
        return self._rate(self.done_bytes)

    @property
    def lines_per_s(self) -> float:
        """Lines a second; 0 while no time has passed."""
        return self._rate(self.num_lines)

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is finished at this rate; None while there is no rate."""
        if self.is_finished:
            return 0.0
        rest_bytes = max(0, self.total_bytes - self.done_bytes)
        return rest_bytes / self.bytes_per_s if self.bytes_per_s else None

    def _rate(self, amount: int) -> float:
        elapsed_s = self.noted_utc - self.started_utc
        return amount / elapsed_s if elapsed_s > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a step works.

    Args:
        root: Folder that holds all tables, artifacts, manifests and reports of this run; on a file
            system, as tables are published by renaming them.
        month: Partition being made ("2019-10" or "undated"), None for steps over all months.
        rules: Content address of the code, contracts and settings of the running step and of all
            before it, without any data; set by the runner.
        staging: Folder where the running step writes; set by the runner. It outlives a killed
            step of the same fingerprint, so a resumable step finds its finished shards there.
        on_progress: Called with (done, total or None, unit). Stays on the driver: pass paths, not
            runs, to workers.
        on_file: Called with how far each file is, by steps that read large ones; on the driver.
        on_note: Called with a sentence that whoever waits should know; on the driver.

    Raises:
        ConfigError: The root is an address of a store.
    """

    root: Path
    month: str | None = None
    rules: str = ""
    staging: Path | None = None
    on_progress: Callable[[float, float | None, str], None] | None = field(
        default=None, compare=False, repr=False
    )
    on_file: Callable[[FileProgress], None] | None = field(default=None, compare=False, repr=False)
    on_note: Callable[[str], None] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if _ADDRESS.match(str(self.root)):
            raise ConfigError(
                f"root {str(self.root)!r} is an address of a store, in which tables cannot be "
                "published by renaming: expected a folder that all workers see, mounted if need "
                "be; dumps may lie in a store"
            )

    def manifest(self, step: str, month: str = "all") -> Path:
        """The record of a finished step: what it was told, and what came of it, in JSON."""
        return self.root / "manifests" / step / f"{month}.json"

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Report that `done` of `total` units are finished (rows, bytes, images, users)."""
        if self.on_progress is not None:
            self.on_progress(done, total, unit)

    def file_progress(self, file: FileProgress) -> None:
        """Report how far a file is, in addition to the progress of the step."""
        if self.on_file is not None:
            self.on_file(file)

    def note(self, text: str) -> None:
        """Say what whoever waits for the step should know, such as why it does not go on."""
        if self.on_note is not None:
            self.on_note(text)

    def staged(self, output: Table | Artifact) -> Path:
        """Folder in which the running step writes `output`; made if absent.

        Raises:
            ValueError: The run has no staging folder (a step was called outside a runner).
        """
        if self.staging is None:
            raise ValueError(f"run at {self.root} has no staging folder; set Run(staging=...)")
        path = self.staging / output.name
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A folder that a step publishes and that is not a table (graph store, checkpoint, index).

    Args:
        versions: Publications that stay readable. With more than one, `path` is a link to the one
            that readers see, and what it leads to is replaced at once.
    """

    name: str
    doc: str
    monthly: bool = False
    versions: int = 1

    def path(self, run: Run) -> Path:
        """Published folder, or the link to it."""
        return run.root / "artifacts" / self.name

    def folders(self, run: Run) -> list[Path]:
        """All publications that are readable, oldest first."""
        path = self.path(run)
        if path.is_dir() and not path.is_symlink():
            return [path]
        kept = path.with_name(f"{self.name}.versions")
        return sorted(p for p in kept.glob("*") if p.is_dir() and not p.suffix)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A named Parquet table with exactly one schema.

    Args:
        name: Folder name under `tables/`.
        schema: Columns in order; `vector()` columns are fixed-size lists of any one length.
        key: Columns that identify a row.
        doc: What a row is.
        monthly: Partitioned by `month=...` folders, one for each dump month.
    """

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    doc: str
    monthly: bool = False

    def path(self, run: Run) -> Path:
        """Published folder: the run's month where both have months, else the whole table."""
        base = run.root / "tables" / self.name
        return base / f"month={run.month}" if self.monthly and run.month else base

    def files(self, run: Run) -> list[Path]:
        """Published Parquet files, sorted, all months (or the run's month)."""
        return sorted(self.path(run).rglob("*.parquet"))

    def dataset(self, run: Run) -> ds.Dataset:
        """The published table, lazily.

        Raises:
            MissingInputError: The table was not published under this root.
        """
        files = self.files(run)
        if not files:
            raise MissingInputError(
                f"table {self.name!r} not found at {self.path(run)}; run the step that writes it"
            )
        return ds.dataset([str(f) for f in files], format="parquet")

    def read(self, run: Run, columns: list[str] | None = None) -> pa.Table:
        """The published table in memory, in file order."""
        return self.dataset(run).to_table(columns=columns)

    def check(self, batch: pa.Table | pa.RecordBatch) -> pa.Table:
        """Exactly this table's columns, in order, with its types.

        Types are compared, never cast: Arrow would turn "12" into 12 silently.

        Raises:
            ContractError: Names every wrong, missing, additional or unexpectedly null column.
        """
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        wrong = [f"unexpected column {n!r}" for n in table.column_names if n not in self._names]
        wrong += [problem for f in self.schema for problem in _problems(f, table)]
        if wrong:
            raise ContractError(f"table {self.name!r}: " + "; ".join(wrong))
        table = table.select(self.schema.names)
        return pa.Table.from_arrays(table.columns, schema=self.schema_like(table))

    def schema_like(self, table: pa.Table) -> pa.Schema:
        """This schema with the vector lengths that `table` has."""
        return pa.schema([f.with_type(table.schema.field(f.name).type) for f in self.schema])

    def write(
        self,
        folder: Path,
        batch: pa.Table,
        part: str = "part-0",
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        """Check `batch` and write it to `folder/part.parquet` (zstd), whole or not at all."""
        checked = self.check(batch)
        if metadata:
            checked = checked.replace_schema_metadata(dict(metadata))
        target = folder / f"{part}.parquet"
        temporary = target.with_suffix(".parquet.tmp")
        pq.write_table(checked, temporary, **_encodings(checked.schema))
        temporary.rename(target)
        return target

    @contextmanager
    def writer(
        self, folder: Path, part: str, sorted_by: tuple[str, ...] = ()
    ) -> Iterator[Callable[[pa.Table], None]]:
        """A function that checks a batch and appends it to `folder/part.parquet` as a row group.

        `sorted_by` names the columns, ascending, by which the batches follow each other: readers
        find rows by the statistics of row groups then. The file is there when the context has
        closed without an error, or not at all; also not if nothing was appended.
        """
        target = folder / f"{part}.parquet"
        temporary = target.with_suffix(".parquet.tmp")
        files: list[pq.ParquetWriter] = []

        def append(batch: pa.Table) -> None:
            checked = self.check(batch)
            if not files:
                order = [(name, "ascending") for name in sorted_by]
                columns = pq.SortingColumn.from_ordering(checked.schema, order)
                files.append(
                    pq.ParquetWriter(
                        temporary,
                        checked.schema,
                        sorting_columns=columns or None,
                        **_encodings(checked.schema),
                    )
                )
            files[0].write_table(checked, row_group_size=max(1, checked.num_rows))

        try:
            yield append
        finally:
            for file in files:
                file.close()
        if files:
            temporary.rename(target)

    def empty(self, dim: int = 1) -> pa.Table:
        """No rows; vectors of length `dim`."""
        fields = [
            f.with_type(pa.list_(f.type.value_type, dim)) if pa.types.is_list(f.type) else f
            for f in self.schema
        ]
        return pa.schema(fields).empty_table()

    @property
    def _names(self) -> frozenset[str]:
        return frozenset(self.schema.names)


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet holds columns: integers as differences, strings by dictionary, the rest plain.

    Arrow's default, a dictionary for all, costs a third more time and 5% more room.
    """
    wide = (f.name for f in schema if pa.types.is_integer(f.type) and f.type.bit_width >= 32)
    return {
        "compression": "zstd",
        "use_dictionary": [f.name for f in schema if pa.types.is_string(f.type)],
        "column_encoding": dict.fromkeys(wide, "DELTA_BINARY_PACKED"),
    }


def _problems(expected: pa.Field, table: pa.Table) -> Iterable[str]:
    if expected.name not in table.column_names:
        yield f"missing column {expected.name!r}"
        return
    actual = table.schema.field(expected.name).type
    if not _same_type(expected.type, actual):
        yield f"column {expected.name!r} is {actual}, expected {expected.type}"
    elif not expected.nullable and table.column(expected.name).null_count:
        yield f"column {expected.name!r} has {table.column(expected.name).null_count} nulls"


def _same_type(expected: pa.DataType, actual: pa.DataType) -> bool:
    if pa.types.is_list(expected) and pa.types.is_floating(expected.value_type):
        is_vector = pa.types.is_fixed_size_list(actual)
        return is_vector and actual.value_type.equals(expected.value_type)
    # Writers rename the child of a list ("item", "element"): compare what it holds, not its name.
    if pa.types.is_list(expected) and pa.types.is_list(actual):
        return _same_type(expected.value_type, actual.value_type)
    return bool(expected.equals(actual))


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a step did with its rows. `rejected` and `dropped` are by reason.

    `rows_out` counts the rows that stand for rows in; tables that a step derives beside them
    (media of submissions, say) are counted in `written`, by table. `notes` say what
    of an input is missing, by its name: whoever uses the tables has to know.
    """

    rows_in: int = 0
    rows_out: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows_rejected(self) -> int:
        """Rows that could not be read, over all reasons."""
        return sum(self.rejected.values())

    @property
    def rows_dropped(self) -> int:
        """Rows that a named rule left out, over all rules."""
        return sum(self.dropped.values())

    def assert_balanced(self) -> Counts:
        """This, if rows in = rows out + rejected + dropped.

        Raises:
            ContractError: A row is unaccounted for.
        """
        accounted = self.rows_out + self.rows_rejected + self.rows_dropped
        if self.rows_in != accounted:
            raise ContractError(
                f"{self.rows_in} rows in, {accounted} accounted for "
                f"({self.rows_out} out, {self.rows_rejected} rejected, {self.rows_dropped} dropped)"
            )
        return self
