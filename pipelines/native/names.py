"""Names in lines -> small numbers: what a name means is worked out once, not once a line."""

from __future__ import annotations

from string import ascii_letters, digits
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipelines.native.scan import ABSENT, NULL, TEXT, borrowing, kernel
from pipelines.native.simd import byte_at

# A dictionary this large is begun anew: 22M authors would not fit into every worker.
MAX_NAMES = 1 << 20
NO_NAME = -1

# What may stand in a name: in those of authors, and further in those of subreddits.
_AUTHOR_BYTES = np.zeros(256, np.bool_)
_AUTHOR_BYTES[[ord(c) for c in ascii_letters + digits + "_-"]] = True
_SUBREDDIT_BYTES = _AUTHOR_BYTES.copy()
_SUBREDDIT_BYTES[[ord(c) for c in ".:"]] = True
_HASH_PRIME = np.uint64(0x100000001B3)
_HASH_BASIS = np.uint64(0xCBF29CE484222325)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@kernel
def _slot_of(name_hash, num_slots):
    """First slot to look at; `num_slots` is a power of two."""
    return np.int64((name_hash * _MULTIPLIER) >> np.uint64(32)) & (num_slots - 1)


@borrowing
def name_codes(base, starts, ends, kinds, table, counts, odd, out):
    """Codes of names in lower case, int64, -1 for none; new names are appended to the table.

    FNV-1a 64 (Fowler, Noll, Vo).
    """
    allowed, absent, max_chars, slots, hashes, arena, offsets = table
    count = counts[0]
    num_slots = slots.shape[0]
    for row in range(starts.shape[0]):
        out[row] = NO_NAME
        kind = kinds[row]
        if kind == ABSENT or kind == NULL or odd[row]:
            continue
        start, size = starts[row], ends[row] - starts[row]
        if kind != TEXT or size > max_chars:
            odd[row] = True
            continue
        if size == 0:
            continue
        used = offsets[count]
        name_hash = _HASH_BASIS
        is_name = True
        for k in range(size):
            c = byte_at(base + start + k)
            is_name &= allowed[c]
            if 65 <= c <= 90:
                c += np.uint8(32)
            arena[used + k] = c
            name_hash = (name_hash ^ np.uint64(c)) * _HASH_PRIME
        if not is_name:
            is_absent = size == absent.shape[0]
            for k in range(size):
                is_absent = is_absent and arena[used + k] == absent[k]
            odd[row] |= not is_absent
            continue
        slot = _slot_of(name_hash, num_slots)
        while True:
            code = slots[slot]
            if code < 0:
                slots[slot] = count
                hashes[count] = name_hash
                code = count
                count += 1
                offsets[count] = used + size
                break
            known = offsets[code]
            if hashes[code] == name_hash and offsets[code + 1] - known == size:
                k = 0
                while k < size and arena[known + k] == arena[used + k]:
                    k += 1
                if k == size:
                    break
            slot += 1
            if slot == num_slots:
                slot = 0
        out[row] = code
    counts[0] = count


@kernel
def _fill_slots(slots, hashes, count):
    num_slots = slots.shape[0]
    for code in range(count):
        slot = _slot_of(hashes[code], num_slots)
        while slots[slot] >= 0:
            slot += 1
            if slot == num_slots:
                slot = 0
        slots[slot] = code


class NameTable:
    """Names seen so far, in lower case, each with its code: 0, 1, 2, ...

    `hashes` are of the names by code, in every table by the same function.

    Args:
        max_chars: Longer names are for the slow way.
        allowed: bool [256]: bytes that a name may hold.
        absent: What stands for no name, in lower case.
    """

    def __init__(self, max_chars: int, allowed: npt.NDArray[np.bool_], absent: bytes) -> None:
        self._max_chars = max_chars
        self._allowed = allowed
        self._absent = np.frombuffer(absent, np.uint8)
        self.clear()

    @classmethod
    def of_authors(cls) -> NameTable:
        """For authors: up to 30 letters, digits, `_` and `-`; `[deleted]` is no name."""
        return cls(30, _AUTHOR_BYTES, b"[deleted]")

    @classmethod
    def of_subreddits(cls) -> NameTable:
        """For subreddits: up to 50 characters, `.` and `:` among them."""
        return cls(50, _SUBREDDIT_BYTES, b"")

    def clear(self) -> None:
        """Forget all names; codes begin at 0 again."""
        self.count = 0
        self.offsets = np.zeros(1 << 12, np.int64)
        self.arena = np.empty(len(self.offsets) * self._max_chars, np.uint8)
        self.hashes = np.empty(len(self.offsets), np.uint64)
        self._slots = np.full(2 * len(self.offsets), NO_NAME, np.int32)

    def with_room_for(self, num_new: int) -> tuple[Any, ...]:
        """The arrays that `name_codes` takes, with room for so many more names."""
        needed = self.count + num_new + 2
        if needed > len(self.offsets):
            size = 1 << (needed - 1).bit_length()
            self.offsets = _grown(self.offsets, size)
            self.arena = _grown(self.arena, size * self._max_chars)
            self.hashes = _grown(self.hashes, size)
            self._slots = np.full(2 * size, NO_NAME, np.int32)
            _fill_slots(self._slots, self.hashes, self.count)
        kinds = (self._allowed, self._absent, self._max_chars)
        return *kinds, self._slots, self.hashes, self.arena, self.offsets

    def names(self, first: int = 0) -> pl.Series:
        """The names from code `first` on, in lower case."""
        begin, end = self.offsets[first], self.offsets[self.count]
        offsets = self.offsets[first : self.count + 1] - begin
        data = self.arena[begin:end].copy()
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pl.Series(pa.Array.from_buffers(pa.large_string(), self.count - first, buffers))


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    larger = np.empty(size, array.dtype)
    larger[: len(array)] = array
    return larger
