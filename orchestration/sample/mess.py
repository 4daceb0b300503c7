"""All that is wrong in dumps: one object -> its line, or lines, and what must become of each.

Kinds of mess come at fixed periods, a kind once early in every file, so that even a small world
has them all. Most are companions: lines of their own beside an untouched one, with an id between
the ids of the world's submissions and comments; so they do not change what was planted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson

from orchestration.sample import texts
from orchestration.sample.lines import (
    DELETED,
    REMOVED,
    Fields,
    account,
    author_deleted,
    base36,
)
from orchestration.sample.tastes import Subreddit

_LONE_SURROGATE = "\ue000"  # Stands for \ud83d, which no encoder writes alone.
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


def with_mess(fields: Fields, kinds: Sequence[Mess], around: Around) -> Iterator[Line]:
    """The lines that stand in the dump for one object: itself, and its companions.

    Args:
        fields: Submission or comment.
        kinds: What befalls it, see `due`.
        around: What the mess is made of.
    """
    kind = Mess.PLAIN
    changes = [change for change in kinds if change in _CHANGES]
    if changes:
        kind = changes[0]
        fields = _CHANGES[kind](fields, around)
    if Mess.DUPLICATE in kinds:
        yield from _twice(fields, _again(fields, around), None, Mess.DUPLICATE, around)
    else:
        yield Line(encode(fields), kind)
    for position, companion in enumerate((k for k in kinds if k in _COMPANIONS), start=1):
        base = fields | {"id": base36(int(fields["id"], 36) + position)}
        yield from _COMPANIONS[companion](base, around)


def encode(fields: Fields) -> bytes:
    """An object as a line, keys sorted."""
    data = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return data.replace(_LONE_SURROGATE.encode(), rb"\ud83d")


def _is_comment(fields: Fields) -> bool:
    return "body" in fields


def _text_key(fields: Fields) -> str:
    return "body" if _is_comment(fields) else "title"


def _bare(fields: Fields, around: Around) -> Fields:
    """A text line without images, with a text of its own."""
    if _is_comment(fields):
        return fields | {"body": texts.comment(around.subreddit, around.rng)}
    kept = {key: value for key, value in fields.items() if key not in _MEDIA_KEYS}
    url = f"https://www.reddit.com{fields['permalink']}"
    title = texts.title(around.subreddit, around.rng)
    domain = f"self.{around.subreddit.display_name}"
    link: Fields = {
        "is_self": True,
        "url": url,
        "domain": domain,
        "thumbnail": "self",
        "title": title,
    }
    return kept | link | {"selftext": "", "is_video": False, "media": None}


def _as_image(fields: Fields, around: Around) -> Fields:
    """A submission of an image that the archive lacks."""
    if _is_comment(fields):
        return fields
    name = "".join(around.rng.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=13))
    shown: Fields = {
        "is_self": False,
        "domain": "i.redd.it",
        "thumbnail": "image",
        "post_hint": "image",
    }
    return _bare(fields, around) | shown | {"url": f"https://i.redd.it/{name}.jpg"}


def _again(fields: Fields, around: Around) -> Fields:
    """The same line, retrieved weeks later."""
    later = fields["retrieved_on"] + around.rng.randrange(1, 5_000_000)
    score = fields["score"]
    return fields | {"retrieved_on": later, "score": score if score is None else score + 1}


def _twice(
    first: Fields, second: Fields, rule: Rule | None, kind: Mess, around: Around
) -> Iterator[Line]:
    """Two retrievals of one id in either order; the later one, `second`, decides."""
    pair = [Line(encode(first), kind, Rule.DUPLICATE_ID), Line(encode(second), kind, rule)]
    if around.rng.random() < 0.5:
        pair.reverse()
    yield from pair


def _deleted_author(fields: Fields, around: Around) -> Iterator[Line]:
    fields = author_deleted(_bare(fields, around))
    gone = around.rng.random() < 0.5
    if _is_comment(fields) and gone:
        fields["body"] = DELETED
    elif gone:
        fields |= {"selftext": DELETED, "removed_by_category": "deleted"}
    yield Line(encode(fields), Mess.DELETED_AUTHOR, Rule.DELETED_AUTHOR)


def _deleted_later(fields: Fields, around: Around) -> Iterator[Line]:
    """Seen whole first; then its author deleted it: neither may survive."""
    first = _as_image(_bare(fields, around), around)
    later = author_deleted(_again(first, around))
    later |= {"body": DELETED} if _is_comment(fields) else {"removed_by_category": "deleted"}
    yield from _twice(first, later, Rule.DELETED_AUTHOR, Mess.DELETED_LATER, around)


def _removed(fields: Fields, around: Around) -> Iterator[Line]:
    key = "body" if _is_comment(fields) else "selftext"
    yield Line(encode(_bare(fields, around) | {key: REMOVED}), Mess.REMOVED, Rule.REMOVED_CONTENT)


def _deletion_signal(fields: Fields, around: Around) -> Iterator[Line]:
    category = around.rng.choice(("moderator", "reddit", "automod_filtered"))
    fields = _as_image(fields, around) | {"removed_by_category": category}
    yield Line(encode(fields), Mess.DELETION_SIGNAL, Rule.DELETION_SIGNAL)


def _over_18(fields: Fields, around: Around) -> Iterator[Line]:
    marks: Fields = {
        "over_18": True,
        "thumbnail": "nsfw",
        "whitelist_status": "promo_adult_nsfw",
        "wls": 3,
    }
    yield Line(encode(_as_image(fields, around) | marks), Mess.OVER_18, Rule.OVER_18)


def _bot(fields: Fields, around: Around) -> Iterator[Line]:
    name = around.rng.choice(BOTS)
    text: Fields = {_text_key(fields): "I am a bot, and this action was performed automatically."}
    if name == "AutoModerator":
        text["distinguished"] = "moderator"
    yield Line(encode(_bare(fields, around) | account(name) | text), Mess.BOT, Rule.BOT)


def _profile(fields: Fields, around: Around) -> Iterator[Line]:
    name = f"u_{fields['author']}"
    place: Fields = {"subreddit": name, "subreddit_name_prefixed": name.replace("u_", "u/", 1)}
    place |= {"subreddit_type": "user", "subreddit_id": f"t5_{fields['id'][-6:]}"}
    fields = _bare(fields, around) | place
    yield Line(encode(fields), Mess.PROFILE, Rule.PROFILE_SUBREDDIT)


def _promoted(fields: Fields, around: Around) -> Iterator[Line]:
    gone = ("subreddit", "subreddit_id", "subreddit_name_prefixed")
    ad: Fields = {
        "title": "Sleep better from tonight",
        "url": "https://shop.example.com/?c=1&amp;d=2",
    }
    ad |= {"promoted": True, "domain": "shop.example.com", "is_self": False}
    fields = _bare(fields, around) | account(ADVERTISER) | ad
    kept = {key: value for key, value in fields.items() if key not in gone}
    yield Line(encode(kept), Mess.PROMOTED, Rule.MISSING_SUBREDDIT)


def _spam(fields: Fields, around: Around) -> Iterator[Line]:
    link = "https://deals.example.com/lens?aff=7&amp;utm=x"
    text: Fields = {_text_key(fields): "Cheapest lenses on the web, 70% off today!!!"}
    if _is_comment(fields):
        text["body"] += f" {link}"
    else:
        text |= {"url": link, "domain": "deals.example.com", "is_self": False}
    yield Line(encode(_bare(fields, around) | account(SPAMMER) | text), Mess.SPAM)


def _gallery_null(fields: Fields, around: Around) -> Iterator[Line]:
    url = f"https://www.reddit.com/gallery/{fields['id']}"
    gallery: Fields = {"gallery_data": None, "media_metadata": None, "is_gallery": True}
    where: Fields = {"url": url, "domain": "reddit.com", "is_self": False}
    yield Line(encode(_bare(fields, around) | gallery | where), Mess.GALLERY_NULL)


def _injection(fields: Fields, around: Around) -> Iterator[Line]:
    text: Fields = {_text_key(fields): texts.injection(around.rng)}
    yield Line(encode(fields | text), Mess.INJECTION)


def _truncated(fields: Fields, around: Around) -> Iterator[Line]:
    data = encode(fields)
    yield Line(data[: around.rng.randrange(1, len(data))], Mess.TRUNCATED)


def _binary(fields: Fields, around: Around) -> Iterator[Line]:
    junk = bytes(around.rng.choices(range(128, 256), k=around.rng.randrange(40, 400)))
    yield Line(b"\xff\x00" + junk, Mess.BINARY)


def _not_an_object(fields: Fields, around: Around) -> Iterator[Line]:
    data = around.rng.choice((b"null", b"[]", b"17", encode(fields).join((b"[", b"]"))))
    yield Line(data, Mess.NOT_AN_OBJECT)


def _missing_id(fields: Fields, around: Around) -> Iterator[Line]:
    kept = {key: value for key, value in fields.items() if key != "id"}
    yield Line(encode(kept), Mess.MISSING_ID)


def _mentioned(fields: Fields, around: Around) -> Fields:
    key = _text_key(fields)
    return fields | {key: texts.mention(fields[key], around.other, around.rng)}


def _edited(fields: Fields, around: Around) -> int:
    return int(fields["created_utc"]) + around.rng.randrange(60, 90_000)


def _insert(fields: Fields, letter: str) -> Fields:
    key = _text_key(fields)
    middle = len(fields[key]) // 2
    return fields | {key: fields[key][:middle] + letter + fields[key][middle:]}


_MEDIA_KEYS = (
    "crosspost_parent",
    "crosspost_parent_list",
    "gallery_data",
    "is_gallery",
    "media_metadata",
    "post_hint",
    "preview",
)
_CHANGES: Mapping[Mess, Callable[[Fields, Around], Fields]] = {
    Mess.MENTION: _mentioned,
    Mess.EDITED_INT: lambda f, a: f | {"edited": _edited(f, a)},
    Mess.EDITED_FLOAT: lambda f, a: f | {"edited": float(_edited(f, a))},
    Mess.EDITED_TRUE: lambda f, a: f | {"edited": True},
    Mess.CREATED_STRING: lambda f, a: f | {"created_utc": str(f["created_utc"])},
    Mess.SCORE_NULL: lambda f, a: f | {"score": None},
    Mess.NUL_ESCAPE: lambda f, a: _insert(f, "\x00"),
    Mess.LONE_SURROGATE: lambda f, a: _insert(f, _LONE_SURROGATE),
}
_COMPANIONS: Mapping[Mess, Callable[[Fields, Around], Iterator[Line]]] = {
    Mess.DELETED_AUTHOR: _deleted_author,
    Mess.DELETED_LATER: _deleted_later,
    Mess.REMOVED: _removed,
    Mess.DELETION_SIGNAL: _deletion_signal,
    Mess.OVER_18: _over_18,
    Mess.BOT: _bot,
    Mess.PROFILE: _profile,
    Mess.PROMOTED: _promoted,
    Mess.SPAM: _spam,
    Mess.GALLERY_NULL: _gallery_null,
    Mess.INJECTION: _injection,
    Mess.TRUNCATED: _truncated,
    Mess.BINARY: _binary,
    Mess.NOT_AN_OBJECT: _not_an_object,
    Mess.MISSING_ID: _missing_id,
}
