"""Tables and artifacts of stage 4: evidence, personas, and the store that serves them."""

from __future__ import annotations

import pyarrow as pa

from pipelines.contract import Artifact, Table, column
from pipelines.tables import USER_ID

EVIDENCE = Table(
    name="evidence",
    doc="one item that a persona may cite; user text in it is data, never instruction",
    key=("user_id", "evidence_id"),
    schema=pa.schema(
        [
            USER_ID,
            column("evidence_id", pa.string(), "short and stable: s:jazz, t1_abc, g:palette:neon"),
            column("kind", pa.string(), "subreddit, snippet, tag, image, neighbour or demographic"),
            column("subreddit", pa.string(), "where it comes from", nullable=True),
            column(
                "facet",
                pa.string(),
                "of a tag: palette, subject, ...; age or region",
                nullable=True,
            ),
            column("text", pa.string(), "subreddit name, snippet, tag, or image url"),
            column("weight", pa.float32(), "attention share, tag z-score, ..."),
            column("tokens", pa.int32(), "charged to the budget"),
            column("inferred", pa.bool_(), "from neighbours, not from the user's own doing"),
        ]
    ),
)

USER_DATA = Table(
    name="user_data",
    doc="what the evidence of one user was made of; users of the same data may keep theirs",
    key=("user_id",),
    schema=pa.schema(
        [
            USER_ID,
            column("data_hash", pa.string(), "of interactions, snippets, images of all months"),
        ]
    ),
)

PERSONAS = Table(
    name="personas",
    doc="one user in words",
    key=("user_id",),
    schema=pa.schema(
        [
            USER_ID,
            column("summary", pa.string(), "2 to 4 sentences"),
            column("persona", pa.string(), "the whole persona, JSON of persona.schema.Persona"),
            column("confidence", pa.float32(), "in [0, 1]"),
            column("evidence_hash", pa.string(), "content address of the evidence"),
            column("verbalizer", pa.string(), "grounded, or the model's name"),
        ]
    ),
)

QUARANTINE = Table(
    name="quarantine",
    doc="users whose persona failed the schema after one repair",
    key=("user_id",),
    schema=pa.schema(
        [
            USER_ID,
            column("reason", pa.string(), "closed set: persona.verbalizer.Failure"),
            column("detail", pa.string(), "validator's message, no user text"),
        ]
    ),
)

PERSONA_STORE = Artifact(
    name="persona_store",
    doc="LanceDB: persona text, facets, embedding, evidence, model and run versions",
    versions=3,
)
