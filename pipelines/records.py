"""Lines of a dump, of any era -> typed columns, and the lines that could not be read.

JSON is parsed line by line, types are read column by column (`pipelines.columns`). What is
unreadable is rejected with one `Reason`: the first, in the order of the columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
import polars as pl

from pipelines.columns import (
    Reader,
    read_author,
    read_edited,
    read_flag,
    read_id,
    read_number,
    read_optional_text,
    read_optional_time,
    read_submission_name,
    read_subreddit,
    read_text,
    read_time,
)
from pipelines.media import MEDIA_KEYS


class Reason(StrEnum):
    """Why a line could not be read."""

    BAD_UTF8 = "bad_utf8"
    BAD_JSON = "bad_json"
    NOT_OBJECT = "not_object"
    BAD_ID = "bad_id"
    BAD_TIME = "bad_time"
    BAD_TEXT = "bad_text"
    BAD_AUTHOR = "bad_author"
    BAD_SUBREDDIT = "bad_subreddit"
    BAD_NUMBER = "bad_number"
    BAD_FLAG = "bad_flag"
    BAD_LINK = "bad_link"
    CUT_LINE = "cut_line"  # where the dump is cut or damaged


NO_OBJECT = [str(reason) for reason in (Reason.BAD_UTF8, Reason.BAD_JSON, Reason.NOT_OBJECT)]
"""What a part of a line is: the beginning or the end of an object is none."""


@dataclass(frozen=True)
class Field:
    """A key of the dumps' objects and the column that it becomes."""

    key: str
    read: Reader
    reason: Reason


_COMMON = (
    Field("id", read_id, Reason.BAD_ID),
    Field("created_utc", read_time, Reason.BAD_TIME),
    Field("retrieved_on", read_optional_time, Reason.BAD_TIME),
    Field("retrieved_utc", read_optional_time, Reason.BAD_TIME),
    Field("edited", read_edited, Reason.BAD_TIME),
    Field("author", read_author, Reason.BAD_AUTHOR),
    Field("subreddit", read_subreddit, Reason.BAD_SUBREDDIT),
    Field("score", read_number, Reason.BAD_NUMBER),
)
SUBMISSION_FIELDS = (
    *_COMMON,
    Field("title", read_text, Reason.BAD_TEXT),
    Field("selftext", read_optional_text, Reason.BAD_TEXT),
    Field("url", read_optional_text, Reason.BAD_TEXT),
    Field("num_comments", read_number, Reason.BAD_NUMBER),
    Field("over_18", read_flag, Reason.BAD_FLAG),
    Field("removed_by_category", read_optional_text, Reason.BAD_TEXT),
    Field("crosspost_parent", read_submission_name, Reason.BAD_LINK),
)
COMMENT_FIELDS = (
    *_COMMON,
    Field("body", read_text, Reason.BAD_TEXT),
    Field("link_id", read_submission_name, Reason.BAD_LINK),
)

# Escapes in JSON text, pairs of surrogates before lone ones: the latter stand for no character.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_NO_META: dict[str, Any] = {}


@dataclass(frozen=True)
class Records:
    """What a batch of lines held.

    Args:
        frame: One row a readable line: the columns of its kind's fields, `line_number` (int64),
            and `was_deleted_later` (bool).
        shown: For each row of a submission, the fields that `media.images_of` reads; else empty.
        rejects: (line number, reason, bytes) of each line that could not be read.
        num_lines: Lines that are not blank: rows of `frame` and rejects.
        num_blank: Lines of white space.
        num_crlf: Lines that end in CR LF.
    """

    frame: pl.DataFrame
    shown: Sequence[dict[str, Any]]
    rejects: Sequence[tuple[int, Reason, int]]
    num_lines: int
    num_blank: int
    num_crlf: int


def parse_submissions(data: bytes, first_line: int = 1) -> Records:
    """Lines of an RS dump -> columns of `SUBMISSION_FIELDS`."""
    return _parse(data, first_line, SUBMISSION_FIELDS, MEDIA_KEYS)


def parse_comments(data: bytes, first_line: int = 1) -> Records:
    """Lines of an RC dump -> columns of `COMMENT_FIELDS`."""
    return _parse(data, first_line, COMMENT_FIELDS, ())


def _parse(
    data: bytes, first_line: int, fields: Sequence[Field], kept_keys: tuple[str, ...]
) -> Records:
    keys = (*(field.key for field in fields), "_meta")
    # One flat list in place of a list a line: the garbage collector would visit each of those.
    values: list[Any] = []
    numbers: list[int] = []
    sizes: list[int] = []
    shown: list[dict[str, Any]] = []
    rejects: list[tuple[int, Reason, int]] = []
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    num_blank = 0
    for number, line in enumerate(lines, first_line):
        value = _loads(line)
        if type(value) is not dict:
            if value is None and not line.strip():
                num_blank += 1
            else:
                reason = value if type(value) is Reason else Reason.NOT_OBJECT
                rejects.append((number, reason, len(line)))
            continue
        get = value.get
        values += [get(key) for key in keys]
        numbers.append(number)
        sizes.append(len(line))
        if kept_keys:
            shown.append({key: value[key] for key in kept_keys if key in value})
    frame, bad = _typed([values[i :: len(keys)] for i in range(len(keys))], fields)
    frame = frame.with_columns(line_number=pl.Series(numbers, dtype=pl.Int64()))
    if bad:
        rejects += [(numbers[i], reason, sizes[i]) for i, reason in bad.items()]
        rejects.sort()
        frame = frame.filter(pl.Series([i not in bad for i in range(len(numbers))]))
        shown = [kept for i, kept in enumerate(shown) if i not in bad]
    num_crlf = data.count(b"\r\n") if b"\r" in data else 0
    return Records(frame, shown, rejects, len(lines) - num_blank, num_blank, num_crlf)


def _loads(line: bytes) -> Any:
    """The JSON value of a line, the reason why it has none, or None for a blank line."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return _loads_slowly(line) if line.strip() else None


def _loads_slowly(line: bytes) -> Any:
    """As `_loads`, for lines that orjson refuses: lone surrogates become U+FFFD."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return Reason.BAD_UTF8
    mended = _ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], line)
    try:
        return orjson.loads(mended)
    except orjson.JSONDecodeError:
        return Reason.BAD_JSON


def _typed(
    columns: Sequence[Sequence[Any]], fields: Sequence[Field]
) -> tuple[pl.DataFrame, dict[int, Reason]]:
    """Columns of the fields, and for each position with unreadable values the first reason.

    Args:
        columns: Values by field; then those of `_meta`.
        fields: How to read them.
    """
    bad: dict[int, Reason] = {}
    series: dict[str, pl.Series] = {}
    for field, values in zip(fields, columns, strict=False):
        series[field.key], wrong = field.read(values)
        for position in wrong:
            bad.setdefault(position, field.reason)
    metas = [meta if type(meta) is dict else _NO_META for meta in columns[-1]]
    deleted = [meta.get("was_deleted_later") is True for meta in metas]
    series["was_deleted_later"] = pl.Series(deleted, dtype=pl.Boolean())
    series["retrieved_2nd_on"], wrong = read_optional_time(
        [m.get("retrieved_2nd_on") for m in metas]
    )
    for position in wrong:
        bad.setdefault(position, Reason.BAD_TIME)
    return pl.DataFrame(series), bad
