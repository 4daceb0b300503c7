"""The persona store as plain files: Parquet or JSON lines, streamed."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from persona.store import PersonaStore
from pipelines.contract import ConfigError

_JSON_COLUMNS = ("persona", "evidence")


def export(store: PersonaStore, target: Path) -> int:
    """Write every current persona to `target`, whole or not at all.

    Args:
        store: What is read.
        target: Ends in .parquet (all columns), or .jsonl (one user a line, `persona` and `evidence`
            as objects, vectors left out).

    Returns:
        Users written.

    Raises:
        ConfigError: Another ending.
    """
    writers = {".parquet": _write_parquet, ".jsonl": _write_jsonl}
    if target.suffix not in writers:
        raise ConfigError(f"export to {str(target)!r}: expected a name in .parquet or .jsonl")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    count = writers[target.suffix](store, temporary)
    temporary.rename(target)
    return count


def _write_parquet(store: PersonaStore, path: Path) -> int:
    count, writer = 0, None
    for batch in store.batches():
        writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd")
        writer.write_batch(batch)
        count += batch.num_rows
    if writer is None:
        pq.write_table(store.schema.empty_table(), path)
    else:
        writer.close()
    return count


def _write_jsonl(store: PersonaStore, path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for batch in store.batches():
            file.writelines(orjson.dumps(row) + b"\n" for row in _plain(batch))
            count += batch.num_rows
    return count


def _plain(batch: pa.RecordBatch) -> list[dict[str, object]]:
    kept = [f.name for f in batch.schema if not pa.types.is_fixed_size_list(f.type)]
    rows: list[dict[str, object]] = batch.select(kept).to_pylist()
    for row in rows:
        for name in _JSON_COLUMNS:
            text = row[name]
            row[name] = orjson.loads(text) if isinstance(text, str) else None
    return rows
