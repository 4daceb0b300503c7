"""Files, folders and globs -> dumps, by month."""

from __future__ import annotations

import glob
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeVar

import orjson

from pipelines.containers import CorruptDumpError, is_dump_name, is_url, read_batches
from pipelines.contract import ConfigError, MissingInputError

Kind = Literal["RS", "RC"]
UNDATED = "undated"

# RS_2019-10.zst, RS_2019-10_AskWomen.zst, RS_v2_2005-06.xz, RC_2020-01-15.zst
_NAME = re.compile(r"^(R[SC])[_-](?:v\d+[_-])?(?:((?:19|20)\d\d)-(0[1-9]|1[0-2])(?!\d))?", re.I)
_SNIFF_BYTES = 1 << 16
_Found = TypeVar("_Found")


class _File(NamedTuple):
    path: str
    size_bytes: int
    modified_utc: float = 0.0


@dataclass(frozen=True, kw_only=True, order=True)
class Dump:
    """One file of submissions (RS) or comments (RC).

    Args:
        month: Partition its rows go to: month of the file name, or `undated`.
        kind: RS or RC.
        label: File name, with as many parent folders as tell it from others of its month.
        path: Where it lies, as a path or an address.
        size_bytes: Size of the file, compressed if it is.
        modified_utc: When an object of a store was changed, by its clock; 0 for local files.
    """

    month: str
    kind: Kind
    label: str
    path: str
    size_bytes: int
    modified_utc: float = 0.0


def discover(inputs: Iterable[str], options: Sequence[str] = ()) -> dict[str, list[Dump]]:
    """Dumps found at `inputs`, by month; months and dumps sorted, no file twice.

    A folder stands for all files below it that have a dump's suffix. A file without RS_ or RC_ in
    its name is a dump of what its first object is.

    Args:
        inputs: Files, folders or globs, on this machine or as addresses (s3://, gs://, hdfs://).
        options: Beam's options, which tell how stores are reached.

    Raises:
        MissingInputError: An input names nothing that exists, or a folder without dumps.
        ConfigError: A file is neither submissions nor comments, or an address cannot be read.
    """
    files = {file.path: file for text in inputs for file in _expand(text, options)}
    by_month: dict[str, list[Dump]] = defaultdict(list)
    for file in files.values():
        dump = _dump_of(file, options)
        by_month[dump.month].append(dump)
    return {month: _labelled(by_month[month]) for month in sorted(by_month)}


def dump_at(path: Path) -> Dump:
    """What the file at `path` is, by its name or else its first object.

    Raises:
        ConfigError: Neither tells.
    """
    return _dump_of(_File(str(path), path.stat().st_size))


def _dump_of(file: _File, options: Sequence[str] = ()) -> Dump:
    name = PurePosixPath(file.path).name
    match = _NAME.match(name)
    kind: Kind = (
        _sniff(file.path, options)
        if match is None
        else ("RS" if match[1].upper() == "RS" else "RC")
    )
    month = f"{match[2]}-{match[3]}" if match and match[2] else UNDATED
    return Dump(
        month=month,
        kind=kind,
        label=name,
        path=file.path,
        size_bytes=file.size_bytes,
        modified_utc=file.modified_utc,
    )


def _expand(text: str, options: Sequence[str]) -> list[_File]:
    if is_url(text):
        return _expand_url(text, options)
    return [_File(str(path.resolve()), path.stat().st_size) for path in _expand_path(text)]


def _expand_url(text: str, options: Sequence[str]) -> list[_File]:
    from pipelines.remote import find_remote  # Beam, for those who need it

    files, is_folder = find_remote(text, options)
    found = [_File(*file) for file in files if not is_folder or is_dump_name(file.url)]
    return _not_empty(found, text, "an object, a folder with dumps, or a glob that matches one")


def _expand_path(text: str) -> list[Path]:
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.is_file() and is_dump_name(p.name)]
        return _not_empty(
            found, text, "a folder with .zst, .zst_blocks, .xz, .bz2, .gz, .ndjson or .json files"
        )
    found = [p for m in sorted(glob.glob(text, recursive=True)) for p in _expand_path(m)]  # noqa: PTH207
    return _not_empty(found, text, "a file, a folder, or a glob that matches one")


def _not_empty(found: list[_Found], text: str, expected: str) -> list[_Found]:
    if not found:
        raise MissingInputError(f"input {text!r} has no dumps; expected {expected}")
    return found


def _sniff(path: str, options: Sequence[str]) -> Kind:
    damage = None
    try:
        with closing(read_batches(path, _SNIFF_BYTES, options=options)) as batches:
            for line in (line for batch in islice(batches, 1) for line in batch.data.splitlines()):
                kind = _kind_of(line)
                if kind is not None:
                    return kind
    except CorruptDumpError as error:
        damage = error
    why = "" if damage is None else f" ({damage.damages[0].cause} at {damage.damages[0].place})"
    raise ConfigError(
        f"input {path!r} looks neither like submissions nor like comments{why}; "
        "name it RS_* or RC_*, or leave it out of the inputs"
    ) from damage


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
