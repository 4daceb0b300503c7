"""Readers of a month to compare: each takes a file, writes Parquet, and says what it did.

Each runs in a process of its own, `python -m orchestration.bench.readers NAME ...`, and
prints one line of JSON. The peers read flat columns only; what galleries, previews and crossposts
show, the rules, the pseudonyms and the clean texts are what ours does besides.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer
import zstandard

from pipelines.config import BeamResources, IngestConfig
from pipelines.contract import Run
from pipelines.dumps import Kind, dump_at

CHUNK_BYTES = 16 << 20
BATCH_ROWS = 100_000
MAX_WINDOW = 1 << 31
_COMMON = {
    "id": "VARCHAR", "created_utc": "BIGINT", "retrieved_on": "BIGINT", "edited": "VARCHAR",
    "author": "VARCHAR", "subreddit": "VARCHAR", "score": "BIGINT",
}  # fmt: skip
# Columns and their types in DuckDB. Scripts take the same.
COLUMNS: dict[Kind, dict[str, str]] = {
    "RC": _COMMON | {"body": "VARCHAR", "link_id": "VARCHAR"},
    "RS": _COMMON | {
        "title": "VARCHAR", "selftext": "VARCHAR", "url": "VARCHAR", "num_comments": "BIGINT",
        "over_18": "BOOLEAN", "removed_by_category": "VARCHAR", "crosspost_parent": "VARCHAR",
    },
}  # fmt: skip
_ARROW = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "BOOLEAN": pa.bool_()}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a reader is asked to do.

    Args:
        path: The month, one zstd frame.
        kind: RS or RC.
        out: Folder for the Parquet.
        workers: Processes or threads that it may use.
        limit_s: Scripts stop after so long; the others read the whole file.
        over_18: Whether ours writes submissions that are over 18; the peers write all.
    """

    path: Path
    kind: Kind
    out: Path
    workers: int
    limit_s: float
    over_18: Literal["drop", "keep"] = "drop"


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a reader did.

    Args:
        seconds: From its first byte to the end of its last file, without starting Python.
        num_lines: Lines read; 0 if it does not say: then it read them all.
        rows_out: Rows written.
    """

    seconds: float
    num_lines: int = 0
    rows_out: int = 0


def ours(job: Job) -> Read:
    """The whole step `ingest`: parse, rules, pseudonyms, texts, media, sorted Parquet.

    One process: a single dump needs no more. The kernels are loaded before, as imports are.
    """
    from pipelines.containers import read_batches
    from pipelines.ingest import ingest
    from pipelines.native.parser import LineParser
    from pipelines.pseudonym import Pseudonyms

    key = job.out / "key"
    key.write_bytes(b"key of the benchmark, not secret")
    config = IngestConfig(inputs=(str(job.path),), key_file=str(key), over_18=job.over_18)
    run = Run(root=job.out / "run", month=dump_at(job.path).month, staging=job.out / "staging")
    with closing(read_batches(job.path, 1 << 20)) as batches:
        parser = LineParser(job.kind, config, Pseudonyms.from_file(key))
        parser.parse(next(batches).view, 1, (0, "warm"))
    start = time.perf_counter()
    counts = ingest(config, BeamResources(threads=job.workers), run)
    seconds = time.perf_counter() - start
    return Read(seconds=seconds, num_lines=counts.rows_in, rows_out=counts.rows_out)


def script_json(job: Job) -> Read:
    """A script as people write it: decode, split, json.loads a line, pick columns, Parquet."""
    return _script(job, json.loads)


def script_orjson(job: Job) -> Read:
    """The same with orjson."""
    return _script(job, orjson.loads)


def duckdb(job: Job) -> Read:
    """DuckDB on what `zstd -dc` pipes into this process: columns named and typed, to Parquet."""
    import duckdb as engine

    columns = ", ".join(f"{name}: '{of}'" for name, of in COLUMNS[job.kind].items())
    source = (
        "read_json('/dev/stdin', format='newline_delimited', compression='none', "
        f"maximum_object_size=67108864, columns={{{columns}}})"
    )
    target = job.out / "rows.parquet"
    start = time.perf_counter()
    with engine.connect() as connection:
        connection.execute(f"SET threads = {job.workers}")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(
            f"COPY (SELECT * FROM {source}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"
        )
    seconds = time.perf_counter() - start
    return Read(seconds=seconds, rows_out=pq.read_metadata(target).num_rows)


def python_floor(job: Job) -> Read:
    """Stands for `zstd | wc -l` where there is no such program: decompress and count lines."""
    start = time.perf_counter()
    num_lines = sum(chunk.count(b"\n") for chunk in _chunks(job.path))
    return Read(seconds=time.perf_counter() - start, num_lines=num_lines)


READERS: dict[str, Callable[[Job], Read]] = {
    reader.__name__: reader for reader in (ours, script_json, script_orjson, duckdb, python_floor)
}


def _script(job: Job, loads: Callable[[str], Any]) -> Read:
    columns = COLUMNS[job.kind]
    schema = pa.schema([(name, _ARROW[of]) for name, of in columns.items()])
    rows: list[dict[str, Any]] = []
    start, num_lines = time.perf_counter(), 0
    with pq.ParquetWriter(job.out / "rows.parquet", schema, compression="zstd") as writer:
        for line in _text_lines(job.path):
            obj = loads(line)
            row = {name: obj.get(name) for name in columns}
            row["edited"] = str(row["edited"])
            rows.append(row)
            num_lines += 1
            if len(rows) == BATCH_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
            if num_lines % 1_000 == 0 and time.perf_counter() - start > job.limit_s:
                break
        writer.write_table(pa.Table.from_pylist(rows, schema))
    seconds = time.perf_counter() - start
    return Read(seconds=seconds, num_lines=num_lines, rows_out=num_lines)


def _text_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(file)
        for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n"):
            yield line.rstrip("\n")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(file)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def main(
    reader: Annotated[str, typer.Argument(help=", ".join(READERS))],
    *,
    path: Annotated[Path, typer.Option(help="The month.")],
    out: Annotated[Path, typer.Option(help="Folder for what is written; made.")],
    workers: Annotated[int, typer.Option(help="Processes or threads.")] = os.cpu_count() or 1,
    limit_s: Annotated[float, typer.Option(help="Scripts stop after so long.")] = 60.0,
    keep_over_18: Annotated[bool, typer.Option(help="Ours writes what is over 18, too.")] = False,
) -> None:
    """Let one reader read one month; prints seconds, lines and rows as JSON."""
    if reader not in READERS:
        raise typer.BadParameter(f"{reader!r}: expected one of {', '.join(READERS)}")
    out.mkdir(parents=True, exist_ok=True)
    kind = dump_at(path).kind
    over_18: Literal["drop", "keep"] = "keep" if keep_over_18 else "drop"
    job = Job(path=path, kind=kind, out=out, workers=workers, limit_s=limit_s, over_18=over_18)
    read = READERS[reader](job)
    sys.stdout.write(json.dumps(asdict(read)) + "\n")


if __name__ == "__main__":
    typer.run(main)
