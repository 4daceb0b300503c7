"""What a run was made with, as its manifests tell whoever goes on from its tables."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from graph.tables import CHECKPOINT
from persona.config import EvidenceConfig
from persona.tables import PERSONA_STORE
from pipelines.contract import MissingInputError, Run

FOLDER, ENCODER = "made_with", "encoder"  # in a version of the store, and a file there


def evidence_config(run: Run) -> EvidenceConfig:
    """What the evidence of a run was made with.

    Raises:
        MissingInputError: `build_evidence` has not run, or is at it.
    """
    path = run.manifest("build_evidence")
    if not path.is_file():
        raise MissingInputError(f"no settings of build_evidence at {path}; run it first")
    told = _told(path)["config"]
    known = {entry.name for entry in fields(EvidenceConfig)}
    return EvidenceConfig(**{name: value for name, value in told.items() if name in known})


def note_encoder(run: Run) -> None:
    """Say beside the store whose space its embeddings lie in, for those who are embedded later."""
    folder = run.staged(PERSONA_STORE) / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of the last run, maybe links to its files
    folder.mkdir()
    (folder / ENCODER).write_text(encoder_of(run))


def encoder_of(run: Run) -> str:
    """Content hash of the encoder that made the embeddings of a run; empty where nobody told."""
    inputs = _told(run.manifest("infer_users")).get("depends", {}).get("inputs", {})
    found: str = inputs.get(CHECKPOINT.name, {}).get("all", "")
    return found


def shares_encoder(run: Run) -> bool:
    """Whether the encoder that is there made the embeddings of the visible personas.

    After a rollback, or a run that was not published, another one may have.
    """
    note = PERSONA_STORE.path(run) / FOLDER / ENCODER
    made_with = note.read_text() if note.is_file() else ""
    now = _told(run.manifest("train_gat")).get("outputs", {}).get(CHECKPOINT.name)
    return not made_with or made_with == now


def _told(manifest: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest.read_text()) if manifest.is_file() else {}
    return found
