"""All that is wrong in dumps: one object -> its line, or lines, and what must become of each.

Kinds of mess come at fixed periods, a kind once early in every file, so that even a small world
has them all. Most are companions: lines of their own beside an untouched one, with an id between
the ids of the world's submissions and comments; so they do not change what was planted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

from orchestration.sample.lines import Fields
from orchestration.sample.tastes import Subreddit

LONE_SURROGATE = "\ue000"  # Stands for \ud83d, which no encoder writes alone.
BOTS = ("AutoModerator", "AutoModerator", "sum_it_up_bot", "unitfixer-bot", "HaikuCountBot")
SPAMMER = "CheapLenzDeals24"
ADVERTISER = "BrixolMattress"


class Rule(StrEnum):
    """Why ingest must leave out a line that it can read."""

    DELETED_AUTHOR = "deleted_author"
    REMOVED_CONTENT = "removed_content"
    DELETION_SIGNAL = "deletion_signal"
    OVER_18 = "over_18"
    BOT = "bot"
    PROFILE_SUBREDDIT = "profile_subreddit"
    MISSING_SUBREDDIT = "missing_subreddit"
    DUPLICATE_ID = "duplicate_id"


class Mess(StrEnum):
    """One kind of mess; the value is the name in the truth."""

    PLAIN = "plain"
    DELETED_AUTHOR = "deleted_author"
    REMOVED = "removed"
    DELETION_SIGNAL = "deletion_signal"
    OVER_18 = "over_18"
    BOT = "bot"
    PROFILE = "profile_subreddit"
    PROMOTED = "promoted"
    SPAM = "spam"
    GALLERY_NULL = "gallery_null"
    INJECTION = "injection"
    DUPLICATE = "duplicate"
    DELETED_LATER = "deleted_later"
    MENTION = "mention"
    EDITED_INT = "edited_int"
    EDITED_FLOAT = "edited_float"
    EDITED_TRUE = "edited_true"
    CREATED_STRING = "created_string"
    SCORE_NULL = "score_null"
    NUL_ESCAPE = "nul_escape"
    LONE_SURROGATE = "lone_surrogate"
    TRUNCATED = "truncated_json"
    BINARY = "binary_junk"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_ID = "missing_id"


REJECTED = (Mess.TRUNCATED, Mess.BINARY, Mess.NOT_AN_OBJECT, Mess.MISSING_ID)

# One line in so many, by the shares of 2019 where they are known (see the notes on dumps).
SUBMISSION_PERIODS: Mapping[Mess, int] = {
    Mess.DELETED_AUTHOR: 7,
    Mess.REMOVED: 17,
    Mess.DELETION_SIGNAL: 37,
    Mess.OVER_18: 8,
    Mess.BOT: 31,
    Mess.PROFILE: 41,
    Mess.PROMOTED: 131,
    Mess.SPAM: 61,
    Mess.GALLERY_NULL: 97,
    Mess.DUPLICATE: 83,
    Mess.DELETED_LATER: 211,
    Mess.MENTION: 109,
    Mess.EDITED_INT: 29,
    Mess.EDITED_FLOAT: 401,
    Mess.EDITED_TRUE: 397,
    Mess.CREATED_STRING: 311,
    Mess.SCORE_NULL: 367,
    Mess.NUL_ESCAPE: 499,
    Mess.LONE_SURROGATE: 503,
    Mess.TRUNCATED: 251,
    Mess.BINARY: 509,
    Mess.NOT_AN_OBJECT: 601,
    Mess.MISSING_ID: 607,
}
COMMENT_PERIODS: Mapping[Mess, int] = {
    Mess.DELETED_AUTHOR: 14,
    Mess.REMOVED: 43,
    Mess.BOT: 29,
    Mess.PROFILE: 199,
    Mess.SPAM: 211,
    Mess.INJECTION: 409,
    Mess.DUPLICATE: 127,
    Mess.DELETED_LATER: 419,
    Mess.MENTION: 67,
    Mess.EDITED_INT: 37,
    Mess.EDITED_FLOAT: 907,
    Mess.EDITED_TRUE: 887,
    Mess.CREATED_STRING: 701,
    Mess.SCORE_NULL: 1201,
    Mess.NUL_ESCAPE: 1501,
    Mess.LONE_SURROGATE: 1499,
    Mess.TRUNCATED: 691,
    Mess.BINARY: 1511,
    Mess.NOT_AN_OBJECT: 2003,
    Mess.MISSING_ID: 1997,
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a dump.

    Args:
        data: Without the line break.
        kind: What was done to it.
        dropped: The rule that must leave it out; None if it must be kept or cannot be read.
    """

    data: bytes
    kind: Mess
    dropped: Rule | None = None

    @property
    def fate(self) -> str:
        """`kept`, `rejected` or `dropped`."""
        if self.dropped is not None:
            return "dropped"
        return "rejected" if self.kind in REJECTED else "kept"

    @property
    def reason(self) -> str:
        """The rule that leaves it out, or the kind of defect that rejects it; empty if kept."""
        if self.dropped is not None:
            return self.dropped.value
        return self.kind.value if self.kind in REJECTED else ""


@dataclass(frozen=True, slots=True)
class Around:
    """What the mess around a line is made of.

    Args:
        subreddit: Of the line.
        other: Name of another user.
        rng: Decides details.
    """

    subreddit: Subreddit
    other: str
    rng: random.Random


def due(row: int, periods: Mapping[Mess, int]) -> list[Mess]:
    """Kinds of mess that befall a row of a file, counted from 0."""
    return [kind for n, (kind, period) in enumerate(periods.items()) if row % period == n % period]


def encode(fields: Fields) -> bytes:
    """An object as a line, keys sorted."""
    data = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return data.replace(LONE_SURROGATE.encode(), rb"\ud83d")
