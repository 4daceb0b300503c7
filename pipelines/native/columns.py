"""Lines of JSON -> typed columns, in one pass: values are read while their line is in the cache.

The counterpart of `pipelines.columns` for lines beyond doubt. A line whose values are not of the
usual kinds is marked odd: what it holds is decided there, in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.columns import INT32, MAX_UTC, MIN_UTC
from pipelines.native.names import NameTable, name_codes
from pipelines.native.scan import (
    ABSENT,
    ESCAPED,
    FALSE,
    FLOAT,
    INT,
    NULL,
    TEXT,
    TRUE,
    Keys,
    Spans,
    borrowing,
    kernel,
    members,
    room_for_expected,
    scan,
)
from pipelines.native.simd import byte_at

Odd = npt.NDArray[np.bool_]

# How a field is read. TEXT stays where it is: its column says if it may stand for a removed one.
SKIP, ID, TIME, EDITED, NUMBER, FLAG, LINK, TEXT_FIELD, AUTHOR, SUBREDDIT, META = range(11)
REQUIRED = 16

_BASE36_CHARS = 12  # 36^12 < 2^63; the 13th digit is for the slow way
# Lines read together: half a megabyte, which stays in a core's cache.
_BLOCK_LINES = 128
_META_KEYS = ("was_deleted_later", "retrieved_2nd_on")
_META_READ = np.array([FLAG, TIME], np.int64)


@kernel
def _base36(base, i, end):
    """The number that the digits write in base 36; -1 where they are none, or too many."""
    if end - i < 1 or end - i > _BASE36_CHARS:
        return -1
    value = 0
    while i < end:
        c = np.int64(byte_at(base + i))
        if 48 <= c <= 57:
            value = value * 36 + c - 48
        elif 97 <= c <= 122:
            value = value * 36 + c - 87
        else:
            return -1
        i += 1
    return value


@kernel
def _link(base, i, end):
    """The number behind t3_; -1 where it is none."""
    if end - i < 4:
        return -1
    if byte_at(base + i) != 116 or byte_at(base + i + 1) != 51 or byte_at(base + i + 2) != 95:
        return -1
    return _base36(base, i + 3, end)


@kernel
def _decimal(base, i, end):
    """The number that decimal digits write, sign and what follows a point cut off."""
    is_negative = byte_at(base + i) == 45
    if is_negative:
        i += 1
    value = 0
    while i < end:
        c = np.int64(byte_at(base + i))
        if c < 48 or c > 57:
            break
        value = value * 10 + c - 48
        i += 1
    return -value if is_negative else value


@kernel
def _is_digits(base, i, end):
    if end - i < 1 or end - i > 18:
        return False
    while i < end:
        c = byte_at(base + i)
        if c < 48 or c > 57:
            return False
        i += 1
    return True


@kernel
def _value(base, start, end, kind, read):
    """The value, if there is one, and if it is odd."""
    is_absent = kind == ABSENT or kind == NULL
    if read == TEXT_FIELD:
        if kind != TEXT and kind != ESCAPED:
            return 0, False, not is_absent
        c = byte_at(base + start) if start < end else np.uint8(0)
        may_be_gone = start < end and (c <= 32 or c == 91 or c == 92 or c >= 0x80)
        return np.int64(may_be_gone), True, False
    if read == FLAG:
        return np.int64(kind == TRUE), True, not (is_absent or kind == TRUE or kind == FALSE)
    if read == EDITED:
        if kind == FALSE:
            return 0, False, False
        if kind == TRUE:
            return 0, True, False
    if is_absent:
        return 0, False, False
    if read == TIME or read == EDITED:
        if kind == INT or kind == FLOAT or (kind == TEXT and _is_digits(base, start, end)):
            value = _decimal(base, start, end)
            return value, True, not MIN_UTC <= value < MAX_UTC
        return 0, True, True
    if read == NUMBER:
        if kind != INT:
            return 0, True, True
        value = _decimal(base, start, end)
        return value, True, not -INT32 <= value < INT32
    if kind != TEXT:
        return 0, True, True
    value = _base36(base, start, end) if read == ID else _link(base, start, end)
    return value, True, value < 0


@borrowing
def _column(base, starts, ends, kinds, read, odd, values, valid):
    is_required = read >= REQUIRED
    how = read & (REQUIRED - 1)
    for row in range(starts.shape[0]):
        if odd[row]:
            continue
        value, is_valid, is_odd = _value(base, starts[row], ends[row], kinds[row], how)
        odd[row] = is_odd or (is_required and not is_valid)
        values[row], valid[row] = value, is_valid


@kernel
def _meta(base, n, starts, kinds, keys, slots, reads, odd, values, valid, none):
    """The columns of what lies in `_meta`; what lies in no object is absent."""
    shape = (starts.shape[0], reads.shape[0])
    spans = (np.empty(shape, np.int32), np.empty(shape, np.int32))
    inner = np.zeros(shape, np.uint8)
    members(base, n, keys, slots, starts, kinds, odd, *spans, inner, none)
    is_odd = np.zeros(starts.shape[0], np.bool_)
    for f in range(reads.shape[0]):
        is_odd[:] = odd
        _column(
            base, spans[0][:, f], spans[1][:, f], inner[:, f], reads[f], is_odd, values[f], valid[f]
        )
        if reads[f] == FLAG:  # anything but true is no deletion
            continue
        odd |= is_odd


@kernel
def _read(
    base,
    n,
    i,
    keys,
    meta_keys,
    reads,
    meta_reads,
    lines,
    spans,
    kinds,
    values,
    valid,
    odd,
    authors,
    subreddits,
    counts,
    expected,
    none,
):
    """Reads lines from i on until the arrays are full; how many, how many with CR LF, next i."""
    num_lines, num_crlf, num_expected = 0, 0, -1
    num_fields = reads.shape[0]
    while i < n and num_lines < lines.shape[0]:
        a, b = num_lines, min(num_lines + _BLOCK_LINES, lines.shape[0])
        block = (lines[a:b], spans[0][a:b], spans[1][a:b], kinds[a:b])
        size, crlf, i, num_expected = scan(base, n, i, *keys, *block, expected, num_expected)
        b = a + size
        odd[a:b] = lines[a:b, 2] != 0
        for f in range(num_fields):
            read = reads[f]
            at, to, of = spans[0][a:b, f], spans[1][a:b, f], kinds[a:b, f]
            if read == AUTHOR:
                name_codes(base, at, to, of, authors, counts[0:1], odd[a:b], values[f, a:b])
            elif read == SUBREDDIT:
                name_codes(base, at, to, of, subreddits, counts[1:2], odd[a:b], values[f, a:b])
            elif read == META:
                _meta(
                    base,
                    n,
                    at,
                    of,
                    *meta_keys,
                    meta_reads,
                    odd[a:b],
                    values[num_fields:, a:b],
                    valid[num_fields:, a:b],
                    none,
                )
            elif read != SKIP:
                _column(base, at, to, of, read, odd[a:b], values[f, a:b], valid[f, a:b])
        num_lines, num_crlf = b, num_crlf + crlf
    return num_lines, num_crlf, i


@dataclass(frozen=True)
class Column:
    """Values of a field, and which of them there are.

    Args:
        values: int64; for texts, whether one may stand for a removed one; for names, their codes.
        is_valid: bool.
    """

    values: npt.NDArray[np.int64]
    is_valid: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.intp]) -> Column:
        """Of these rows only."""
        return Column(self.values[rows], self.is_valid[rows])

    def to_series(self, dtype: pl.DataType) -> pl.Series:
        """As a column, null where there is no value."""
        known = pl.Series(self.values).cast(dtype)
        return known if self.is_valid.all() else known.set(pl.Series(~self.is_valid), None)


class Recipe:
    """Which fields are read, and how.

    Args:
        fields: Key -> one of the ways above, plus REQUIRED where absence is odd.
    """

    def __init__(self, fields: Mapping[str, int]) -> None:
        self.keys = Keys.of(list(fields))
        self.meta_keys = Keys.of(_META_KEYS)
        self.reads = np.array(list(fields.values()), np.int64)


@dataclass(frozen=True)
class Lines:
    """What some lines hold.

    Args:
        spans: Where their values lie.
        columns: The fields that are read, those in `_meta` among them.
        is_odd: bool, lines that the slow way must read.
    """

    spans: Spans
    columns: Mapping[str, Column]
    is_odd: Odd


def read_lines(
    buffer: npt.NDArray[np.uint8],
    position: int,
    max_lines: int,
    recipe: Recipe,
    authors: NameTable,
    subreddits: NameTable,
) -> Lines:
    """The lines of a buffer from `position` on, at most `max_lines`."""
    lines = np.empty((max_lines, 3), np.int32)
    shape = (max_lines, len(recipe.reads))
    spans = (np.empty(shape, np.int32), np.empty(shape, np.int32))
    kinds = np.empty(shape, np.uint8)
    names = (*recipe.keys.names, *_META_KEYS)
    values = np.zeros((len(names), max_lines), np.int64)
    valid = np.zeros((len(names), max_lines), np.bool_)
    odd = np.empty(max_lines, np.bool_)
    num_names = min(max_lines, buffer.size // 2 + 1)
    tables = (authors.with_room_for(num_names), subreddits.with_room_for(num_names))
    counts = np.array([authors.count, subreddits.count], np.int64)
    num_lines, num_crlf, position = _read(
        buffer.ctypes.data,
        buffer.size,
        position,
        (recipe.keys.words, recipe.keys.slots),
        (recipe.meta_keys.words, recipe.meta_keys.slots),
        recipe.reads,
        _META_READ,
        lines,
        spans,
        kinds,
        values,
        valid,
        odd,
        *tables,
        counts,
        room_for_expected(),
        room_for_expected(1),
    )
    authors.count, subreddits.count = counts.tolist()
    found = Spans(
        buffer,
        recipe.keys,
        lines[:num_lines, 0],
        lines[:num_lines, 1],
        spans[0][:num_lines],
        spans[1][:num_lines],
        kinds[:num_lines],
        num_crlf,
        position,
    )
    columns = {
        name: Column(values[f, :num_lines], valid[f, :num_lines]) for f, name in enumerate(names)
    }
    return Lines(found, columns, odd[:num_lines])
