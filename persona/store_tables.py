"""Schemas of the persona store."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from persona.packing import packed, unpacked

TABLE, HISTORY, RUNS = "personas", "history", "runs"
VECTORS = ("embedding", "clip_embedding")

# Long texts: kept as `persona.packing` packs them, and packed no second time by LanceDB.
PACKED = ("persona", "evidence")

# `text`, a sixth of a row's bytes, is not worth the time that compression takes.
_PLAIN = {"lance-encoding:compression": "none"}

# A run of the flow that wrote personas; its version is the content address of what it wrote.
RUNS_SCHEMA = pa.schema(
    [
        pa.field("run_version", pa.string(), nullable=False),
        pa.field("made_utc", pa.int64(), nullable=False),  # when its personas were finished
    ]
)

# A user's persona as one run wrote it; without evidence, whose texts are kept no longer than needed
HISTORY_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        *RUNS_SCHEMA,
        pa.field("summary", pa.string()),
        pa.field("persona", pa.string()),  # null: the run no longer has this user
        pa.field("confidence", pa.float32()),
        pa.field("evidence_hash", pa.string()),
        pa.field("verbalizer", pa.string()),
    ]
)


def store_schema(dim: int, clip_dim: int) -> pa.Schema:
    """Columns of the current personas, for vectors of these lengths."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("summary", pa.string()),
            # Summary and all claims: what full-text search reads.
            pa.field("text", pa.string(), metadata=_PLAIN),
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
            *RUNS_SCHEMA,
        ]
    )


def kept(schema: pa.Schema) -> pa.Schema:
    """The columns of a table as they are kept: texts of PACKED in bytes."""
    cells = {name: pa.field(name, pa.binary(), metadata=_PLAIN) for name in PACKED}
    return pa.schema([cells.get(field.name, field) for field in schema])


def pack(rows: pa.Table) -> pa.Table:
    """Rows with texts, as they are kept; those that are packed already stay as they are."""
    return _converted(rows, pa.string(), pa.binary(), packed)


def unpack(rows: pa.Table) -> pa.Table:
    """Rows as they are kept, with texts."""
    return _converted(rows, pa.binary(), pa.string(), unpacked)


def _converted(
    rows: pa.Table,
    old: pa.DataType,
    new: pa.DataType,
    convert: Callable[[pa.ChunkedArray], pa.ChunkedArray],
) -> pa.Table:
    for place, field in enumerate(rows.schema):
        if field.name in PACKED and field.type == old:
            rows = rows.set_column(place, pa.field(field.name, new), convert(rows.column(place)))
    return rows
