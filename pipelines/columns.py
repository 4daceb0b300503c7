"""Values of one JSON key over many lines -> one typed column, and which values are unreadable.

Every reader looks once at the types of all values. If they are the usual ones the column is built
as a whole; if not, value by value. None stands for null and for absence alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

# Reddit's first submission is of 2005-06; the other end only has to tell seconds from milliseconds.
MIN_UTC = 1_104_537_600  # 2005-01-01
MAX_UTC = 4_102_444_800  # 2100-01-01
INT32 = 2**31 - 1

# A name, or one of the forms of [deleted].
AUTHOR_PATTERN = r"^(?:[A-Za-z0-9_-]{1,30}|\\?\[[A-Za-z ]{1,40}\\?\])$"
SUBREDDIT_PATTERN = r"^[A-Za-z0-9_.:-]{1,50}$"
_BASE36_PATTERN = r"^[0-9a-z]{1,13}$"
_BASE36 = re.compile(r"[0-9a-z]{1,13}")
_DECIMAL = re.compile(r"[0-9]{1,19}")

Column = tuple[pl.Series, Sequence[int]]
"""Values, null where absent or unreadable, and the positions of the unreadable ones."""
Reader = Callable[[Sequence[Any]], Column]

_STR = frozenset({str})
_STR_OR_NONE = frozenset({str, type(None)})
_BOOL = frozenset({bool})


class _Bad:
    """Stands for a value that cannot be read."""


_BAD = _Bad()


def _converted(values: Sequence[Any], convert: Callable[[Any], Any], dtype: pl.DataType) -> Column:
    found = [convert(value) for value in values]
    wrong = [i for i, value in enumerate(found) if value is _BAD]
    for i in wrong:
        found[i] = None
    return pl.Series(found, dtype=dtype), wrong


def read_text(values: Sequence[Any]) -> Column:
    """Strings; absence is unreadable."""
    if _STR.issuperset(map(type, values)):
        return pl.Series(values, dtype=pl.String()), ()
    return _converted(values, lambda v: v if type(v) is str else _BAD, pl.String())


def read_optional_text(values: Sequence[Any]) -> Column:
    """Strings or null."""
    if _STR_OR_NONE.issuperset(map(type, values)):
        return pl.Series(values, dtype=pl.String()), ()
    return _converted(values, lambda v: v if type(v) in _STR_OR_NONE else _BAD, pl.String())


def read_author(values: Sequence[Any]) -> Column:
    """Author names, forms of [deleted] among them, or null; empty names are null."""
    return _matching(values, AUTHOR_PATTERN)


def read_subreddit(values: Sequence[Any]) -> Column:
    """Subreddit names or null; empty names are null."""
    return _matching(values, SUBREDDIT_PATTERN)


def _matching(values: Sequence[Any], pattern: str) -> Column:
    texts, wrong = read_optional_text(values)
    texts = texts.replace("", None)
    return texts, [*wrong, *(~texts.str.contains(pattern)).arg_true().to_list()]


def read_id(values: Sequence[Any]) -> Column:
    """Base-36 ids without prefix -> uint64."""
    texts, wrong = read_text(values)
    ids = _numbers(texts)
    return ids, [*wrong, *(ids.is_null() & texts.is_not_null()).arg_true().to_list()]


def read_submission_name(values: Sequence[Any]) -> Column:
    """`t3_` and a base-36 id, the id as a number (some recorders wrote that), or null -> uint64."""
    if not _STR_OR_NONE.issuperset(map(type, values)):
        return _converted(values, _submission_number, pl.UInt64())
    texts = pl.Series(values, dtype=pl.String())
    ids = _numbers(texts.str.strip_prefix("t3_").set(~texts.str.starts_with("t3_"), None))
    return ids, (ids.is_null() & texts.is_not_null()).arg_true().to_list()


def _numbers(texts: pl.Series) -> pl.Series:
    """Numbers that the texts write in base 36, null for other texts and for more than 64 bits."""
    clean = texts.set(~texts.str.contains(_BASE36_PATTERN), None)
    return clean.str.to_integer(base=36, dtype=pl.UInt64, strict=False)


def _submission_number(value: object) -> int | _Bad | None:
    if value is None:
        return None
    if type(value) is str:
        prefix, bare = value[:3], value[3:]
        number = int(bare, 36) if prefix == "t3_" and _BASE36.fullmatch(bare) else -1
    else:
        number = value if type(value) is int else -1
    return number if 0 <= number < 2**64 else _BAD


def read_time(values: Sequence[Any]) -> Column:
    """Epoch seconds as int, float or decimal string -> int64; absence is unreadable."""
    if {int}.issuperset(map(type, values)) and _within(values, MIN_UTC, MAX_UTC):
        return pl.Series(values, dtype=pl.Int64()), ()
    return _converted(values, lambda v: _BAD if v is None else _seconds(v), pl.Int64())


def read_optional_time(values: Sequence[Any]) -> Column:
    """As `read_time`, or null."""
    known = [value for value in values if value is not None]
    if {int}.issuperset(map(type, known)) and _within(known, MIN_UTC, MAX_UTC):
        return pl.Series(values, dtype=pl.Int64()), ()
    return _converted(values, _seconds, pl.Int64())


def read_edited(values: Sequence[Any]) -> Column:
    """False or absent -> null; true -> 0, time unknown; else as `read_time`."""
    if _BOOL.issuperset(map(type, values)) and True not in values:
        return pl.Series([None] * len(values), dtype=pl.Int64()), ()
    return _converted(values, _edited, pl.Int64())


def _edited(value: object) -> int | _Bad | None:
    if type(value) is bool:
        return 0 if value else None
    return _seconds(value)


def _seconds(value: object) -> int | _Bad | None:
    if value is None:
        return None
    if type(value) is str:
        value = int(value) if _DECIMAL.fullmatch(value) else None
    elif type(value) is float:
        value = int(value) if math.isfinite(value) else None
    return value if type(value) is int and MIN_UTC <= value < MAX_UTC else _BAD


def read_number(values: Sequence[Any]) -> Column:
    """Whole numbers, or null -> int32."""
    known = [value for value in values if value is not None]
    if {int}.issuperset(map(type, known)) and _within(known, -INT32, INT32):
        return pl.Series(values, dtype=pl.Int32()), ()
    return _converted(values, _whole, pl.Int32())


def _whole(value: object) -> int | _Bad | None:
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and -INT32 <= value < INT32 else _BAD


def read_flag(values: Sequence[Any]) -> Column:
    """Booleans; absence is False."""
    if _BOOL.issuperset(map(type, values)):
        return pl.Series(values, dtype=pl.Boolean()), ()
    return _converted(values, _flag, pl.Boolean())


def _flag(value: object) -> bool | _Bad:
    if value is None:
        return False
    return value if type(value) is bool else _BAD


def _within(values: Sequence[int], low: int, high: int) -> bool:
    return not values or (low <= min(values) and max(values) < high)
