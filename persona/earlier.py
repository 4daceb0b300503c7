"""Personas that need not be made again: the evidence is as before, or as somebody else's.

A persona depends on its evidence, by content address, and on how it is made. Personas of the last
run that were made alike stay as they are. A model says the same of the same evidence, so users
whose evidence is the same share one request; the grounded verbalizer varies its words by user.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from persona.config import VerbalizeConfig
from persona.items import evidence_hashes
from persona.privacy import mentions_sensitive
from persona.prompts import REPAIR_PROMPT, SYSTEM_PROMPT
from persona.schema import persona_json_schema
from persona.tables import PERSONAS
from pipelines.contract import Run

MADE_BY = "made_by"  # in the metadata of the files of PERSONAS
_WHERE = ("base_url", "api_key_file")  # where a model is asked does not change what it says


def made_by(config: VerbalizeConfig) -> str:
    """Content address of how personas are made: settings, prompts and schema."""
    settings = {name: value for name, value in asdict(config).items() if name not in _WHERE}
    settings |= {"archive": bool(config.archive), "schema": persona_json_schema()}
    told = json.dumps([settings, SYSTEM_PROMPT, REPAIR_PROMPT], sort_keys=True)
    return blake2b(told.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Split:
    """One part of EVIDENCE, by what is to be done with its users.

    Args:
        fresh: Rows of users who are to be verbalized.
        kept: PERSONAS of users whose evidence is as before.
        twins: user_id -> the fresh user whose evidence is the same.
    """

    fresh: pa.Table
    kept: pa.Table
    twins: dict[str, str]


class Earlier:
    """The personas that a run has published and that were made as the config says."""

    def __init__(self, run: Run, config: VerbalizeConfig) -> None:
        self._share = config.verbalizer != "grounded"
        mark = made_by(config).encode()
        files = [
            str(path)
            for path in PERSONAS.files(run)
            if (pq.read_schema(path).metadata or {}).get(MADE_BY.encode()) == mark
        ]
        self._dataset = ds.dataset(files, format="parquet") if files else None

    def split(self, evidence: pa.Table) -> Split:
        """What of one part is to be done."""
        if not evidence.num_rows or (self._dataset is None and not self._share):
            return Split(evidence, PERSONAS.empty(), {})
        hashes = evidence_hashes(evidence)
        kept = [row for row in self._rows(hashes) if row["evidence_hash"] == hashes[row["user_id"]]]
        done = {row["user_id"] for row in kept}
        todo = [user for user in hashes if user not in done]
        first: dict[str, str] = {}
        twins: dict[str, str] = {}
        for user in todo:
            one = first.setdefault(hashes[user] if self._share else user, user)
            if one != user:
                twins[user] = one
        wanted = pa.array([user for user in todo if user not in twins], pa.string())
        fresh = evidence.filter(pc.is_in(evidence.column("user_id"), value_set=wanted))
        return Split(fresh, pa.Table.from_pylist(kept, schema=PERSONAS.schema), twins)

    def _rows(self, users: Iterable[str]) -> list[dict[str, Any]]:
        """Earlier rows of some users; ids are sorted in files, so few row groups are read.

        Not of those whose persona says what has been listed as sensitive since it was made.
        """
        if self._dataset is None:
            return []
        wanted = pa.array(sorted(users), pa.string())
        user = ds.field("user_id")
        between = (user >= wanted[0]) & (user <= wanted[-1])
        table = self._dataset.to_table(
            columns=PERSONAS.schema.names, filter=between & user.isin(wanted)
        )
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        rows: list[dict[str, Any]] = frame.filter(~mentions_sensitive(pl.col("persona"))).to_dicts()
        return rows
