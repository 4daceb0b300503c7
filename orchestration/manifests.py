"""Manifests: the record of a finished step, written last, and the fingerprint it is known by."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration.flow import Step, producer
from pipelines.containers import is_url
from pipelines.contract import ContractError, Counts, Run
from pipelines.dumps import Dump

ALL_MONTHS = "all"
SMALL_FILE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished step: what it was asked, what it read, what came of it."""

    step: str
    month: str
    fingerprint: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    counts: Counts
    seconds: float
    peak_rss_bytes: int
    bytes_written: int
    code_version: str

    @staticmethod
    def location(run: Run, step: str, month: str) -> Path:
        """The manifest file of a step and month."""
        return run.root / "manifests" / step / f"{month}.json"

    def write(self, run: Run) -> None:
        """Write the manifest, whole or not at all."""
        path = self.location(run, self.step, self.month)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True))
        temporary.rename(path)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest in `path`.

        Raises:
            ContractError: The file is no manifest (written by another version, or damaged).
        """
        try:
            raw = json.loads(path.read_text())
            return cls(**{**raw, "counts": Counts(**raw["counts"])})
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ContractError(
                f"{path} is not a manifest ({error}); delete it to run the step again"
            ) from error


def published(run: Run, step: str) -> dict[str, Manifest]:
    """Manifests of a step by month, in order of month."""
    folder = run.root / "manifests" / step
    return {path.stem: Manifest.read(path) for path in sorted(folder.glob("*.json"))}


def fingerprint(step: Step, config: Any, run: Run, external: Sequence[Any] = ()) -> str:
    """What a result depends on, as 64 hexadecimal digits: step, config, month, inputs.

    Inputs that steps wrote count by the fingerprints of their manifests; files from outside by
    content where small, else by name, size and time of change: `external` are their identities.
    """
    described = {
        "step": step.name,
        "month": run.month,
        "config": describe(config),
        "external": list(external),
        "inputs": input_fingerprints(step, run),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def input_fingerprints(step: Step, run: Run) -> dict[str, list[str]]:
    """Fingerprints of what `step` reads, by the step that wrote it."""
    found = {}
    for source in {producer(table).name: producer(table) for table in step.reads}.values():
        manifests = published(run, source.name)
        months = [run.month] if source.monthly and step.monthly and run.month else list(manifests)
        found[source.name] = [manifests[m].fingerprint for m in months if m in manifests]
    return found


def describe(config: Any) -> Any:
    """`config` as plain data; fields marked as locations count by what lies there."""
    if not dataclasses.is_dataclass(config):
        return list(config) if isinstance(config, tuple) else config
    described: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        location = entry.metadata.get("location")
        if location == "external":
            continue
        described[entry.name] = identity(Path(value)) if location and value else describe(value)
    return described


def dump_identity(dump: Dump) -> list[Any]:
    """What tells a dump from a changed one."""
    if is_url(dump.path):
        return [dump.label, dump.size_bytes, dump.modified_utc]
    return identity(Path(dump.path))


def identity(path: Path) -> list[Any]:
    """What tells a file or folder from a changed one, wherever it lies."""
    if path.is_dir():
        return [identity(child) for child in sorted(path.rglob("*")) if child.is_file()]
    if not path.exists():
        return [path.name, "absent"]
    status = path.stat()
    if status.st_size <= SMALL_FILE_BYTES:
        return [path.name, hashlib.sha256(path.read_bytes()).hexdigest()]
    return [path.name, status.st_size, status.st_mtime_ns]
