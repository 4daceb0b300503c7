"""Files, folders and globs -> dumps, by month."""

from __future__ import annotations

import glob
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson

from pipelines.containers import is_dump_name, read_batches
from pipelines.contract import ConfigError, MissingInputError

Kind = Literal["RS", "RC"]
UNDATED = "undated"

# RS_2019-10.zst, RS_2019-10_AskWomen.zst, RS_v2_2005-06.xz, RC_2020-01-15.zst
_NAME = re.compile(r"^(R[SC])[_-](?:v\d+[_-])?(?:((?:19|20)\d\d)-(0[1-9]|1[0-2])(?!\d))?", re.I)
_SNIFF_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True, order=True)
class Dump:
    """One file of submissions (RS) or comments (RC).

    Args:
        month: Partition its rows go to: month of the file name, or `undated`.
        kind: RS or RC.
        label: File name, with as many parent folders as tell it from others of its month.
        path: Where it lies.
        size_bytes: Size of the file, compressed if it is.
    """

    month: str
    kind: Kind
    label: str
    path: str
    size_bytes: int


def discover(inputs: Iterable[str]) -> dict[str, list[Dump]]:
    """Dumps found at `inputs`, by month; months and dumps sorted, no file twice.

    A folder stands for all files below it that have a dump's suffix. A file without RS_ or RC_ in
    its name is a dump of what its first object is.

    Raises:
        MissingInputError: An input names nothing that exists, or a folder without dumps.
        ConfigError: A file is neither submissions nor comments.
    """
    paths = {path.resolve(): None for text in inputs for path in _expand(text)}
    by_month: dict[str, list[Dump]] = defaultdict(list)
    for path in paths:
        dump = dump_at(path)
        by_month[dump.month].append(dump)
    return {month: _labelled(by_month[month]) for month in sorted(by_month)}


def dump_at(path: Path) -> Dump:
    """What the file at `path` is, by its name or else its first object.

    Raises:
        ConfigError: Neither tells.
    """
    match = _NAME.match(path.name)
    kind: Kind = _sniff(path) if match is None else ("RS" if match[1].upper() == "RS" else "RC")
    month = f"{match[2]}-{match[3]}" if match and match[2] else UNDATED
    size_bytes = path.stat().st_size
    return Dump(month=month, kind=kind, label=path.name, path=str(path), size_bytes=size_bytes)


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and is_dump_name(p)]
        expected = "a folder with .zst, .xz, .bz2, .gz, .ndjson or .json files"
    else:
        found = [p for m in sorted(glob.glob(text, recursive=True)) for p in _expand(m)]  # noqa: PTH207
        expected = "a file, a folder, or a glob that matches one"
    if not found:
        raise MissingInputError(f"input {text!r} has no dumps; expected {expected}")
    return found


def _sniff(path: Path) -> Kind:
    for batch in read_batches(path, _SNIFF_BYTES):
        for line in batch.data.splitlines():
            kind = _kind_of(line)
            if kind is not None:
                return kind
        break
    raise ConfigError(
        f"input {str(path)!r} looks neither like submissions nor like comments; "
        "name it RS_* or RC_*, or leave it out of the inputs"
    )


def _kind_of(line: bytes) -> Kind | None:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict):
        return None
    if "title" in fields:
        return "RS"
    return "RC" if "body" in fields else None


def _labelled(dumps: Sequence[Dump]) -> list[Dump]:
    """Sorted, with labels that tell them apart: (label, line) is the key of a reject."""
    labelled, depth = list(dumps), 1
    while True:
        counts = Counter(d.label for d in labelled)
        clashing = [d for d in labelled if counts[d.label] > 1]
        if not clashing:
            return sorted(labelled, key=lambda d: (d.kind, d.label))
        depth += 1
        renamed = {
            d.path: replace(d, label="/".join(Path(d.path).parts[-depth:])) for d in clashing
        }
        labelled = [renamed.get(d.path, d) for d in labelled]
