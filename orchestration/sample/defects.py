"""How mess is made: one object and what befalls it -> its line, and the lines beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchestration.sample import texts
from orchestration.sample.lines import DELETED, REMOVED, Fields, account, author_deleted
from orchestration.sample.mess import (
    ADVERTISER,
    BOTS,
    LONE_SURROGATE,
    SPAMMER,
    Around,
    Line,
    Mess,
    Rule,
    encode,
)
from pipelines.base36 import base36


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
    nothing: Fields = {"selftext": "", "is_video": False, "media": None}
    return kept | link | nothing | {"thumbnail_height": None, "thumbnail_width": None}


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
    Mess.LONE_SURROGATE: lambda f, a: _insert(f, LONE_SURROGATE),
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
