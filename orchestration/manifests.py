"""Manifests: the record of a finished step, written last, and what it is known by.

A result depends on a step's code and contracts, its settings, and the content of what it reads.
`depends` names all of that, `fingerprint` is its hash, and `changes` says in words how two differ.
Inputs count by content: a step that ran again and wrote the same rows makes nothing after it stale.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestration.flow import FLOW, Step, producer
from pipelines.containers import is_url
from pipelines.contract import Artifact, ContractError, Counts, Run, Table
from pipelines.dumps import Dump

ALL_MONTHS = "all"
SMALL_FILE_BYTES = 1 << 22
SHOWN_CHARS = 40  # of a setting's value in a reason

Depends = Mapping[str, Any]
"""version, config, dumps, contracts, inputs: what a result depends on, as plain data."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished step: what it was asked, what it read, what came of it.

    Args:
        depends: What the result depends on.
        outputs: Hash of the content of each table and artifact that some step reads.
        lineage: Hash of the settings of this step and of each before it; no data.
        run_id: The run that made it.
        finished_utc: Epoch seconds.
    """

    step: str
    month: str
    fingerprint: str
    config: Mapping[str, Any]
    counts: Counts
    seconds: float
    peak_rss_bytes: int
    bytes_written: int
    code_version: str
    depends: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lineage: Mapping[str, str] = dataclasses.field(default_factory=dict)
    run_id: str = ""
    finished_utc: int = 0

    def write(self, run: Run) -> None:
        """Write the manifest, whole or not at all."""
        path = run.manifest(self.step, self.month)
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
    """Manifests of a step by month, in order of month.

    Other processes make other months meanwhile: a manifest that goes between the listing and the
    look at it is not there.
    """
    found = {}
    for path in sorted((run.root / "manifests" / step).glob("*.json")):
        with suppress(FileNotFoundError):
            found[path.stem] = Manifest.read(path)
    return found


def depends(step: Step, config: Any, run: Run, dumps: Sequence[Dump] = ()) -> Depends:
    """What the result of a step for `run.month` depends on, with the inputs as they are now."""
    return {
        "version": step.version,
        "config": dict(flat(describe(config))),
        "dumps": {dump.label: dump_identity(dump) for dump in dumps},
        "contracts": {t.name: contract(t) for t in (*step.reads, *step.writes)},
        "inputs": inputs(step, run),
    }


def fingerprint(step: Step, month: str | None, on: Depends) -> str:
    """64 hexadecimal digits for a step, a month and what they depend on."""
    told = {"step": step.name, "month": month, **on}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def inputs(step: Step, run: Run) -> dict[str, dict[str, str]]:
    """Content hashes of what `step` reads, by table and month."""
    found: dict[str, dict[str, str]] = {}
    made: dict[str, dict[str, Manifest]] = {}
    for table in step.reads:
        source = producer(table)
        manifests = made.setdefault(source.name, published(run, source.name))
        own_month = source.monthly and step.monthly and run.month
        months = [run.month] if own_month else list(manifests)
        found[table.name] = {
            m: manifests[m].outputs.get(table.name, "") for m in months if m in manifests
        }
    return found


def changes(before: Depends, now: Depends, section: str) -> list[str]:
    """How what a result depends on differs from before, in words; empty where it does not.

    Args:
        before, now: Of the manifest, and as things are.
        section: Of the profile that holds the step's settings.
    """
    if not before:
        return ["made by an earlier version of tastegraph"]
    told = []
    if before["version"] != now["version"]:
        told.append(f"changed code: version {before['version']} -> {now['version']}")
    for name in _differing(before["contracts"], now["contracts"]):
        told.append(f"changed contract: {name}")
    for name in _differing(before["config"], now["config"]):
        old, new = (_shown(side["config"].get(name)) for side in (before, now))
        values = "other content" if old == new or "..." in old + new else f"{old} -> {new}"
        told.append(f"changed setting: {section}.{name} ({values})")
    told += _told_files("dump", before["dumps"], now["dumps"])
    for name in sorted(before["inputs"].keys() | now["inputs"].keys()):
        old_months, new_months = (side["inputs"].get(name, {}) for side in (before, now))
        told += [
            text.removesuffix(f" {ALL_MONTHS}")
            for text in _told_files(f"input: {name}", old_months, new_months)
        ]
    return told


def lineage(step: Step, configs: Mapping[str, Any]) -> dict[str, str]:
    """Hash of settings and contracts of a step and of all before it, by step.

    Args:
        step: The last of them.
        configs: Of every step, by name.
    """
    found: dict[str, str] = {}
    waiting = [step]
    while waiting:
        one = waiting.pop()
        if one.name in found:
            continue
        told = [
            one.version,
            dict(flat(describe(configs[one.name], folders=False))),
            {t.name: contract(t) for t in one.writes},
        ]
        found[one.name] = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
        waiting += [producer(table) for table in one.reads]
    return dict(sorted(found.items()))


def rules(of_settings: Mapping[str, str]) -> str:
    """One hash of a lineage: code, settings and contracts of a step and of all before it."""
    return hashlib.sha256(json.dumps(of_settings, sort_keys=True).encode()).hexdigest()[:32]


def content(path: Path) -> str:
    """Hash of a folder's files: names and bytes."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path)}\n".encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:32]


def is_read(output: Table | Artifact) -> bool:
    """Whether some step of the flow reads it."""
    return any(output.name == table.name for step in FLOW for table in step.reads)


def contract(output: Table | Artifact) -> str:
    """Hash of the columns and the key of a table; of an artifact its name stands for it."""
    if isinstance(output, Artifact):
        return output.name
    columns = [(field.name, str(field.type), field.nullable) for field in output.schema]
    told = json.dumps([columns, list(output.key), output.monthly])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def describe(config: Any, *, folders: bool = True) -> Any:
    """`config` as plain data; fields marked as locations count by what lies there.

    Of a key the file's name does not count. Names that stand for files of their own count by both.

    Args:
        config: Of a step.
        folders: Whether folders count, too: what grows in them is data rather than a setting; and
            policies, which say what is taken over, not how anything is made.
    """
    if not dataclasses.is_dataclass(config):
        return list(config) if isinstance(config, tuple) else config
    described: dict[str, Any] = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        location = entry.metadata.get("location")
        if location == "external" or (location and not folders and Path(value).is_dir()):
            continue
        if entry.metadata.get("policy") and not folders:
            continue
        named = entry.metadata.get("names_files", lambda value: None)(value)
        of_file = key_identity if location == "key" else identity
        described[entry.name] = (
            of_file(Path(value)) if location and value else describe(value, folders=folders)
        )
        if named is not None:
            described[f"{entry.name}_files"] = identity(named)
    return described


def flat(described: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of nested settings."""
    for name, value in described.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


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


def key_identity(path: Path) -> list[str]:
    """What tells a key from another one; not the key, nor what its file is called or ends in."""
    return [hashlib.sha256(path.read_bytes().strip()).hexdigest() if path.exists() else "absent"]


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = before.keys() | now.keys()
    return sorted(name for name in names if before.get(name) != now.get(name))


def _told_files(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for name in _differing(before, now):
        verb = "new" if name not in before else "gone" if name not in now else "changed"
        found.append(f"{verb} {what} {name}")
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."
