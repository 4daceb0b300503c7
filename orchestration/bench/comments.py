"""Lines of a generated RC month: seed, times -> lines with the keys of a file of 2024 or later."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestration.bench.people import People
from orchestration.bench.templates import Template
from orchestration.bench.vocabulary import Vocabulary, base36_many

NUM_TEMPLATES = 4_000
NUM_THREADS = 400  # Open at once; a chunk of lines closes most and opens others.
FIRST_ID = 36**6 * 30
FIRST_LINK = 36**6 + 36**5 * 25
_GONE = (b"[removed]", b"[removed]", b"[deleted]")
_STATIC: dict[str, Any] = {
    "all_awardings": [], "approved_at_utc": None, "approved_by": None, "archived": False,
    "associated_award": None, "awarders": [], "banned_at_utc": None, "banned_by": None,
    "can_gild": False, "can_mod_post": False, "collapsed_because_crowd_control": None,
    "comment_type": None, "gilded": 0, "gildings": {}, "likes": None, "mod_note": None,
    "mod_reason_by": None, "mod_reason_title": None, "mod_reports": [], "num_reports": None,
    "removal_reason": None, "replies": "", "report_reasons": None, "saved": False,
    "score_hidden": False, "send_replies": True, "top_awarded_type": None,
    "total_awards_received": 0, "treatment_tags": [], "unrepliable_reason": None, "downs": 0,
    "user_reports": [],
}  # fmt: skip
_SLOTS: dict[str, Any] = {
    "_meta": "@=meta@", "author": "@=account@", "body": "@body@", "created": "@=created@",
    "created_utc": "@=created@", "edited": "@=edited@", "id": "@id@", "link_id": "t3_@link@",
    "name": "t1_@id@", "parent_id": "@parent@", "retrieved_on": "@=retrieved@",
    "permalink": "/r/@name@/comments/@link@/@slug@/@id@/",
    "score": "@=score@", "subreddit": "@=place@", "ups": "@=score@",
}  # fmt: skip


class Comments:
    """Makes the lines of a month of comments.

    Args:
        rng: Decides everything.
        num_accounts: How many people write.
    """

    def __init__(self, rng: np.random.Generator, num_accounts: int) -> None:
        self._rng = rng
        self._vocabulary = Vocabulary(rng)
        self._people = People(rng, self._vocabulary, num_accounts)
        self._templates = [Template.of(_fields(rng)) for _ in range(NUM_TEMPLATES)]
        self._next_id = FIRST_ID

    def lines(self, created_utc: NDArray[np.int64]) -> list[bytes]:
        """A line for each time, without line breaks."""
        num, rng = len(created_utc), self._rng
        numbers = self._next_id + np.cumsum(rng.integers(1, 12, num))
        self._next_id = int(numbers[-1])
        ids = base36_many(numbers, 7)
        retrieved = created_utc + rng.integers(5, 40, num)
        accounts = self._people.accounts(num)
        values: dict[str, list[bytes]] = {
            "meta": metas(rng, retrieved, 0.06, 0.034, b"removed"),
            "account": accounts,
            "body": self._bodies(accounts),
            "created": decimals(created_utc),
            "edited": edits(rng, created_utc, 0.05),
            "id": ids,
            "score": decimals(
                np.minimum(rng.geometric(0.35, num) ** 3, 40_000) - 3 * (rng.random(num) < 0.06)
            ),
            "retrieved": decimals(retrieved),
        } | self._threads(ids)
        templates = [self._templates[i] for i in rng.integers(0, NUM_TEMPLATES, num).tolist()]
        columns = [values[slot] for slot in templates[0].slots]
        rows = zip(*columns, strict=True)
        return [template.text % row for template, row in zip(templates, rows, strict=True)]

    def _bodies(self, accounts: list[bytes]) -> list[bytes]:
        bodies = self._vocabulary.texts(len(accounts), 15, 1.15)
        luck = self._rng.random(len(accounts)).tolist()
        for position, account in enumerate(accounts):
            if luck[position] < (0.7 if account is self._people.deleted else 0.025):
                bodies[position] = _GONE[position % 3]
        return bodies

    def _threads(self, ids: list[bytes]) -> dict[str, list[bytes]]:
        """Values that follow from the thread: some threads have most comments."""
        num, rng = len(ids), self._rng
        first = FIRST_LINK + (self._next_id - FIRST_ID) // 8
        links = base36_many(first + np.cumsum(rng.integers(1, 9, NUM_THREADS)), 7)
        slugs = [slug(title) for title in self._vocabulary.texts(NUM_THREADS, 7, 0.5)]
        places = self._people.places(NUM_THREADS)
        chosen = (NUM_THREADS * rng.random(num) ** 3).astype(np.int64).tolist()
        answered = np.maximum(np.arange(num) - rng.geometric(0.002, num), 0).tolist()
        is_first = (rng.random(num) < 0.4).tolist()
        return {
            "link": [links[thread] for thread in chosen],
            "slug": [slugs[thread] for thread in chosen],
            "name": [places[thread].name for thread in chosen],
            "place": [places[thread].comment for thread in chosen],
            "parent": [
                b"t3_%b" % links[thread] if top else b"t1_%b" % ids[other]
                for thread, top, other in zip(chosen, is_first, answered, strict=True)
            ],
        }


def metas(
    rng: np.random.Generator, retrieved: NDArray[np.int64], edited: float, deleted: float, by: bytes
) -> list[bytes]:
    """`_meta` of each line: retrieved again two days later, some edited or deleted meanwhile."""
    again = decimals(retrieved + 172_800 + rng.integers(0, 4_000, len(retrieved)))
    found = [b'{"retrieved_2nd_on":%b}' % time for time in again]
    luck = rng.random(len(retrieved))
    for position in np.flatnonzero(luck < edited).tolist():
        found[position] = b'{"is_edited":true,"retrieved_2nd_on":%b}' % again[position]
    for position in np.flatnonzero(luck > 1 - deleted).tolist():
        text = b'{"removal_type":"%b","retrieved_2nd_on":%b,"was_deleted_later":true}'
        found[position] = text % (by, again[position])
    return found


def edits(rng: np.random.Generator, created_utc: NDArray[np.int64], share: float) -> list[bytes]:
    """`edited` of each line: false, or when."""
    found = [b"false"] * len(created_utc)
    for position in np.flatnonzero(rng.random(len(created_utc)) < share).tolist():
        found[position] = b"%d" % (created_utc[position] + 60 + position % 5_000)
    return found


def decimals(numbers: NDArray[np.int64]) -> list[bytes]:
    """Each number as JSON."""
    return [b"%d" % number for number in numbers.tolist()]


def slug(title: bytes) -> bytes:
    """A title as it stands in a permalink."""
    kept = bytes(c if chr(c).isalnum() and c < 128 else 95 for c in title.lower()[:48])
    return b"_".join(part for part in kept.split(b"_") if part) or b"untitled"


def _fields(rng: np.random.Generator) -> dict[str, Any]:
    """Members of one comment that only flags set apart."""
    luck = rng.random(7)
    collapsed = bool(luck[0] < 0.04)
    moderator = bool(luck[1] < 0.03)
    fields = _STATIC | _SLOTS | {
        "collapsed": collapsed,
        "collapsed_reason": "comment score below threshold" if collapsed else None,
        "collapsed_reason_code": "LOW_SCORE" if collapsed else None,
        "controversiality": int(luck[2] < 0.03),
        "distinguished": "moderator" if moderator else None,
        "is_submitter": bool(luck[3] < 0.12),
        "locked": bool(luck[4] < 0.02),
        "no_follow": bool(luck[5] < 0.6),
        "stickied": moderator,
    }  # fmt: skip
    if luck[6] < 0.023:
        code = str(rng.integers(10**12, 10**13))
        source = {
            "u": f"https://preview.example.com/{code}.jpeg?width=640&auto=webp",
            "x": 640,
            "y": 480,
        }
        fields["media_metadata"] = {
            code: {"e": "Image", "id": code, "m": "image/jpeg", "s": source, "status": "valid"}
        }
    return fields
