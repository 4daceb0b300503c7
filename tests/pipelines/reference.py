"""Stage 1 in plain Python, slow and line by line, written from the notes on dumps.

It shares no code with `pipelines`: where the two agree, both read the notes in the same way.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

RawRow = dict[str, Any]

# Bots in the samples whose name does not say so.
QUIET_BOTS = ("automoderator", "imagesofnetwork", "totesmessenger")

# Values nested in each other, at most; between Python's usual limit and this one, tests try none.
MAX_DEPTH = 1024


class UnreadableError(Exception):
    """The line is rejected; the argument is the reason."""


@dataclass
class Outcome:
    """What became of the lines of one month, and the rows by id."""

    rows_in: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    submissions: dict[int, RawRow] = field(default_factory=dict)
    comments: dict[int, RawRow] = field(default_factory=dict)


def ingest_all(dumps: Iterable[tuple[str, Iterable[bytes]]], key: bytes) -> Outcome:
    """Lines of all dumps of a month, (kind, lines), in the order of the dumps."""
    outcome = Outcome()
    versions: dict[tuple[str, int], list[tuple[tuple[int, int, int], RawRow | None]]] = {}
    order = 0
    for kind, lines in dumps:
        for line in lines:
            if not line.strip():
                continue
            outcome.rows_in += 1
            order += 1
            try:
                read = read_line(line, kind)
            except UnreadableError as reason:
                outcome.rejected[str(reason)] += 1
                continue
            rule = rule_of(read, kind)
            if rule is not None:
                outcome.dropped[rule] += 1
            row = None if rule else row_of(read, kind, key)
            # Latest retrieval, then the dropped one, then the first.
            rank = (read["retrieved"] or 0, int(row is None), -order)
            versions.setdefault((kind, read["id"]), []).append((rank, row))
    for (kind, number), found in versions.items():
        _, winner = max(found, key=lambda version: version[0])
        kept = sum(row is not None for _, row in found)
        outcome.dropped["duplicate_id"] += kept - (winner is not None)
        if winner is not None:
            (outcome.submissions if kind == "RS" else outcome.comments)[number] = winner
    outcome.dropped = +outcome.dropped
    return outcome


def nested_deeper_than(depth: int, text: str) -> bool:
    """Whether more values than that are nested in each other; Python's own limit is not fixed."""
    if text.count("[") + text.count("{") <= depth:
        return False
    brackets = re.findall(r"[][{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text))
    return max(accumulate(1 if c in "[{" else -1 for c in brackets), default=0) > depth


def read_line(line: bytes, kind: str) -> RawRow:
    """The fields of a line that matter, with their types settled."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError("bad_utf8") from error
    if nested_deeper_than(MAX_DEPTH, text):
        raise UnreadableError("bad_json")
    try:
        raw = json.loads(
            text, parse_constant=_no_constant, parse_float=_finite, parse_int=_finite_whole
        )
    except ValueError as error:
        raise UnreadableError("bad_json") from error
    if not isinstance(raw, dict):
        raise UnreadableError("not_object")
    meta = raw.get("_meta") if isinstance(raw.get("_meta"), dict) else {}
    assert isinstance(meta, dict)
    row: RawRow = {
        "id": number36(raw.get("id")),
        "created_utc": seconds(raw.get("created_utc"), required=True),
        "seen": [seconds(raw.get(k)) for k in ("retrieved_on", "retrieved_utc")],
        "edited_utc": edited(raw.get("edited")),
        "author": name(
            raw.get("author"), r"[A-Za-z0-9_-]{1,30}|\\?\[[A-Za-z ]+\\?\]", "bad_author"
        ),
        "subreddit": name(raw.get("subreddit"), r"[A-Za-z0-9_.:-]{1,50}", "bad_subreddit"),
        "score": whole(raw.get("score")),
    }
    if kind == "RS":
        row["title"] = string(raw.get("title"), required=True)
        row["selftext"] = string(raw.get("selftext")) or ""
        row["url"] = string(raw.get("url"))
        row["num_comments"] = whole(raw.get("num_comments"))
        row["over_18"] = flag(raw.get("over_18"))
        row["removed_by_category"] = string(raw.get("removed_by_category"))
        row["crosspost_parent"] = fullname(raw.get("crosspost_parent"))
    else:
        row["body"] = string(raw.get("body"), required=True)
        row["submission_id"] = fullname(raw.get("link_id"))
    row["deleted_later"] = meta.get("was_deleted_later") is True
    row["seen"].append(seconds(meta.get("retrieved_2nd_on")))
    row["retrieved"] = max((s for s in row["seen"] if s is not None), default=None)
    return row


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _finite(text: str) -> float:
    """A number beyond double precision is none."""
    if math.isinf(float(text)):
        raise ValueError(text)
    return float(text)


def _finite_whole(text: str) -> int:
    _finite(text)
    return int(text)


def number36(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch("[0-9a-z]{1,13}", value) and int(value, 36) < 2**64:
        return int(value, 36)
    raise UnreadableError("bad_id")


def fullname(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    if isinstance(value, str) and re.fullmatch("t3_[0-9a-z]{1,13}", value):
        return number36(value[3:])
    raise UnreadableError("bad_link")


def seconds(value: Any, required: bool = False) -> int | None:
    if value is None and not required:
        return None
    if isinstance(value, str) and re.fullmatch("[0-9]+", value):
        value = int(value)
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1104537600 <= value < 4102444800:
        return value
    raise UnreadableError("bad_time")


def edited(value: Any) -> int | None:
    return (0 if value else None) if isinstance(value, bool) else seconds(value)


def whole(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value == int(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31 - 1:
        return value
    raise UnreadableError("bad_number")


def flag(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise UnreadableError("bad_flag")


def string(value: Any, required: bool = False) -> str | None:
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if value is None and not required:
        return None
    raise UnreadableError("bad_text")


def name(value: Any, pattern: str, reason: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and re.fullmatch(pattern, value):
        return value
    raise UnreadableError(reason)


def rule_of(row: RawRow, kind: str) -> str | None:  # noqa: PLR0911 (one return a rule)
    """The first rule that leaves the line out."""
    author, subreddit = row["author"], row["subreddit"]
    texts = [row["title"], row["selftext"]] if kind == "RS" else [row["body"]]
    if author is None or "[" in author:
        return "deleted_author"
    if any(text.replace("\\", "").strip().lower() in ("[removed]", "[deleted]") for text in texts):
        return "removed_content"
    if row["deleted_later"] or row.get("removed_by_category"):
        return "deletion_signal"
    if row.get("over_18"):
        return "over_18"
    says_bot = re.search(r"bot$|bot[-_]\d*$|[-_]bot\d+$|-modteam$", author.lower())
    if says_bot or author.lower() in QUIET_BOTS:
        return "bot"
    if subreddit is not None and (
        subreddit.lower().startswith("u_") or subreddit.lower() == author.lower()
    ):
        return "profile_subreddit"
    return "missing_subreddit" if subreddit is None else None


def row_of(read: RawRow, kind: str, key: bytes) -> RawRow:
    """The row of the table, without images."""
    digest = hashlib.blake2b(read["author"].lower().encode(), digest_size=10, key=key).digest()
    kept = ("created_utc", "edited_utc", "score")
    row = {column: read[column] for column in kept}
    row["retrieved_utc"] = read["retrieved"]
    row["user_id"] = base64.b32encode(digest).decode().lower()[:16]
    row["subreddit"] = read["subreddit"].lower()
    texts = ("title", "selftext") if kind == "RS" else ("body",)
    row |= {column: clean(read[column], read["created_utc"], read["author"]) for column in texts}
    if kind == "RC":
        return row | {"comment_id": read["id"], "submission_id": read["submission_id"]}
    row |= {column: read[column] for column in ("num_comments", "over_18", "crosspost_parent")}
    url = (read["url"] or "").replace("&amp;", "&").strip()
    url = "".join(c for c in url if unicodedata.category(c) != "Cc")
    fits = 0 < len(url) <= 4096
    row["url"] = without_name(masked(url), read["author"]) if fits else None
    return row | {"submission_id": read["id"]}


def clean(text: str, created_utc: int, author: str) -> str:
    """Unescaped before 2023-04, printable, names masked, at most 10,000 characters."""
    if created_utc < 1680307200:
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    text = re.sub("&#x200b;", "", text, flags=re.IGNORECASE).replace("&nbsp;", " ")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if _is_shown(c))
    text = masked(text).strip(" \t\n\v\f\r\u00a0\u3000\u2000\u2001\u2002\u2003\u2009\u2028\u2029")
    return without_name(text, author)[:10_000]


def without_name(text: str, author: str) -> str:
    """Without the author's own name as a word."""
    own = re.escape(author.lower())
    words = re.split(r"([A-Za-z0-9_-]+)", text.replace("\\_", "\0_"))
    text = "".join("u/[user]" if re.fullmatch(own, w.lower()) else w for w in words)
    return text.replace("\0_", "\\_")


def _is_shown(character: str) -> bool:
    hidden = (
        "\u00ad\u200b\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
    if character in "\n\t":
        return True
    return unicodedata.category(character) != "Cc" and character not in hidden


def masked(text: str) -> str:
    """`u/name`, `/u/name`, `user/name` and `@name` as `u/[user]`."""
    name_pattern = r"(?:[A-Za-z0-9-]|\\?_)"
    before = r"(?:(?<![\w])/)?(?<![\w])"
    text = re.sub(before + f"(?:u|user)/{name_pattern}+", "u/[user]", text, flags=re.IGNORECASE)
    return re.sub(rf"(?<!\w)@{name_pattern}{{2,}}", "u/[user]", text)


def lines_of(data: bytes) -> Iterator[bytes]:
    """Lines at newlines alone."""
    yield from data.split(b"\n")
