"""Schemas of the persona store."""

from __future__ import annotations

import pyarrow as pa

TABLE, HISTORY, RUNS = "personas", "history", "runs"
VECTORS = ("embedding", "clip_embedding")

# Long texts: a quarter of their bytes, and quicker to write than those of LanceDB's own choice.
_ZSTD = {"lance-encoding:compression": "zstd", "lance-encoding:compression-level": "1"}

# A twentieth of a row's bytes: not worth the eighth of the time of loading that compression takes.
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
        pa.field("persona", pa.string(), metadata=_ZSTD),  # null: the run no longer has this user
        pa.field("confidence", pa.float32()),
        pa.field("evidence_hash", pa.string()),
        pa.field("verbalizer", pa.string()),
    ]
)


def store_schema(dim: int, clip_dim: int) -> pa.Schema:
    """Columns of the store, for vectors of these lengths."""
    return pa.schema(
        [
            pa.field("user_id", pa.string(), nullable=False),
            pa.field("summary", pa.string()),
            # Summary and all claims: what full-text search reads.
            pa.field("text", pa.string(), metadata=_PLAIN),
            pa.field("facets", pa.list_(pa.string())),  # "palette=neon"
            pa.field("interests", pa.list_(pa.string())),
            pa.field("persona", pa.string(), metadata=_ZSTD),  # JSON of persona.schema.Persona
            pa.field("evidence", pa.string(), metadata=_ZSTD),  # JSON list of items
            pa.field("confidence", pa.float32()),
            pa.field("embedding", pa.list_(pa.float32(), dim)),  # z_u
            pa.field("clip_embedding", pa.list_(pa.float32(), clip_dim)),  # p(z_u)
            pa.field("evidence_hash", pa.string()),
            pa.field("verbalizer", pa.string()),
            pa.field("clip_version", pa.string()),
            *RUNS_SCHEMA,
        ]
    )
