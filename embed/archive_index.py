"""Where each url of an archive lies, as sorted arrays on disk: archives name more urls than memory
holds, and whoever shows pictures asks for a few at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from embed.archive import Place, locate, shard_answers
from embed.tars import DamagedShardError

LOGGER = logging.getLogger(__name__)
NUM_PARTS = 128  # one is sorted in memory: of 10^9 urls 190 MB
FAILED = 1 << 31
# `order`: of the shard, with FAILED where the host did not answer with success.
ENTRY = np.dtype([("key", "u8"), ("check", "u4"), ("order", "u4"), ("group", "i4"), ("row", "i4")])


class ArchiveIndex:
    """Finds urls in the shards of an archive.

    Args:
        files: The shards; what lies behind damage in one is not found.
        folder: Of the arrays, written here.
    """

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._files, self._folder = files, folder
        self._changed_ns = [file.stat().st_mtime_ns for file in files]
        self._spill()
        self._parts = [self._sorted(part) for part in range(NUM_PARTS)]

    def find(self, url: str) -> Place | None:
        """Where the url lies, as `embed.archive.search` has it; None if nowhere.

        A shard that was written anew since, as an erasure does, is looked through again.
        """
        (entry,) = _entries(pl.Series([url]))
        keys, entries = self._parts[int(entry["key"]) % NUM_PARTS]
        at = int(np.searchsorted(keys, entry["key"]))
        if at == len(keys) or keys[at] != entry["key"]:
            return None
        found = entries[at]
        order = int(found["order"]) & ~FAILED
        file = self._files[order]
        if found["check"] != entry["check"] or not file.exists():
            return None
        if file.stat().st_mtime_ns != self._changed_ns[order]:
            rows = locate([file], pl.Series([url])).rows(named=True)
            return _place(file, rows[0]["row_group"], rows[0]["row"]) if rows else None
        return _place(file, found["group"], found["row"])

    def _spill(self) -> None:
        """One pass over the shards."""
        with ExitStack() as stack:
            parts = [
                stack.enter_context((self._folder / f"{part}.spill").open("wb"))
                for part in range(NUM_PARTS)
            ]
            for order, file in enumerate(self._files):
                for answers in _until_damage(file):
                    entries = _entries(answers["url"])
                    failed = answers["failed"].to_numpy()
                    entries["order"] = np.where(failed, order | FAILED, order)
                    entries["group"] = answers["row_group"].to_numpy()
                    entries["row"] = answers["row"].to_numpy()
                    part_I = entries["key"] % NUM_PARTS
                    for part in np.unique(part_I).tolist():
                        parts[part].write(entries[part_I == part].tobytes())

    def _sorted(self, part: int) -> tuple[NDArray[np.uint64], NDArray[np.void]]:
        """Keys in order, and the best place of each; mapped."""
        spilled = self._folder / f"{part}.spill"
        entries = np.fromfile(spilled, ENTRY)
        spilled.unlink()
        entries = entries[np.lexsort([entries[name] for name in ("row", "group", "order", "key")])]
        keys, first = np.unique(entries["key"], return_index=True)
        return self._mapped(f"{part}-keys", keys), self._mapped(f"{part}-entries", entries[first])

    def _mapped(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        np.save(self._folder / f"{name}.npy", array)
        mapped: NDArray[Any] = np.load(self._folder / f"{name}.npy", mmap_mode="r")
        return mapped


def _until_damage(file: Path) -> Iterator[pl.DataFrame]:
    try:
        yield from shard_answers(file)
    except (DamagedShardError, pa.ArrowException, OSError) as error:
        LOGGER.warning("%s: nothing behind the damage is found (%s)", file, error)


def _entries(urls: pl.Series) -> NDArray[np.void]:
    entries = np.zeros(len(urls), ENTRY)
    entries["key"] = urls.hash(0).to_numpy()
    entries["check"] = urls.hash(1).to_numpy() >> np.uint64(32)
    return entries


def _place(file: Path, row_group: int, row: int) -> Place:
    return Place(file=file, row_group=int(row_group), row=int(row))
