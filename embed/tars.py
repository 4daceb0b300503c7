"""Tar shards of images, as WebDataset lays them out and img2dataset writes them.

A sample is a run of members that share a key: `KEY.jpg` beside `KEY.json` (with `url`) or
`KEY.url`; or the shard has a sibling table `SHARD.parquet` with the columns `key` and `url`.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

BLOCK = tarfile.BLOCKSIZE
PICTURES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "avif", "bmp"})
MAX_DESCRIPTION_BYTES = 1 << 20
SAMPLES_AT_ONCE = 1 << 14


class DamagedShardError(Exception):
    """A shard of an archive cannot be read further; says where and why."""


@dataclass
class _Sample:
    key: str
    url: str | None = None
    block: int | None = None


def sibling_table(shard: Path) -> Path | None:
    """The table beside a tar shard that names the urls of its keys, if there is one."""
    table = shard.with_suffix(".parquet")
    return table if table.is_file() else None


def tar_places(shard: Path) -> Iterator[pl.DataFrame]:
    """Where the pictures of a tar shard lie, some thousand at a time: columns url, block.

    Raises:
        DamagedShardError: After all that is whole before the damage; or the table beside the shard
            is damaged, and only samples that name their own urls are found.
    """
    urls: dict[str, str] = {}
    found: list[tuple[str, int]] = []
    damage: DamagedShardError | None = None
    try:
        urls = _sibling_urls(shard)
    except DamagedShardError as error:
        damage = error
    samples = _samples(shard)
    while True:
        try:
            sample = next(samples, None)
        except DamagedShardError as error:
            damage, sample = error, None
        if sample is None or len(found) >= SAMPLES_AT_ONCE:
            yield pl.DataFrame(found, {"url": pl.String(), "block": pl.Int64()}, orient="row")
            found = []
        if sample is None:
            break
        url = sample.url or urls.get(sample.key)
        if url is not None and sample.block is not None:
            found.append((url, sample.block))
    if damage is not None:
        raise damage


def tar_content(shard: Path, block: int, max_bytes: int | None = None) -> bytes:
    """The member whose header begins at `block`; of a larger one a byte more than `max_bytes`.

    Raises:
        DamagedShardError: There is no whole member there.
    """
    try:
        with shard.open("rb") as file:
            file.seek(block * BLOCK)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                member = tar.next()
                body = tar.extractfile(member) if member else None
                content = body.read(-1 if max_bytes is None else max_bytes + 1) if body else b""
    except (tarfile.TarError, OSError) as error:
        raise DamagedShardError(f"block {block}: {error}") from error
    is_cut = max_bytes is not None and len(content) > max_bytes
    if member is None or (len(content) != member.size and not is_cut):
        raise DamagedShardError(f"block {block}: no whole file there")
    return content


def drop_samples(shard: Path, urls: Collection[str]) -> int:
    """Rewrite a tar shard without the samples of some urls, whole or not at all; how many went.

    The table beside it must still name them.

    Raises:
        DamagedShardError: What lies behind the damage cannot be told, or whose each sample is.
    """
    known = _sibling_urls(shard)
    gone = {s.key for s in _samples(shard) if (s.url or known.get(s.key)) in urls}
    if not gone:
        return 0
    temporary = shard.with_suffix(".tar.tmp")
    with tarfile.open(shard, "r:") as old, tarfile.open(temporary, "w:") as new:
        for member in old:
            if _key_and_suffix(member.name)[0] not in gone:
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
    temporary.rename(shard)
    return len(gone)


def _samples(shard: Path) -> Iterator[_Sample]:
    """Runs of members with one key; the last one of a damaged shard counts if it has a picture."""
    sample: _Sample | None = None
    try:
        for member, description in _members(shard):
            key, suffix = _key_and_suffix(member.name)
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = _Sample(key=key)
            if suffix.lower() in PICTURES:
                sample.block = member.offset // BLOCK
            elif description is not None:
                sample.url = _url_in(suffix.lower(), description) or sample.url
    except DamagedShardError:
        if sample is not None:
            yield sample
        raise
    if sample is not None:
        yield sample


def _key_and_suffix(name: str) -> tuple[str, str]:
    """`a/b.c.jpg` -> `a/b`, `c.jpg`."""
    folder, slash, file = name.rpartition("/")
    key, _, suffix = file.partition(".")
    return folder + slash + key, suffix


def _members(shard: Path) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    """Files of a tar in order, with the content of those that may name a url."""
    with shard.open("rb") as file:
        size = shard.stat().st_size
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    # It would remember all of them.
                    tar.members = []  # type: ignore[attr-defined]
                    if member.size < 0:  # it would lead back, again and again
                        raise DamagedShardError(f"damaged at byte {member.offset:,} of {size:,}")
                    if member.offset_data + member.size > size:
                        raise DamagedShardError(f"cut off after {size:,} bytes")
                    if not member.isfile():
                        continue
                    named = member.name.lower().endswith((".json", ".url"))
                    is_small = member.size <= MAX_DESCRIPTION_BYTES
                    body = tar.extractfile(member) if named and is_small else None
                    yield member, body.read() if body else None
                end = tar.offset
        except (tarfile.TarError, OSError) as error:
            raise DamagedShardError(f"{error}") from error
        # A header that is no header ends a tar silently; a whole one ends with blocks of zeros.
        file.seek(end)
        if file.read(BLOCK) != bytes(BLOCK):
            what = "cut off" if end >= size else "damaged"
            raise DamagedShardError(f"{what} at byte {end:,} of {size:,}")


def _url_in(suffix: str, description: bytes) -> str | None:
    if suffix == "url":
        return description.decode("utf-8", "replace").strip() or None
    if suffix != "json":
        return None
    try:
        url = json.loads(description).get("url")
    except (ValueError, AttributeError, RecursionError):
        return None
    # Half of a surrogate pair is a character to JSON and to no url.
    is_text = isinstance(url, str) and not any("\ud800" <= c <= "\udfff" for c in url)
    return url if is_text else None


def _sibling_urls(shard: Path) -> dict[str, str]:
    table = sibling_table(shard)
    if table is None:
        return {}
    try:
        if not {"key", "url"} <= set(pq.read_schema(table).names):
            return {}
        rows = pq.read_table(table, columns=["key", "url"])
    except (pa.ArrowException, OSError) as error:
        raise DamagedShardError(f"the table {table.name} beside it: {error}") from error
    pairs = zip(rows["key"].to_pylist(), rows["url"].to_pylist(), strict=True)
    return {str(key): url for key, url in pairs if isinstance(url, str)}
