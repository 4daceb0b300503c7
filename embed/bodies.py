"""Bytes of planned images, wherever they lie: an archive, one that earlier runs kept, their hosts.

What hosts answer waits on disk until it is used, so that no slow host holds up the others, and
images are used in the order of their plan whatever the order in which their bytes came.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from embed.answers import Fetched
from embed.archive import ArchiveReader, Place
from embed.fetch import NOT_MODIFIED, Fetcher, FetchLimits
from embed.hosts import Hosts
from embed.outcomes import LIMITED, TRANSIENT, Outcome
from embed.tables import KEPT_ANSWERS

Answer = Callable[[Mapping[str, Any]], Fetched]
HELD_SCHEMA = {"held_file": pl.String(), "held_row_group": pl.Int32(), "held_row": pl.Int32()}
_GROUP_BYTES = 32_000_000
_GROUP_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where a worker may take bytes from.

    Args:
        fetch: Ask hosts for what lies nowhere.
        limits: Of those requests; `max_bytes` holds for archived bodies as well.
        hosts: Bounds on requests to each host, and what one worker learns of them.
        keep: Folder where answers of hosts are kept; empty: nowhere.
        scratch: Folder of unfinished work; empty: the machine's.
        revalidate: Ask hosts whether what is kept has changed.
    """

    fetch: bool
    limits: FetchLimits
    hosts: Hosts
    keep: str = ""
    scratch: str = ""
    revalidate: bool = False


@dataclass(frozen=True)
class _Spooled:
    fetched: Fetched
    offset: int
    size: int


class Spool:
    """Answers whose bodies lie in a file; put from any thread, got by what put gave."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = 0
        self._lock = threading.Lock()

    def put(self, fetched: Fetched) -> _Spooled:
        """Write the body down."""
        with self._lock:
            offset = self._end
            self._file.seek(offset)
            self._file.write(fetched.content)
            self._end += len(fetched.content)
        return _Spooled(replace(fetched, content=b""), offset, len(fetched.content))

    def get(self, spooled: _Spooled) -> Fetched:
        """The answer with its body."""
        with self._lock:
            self._file.seek(spooled.offset)
            return replace(spooled.fetched, content=self._file.read(spooled.size))


@contextmanager
def bodies(rows: pl.DataFrame, sources: Sources) -> Iterator[Answer]:
    """A function from a row to its answer; hosts are asked for all that is missing beforehand.

    Args:
        rows: Columns url; file, row_group, row (null: not archived); those of `HELD_SCHEMA` (null:
            not kept).
        sources: Where from.
    """
    reader = ArchiveReader()
    asked = rows.filter(pl.col("file").is_null())
    held = validators(asked) if sources.revalidate else {}
    asked = asked.filter(pl.col("held_file").is_null() | pl.col("url").is_in(list(held)))
    with tempfile.TemporaryFile(dir=sources.scratch or None) as file:
        spool = Spool(file)
        urls = asked["url"].to_list() if sources.fetch else []
        answers = dict(zip(urls, _fetch(urls, held, sources, spool), strict=True))
        if sources.keep:
            keep(Path(sources.keep), answers, spool)

        def answer(row: Mapping[str, Any]) -> Fetched:
            fresh = answers.get(row["url"])
            prefix = "held_" if row["file"] is None else ""
            if fresh is not None and fresh.fetched.http_status != NOT_MODIFIED:
                return spool.get(fresh)
            if row[f"{prefix}file"] is None:
                return Fetched(outcome=Outcome.NOT_ARCHIVED)
            place = Place(
                file=Path(row[f"{prefix}file"]),
                row_group=row[f"{prefix}row_group"],
                row=row[f"{prefix}row"],
            )
            return reader.fetched(place, sources.limits.max_bytes)

        yield answer


def kept_files(folder: Path) -> list[Path]:
    """Shards that earlier runs kept, the newest first; none if there is no such folder."""
    return sorted(folder.glob("kept-*.parquet"), reverse=True) if folder.is_dir() else []


def validators(rows: pl.DataFrame) -> dict[str, Fetched]:
    """By url, what hosts said of the versions that rows' kept bodies are."""
    found = {}
    for (file,), group in rows.drop_nulls("held_file").group_by("held_file"):
        wanted = set(group["url"])
        table = pq.read_table(str(file), columns=["url", "etag", "last_modified"])
        for row in table.to_pylist():
            url, etag, last_modified = row["url"], row["etag"], row["last_modified"]
            if url in wanted and (etag or last_modified):
                found[url] = Fetched(outcome=Outcome.OK, etag=etag, last_modified=last_modified)
    return found


def keep(folder: Path, answers: Mapping[str, _Spooled], spool: Spool) -> None:
    """Write the settled answers as one more shard of kept ones, whole or not at all.

    What may pass, or was cut off by a limit, is left out: a later run asks again.
    """
    settled = {
        url: spooled
        for url, spooled in answers.items()
        if spooled.fetched.outcome not in TRANSIENT | LIMITED
        and spooled.fetched.http_status not in (0, NOT_MODIFIED)
    }
    if not settled:
        return
    folder.mkdir(parents=True, exist_ok=True)
    newest = next(iter(kept_files(folder)), None)
    number = int(newest.name.split("-")[1]) + 1 if newest else 0
    digest = hashlib.sha256("\n".join(settled).encode()).hexdigest()[:16]
    with KEPT_ANSWERS.writer(folder, f"kept-{number:08}-{digest}") as append:
        group: list[tuple[str, Fetched]] = []
        size = 0
        for url, spooled in settled.items():
            group.append((url, spool.get(spooled)))
            size += spooled.size
            if size >= _GROUP_BYTES or len(group) >= _GROUP_ROWS:
                append(_table(group))
                group, size = [], 0
        if group:
            append(_table(group))


def _table(group: Sequence[tuple[str, Fetched]]) -> pa.Table:
    fetched = [answer for _, answer in group]
    columns = {
        "url": pa.array([url for url, _ in group], pa.string()),
        "http_status": pa.array([answer.http_status for answer in fetched], pa.int16()),
        "content": pa.array([answer.content for answer in fetched], pa.binary()),
        "outcome": pa.array([str(answer.outcome) for answer in fetched], pa.string()),
        "etag": pa.array([answer.etag for answer in fetched], pa.string()),
        "last_modified": pa.array([answer.last_modified for answer in fetched], pa.string()),
    }
    return pa.table(columns)


def _fetch(
    urls: Sequence[str], held: Mapping[str, Fetched], sources: Sources, spool: Spool
) -> list[_Spooled]:
    async def run() -> list[_Spooled]:
        fetcher = Fetcher(sources.limits, sources.hosts)
        try:
            return await fetcher.fetch_all(urls, spool.put, held)
        finally:
            await fetcher.close()

    return asyncio.run(run()) if urls else []
