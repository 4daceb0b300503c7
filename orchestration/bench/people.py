"""Who wrote a generated line and where: fragments of JSON that many lines share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from orchestration.bench.vocabulary import (
    BASE36,
    BOTS,
    Vocabulary,
    base36_many,
    heavy_tailed,
)

DELETED_SHARE = 0.07
BOT_SHARE = 0.04
_ACCOUNT_HEAD = 600  # The most active one of 250,000 writes about 1 line in 3,600.
_SUBREDDIT_HEAD = 20  # The busiest one of 30,000 has about 1 line in 150.
_ACCOUNTS_PER_SUBREDDIT = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A subreddit: its name, and its members of a line behind `"subreddit":`."""

    name: bytes
    comment: bytes
    submission: bytes


class People:
    """Accounts and subreddits, heavy-tailed in how often they come up.

    Args:
        rng: Decides everything.
        vocabulary: Makes the names.
        num_accounts: How many write; there is a subreddit for every eight.
    """

    def __init__(self, rng: np.random.Generator, vocabulary: Vocabulary, num_accounts: int) -> None:
        self._rng = rng
        names = vocabulary.names(num_accounts, 20)
        codes = rng.integers(36**5, 36**6, len(names) + len(BOTS))
        fullnames = base36_many(codes, 6)
        flairs = self._flairs(vocabulary.texts(200, 2, 0.4))
        picked = np.where(
            rng.random(len(names)) < 0.17, rng.integers(1, len(flairs), len(names)), 0
        )
        self._accounts = [
            _account(name, code, flairs[flair])
            for name, code, flair in zip(names, fullnames, picked.tolist(), strict=False)
        ]
        self._bots = [
            _account(name, code, flairs[0])
            for name, code in zip(BOTS, fullnames[len(names) :], strict=True)
        ]
        self.deleted = _deleted()
        self._places = [
            _place(name, 36**4 + 7_919 * rank)
            for rank, name in enumerate(
                vocabulary.names(num_accounts // _ACCOUNTS_PER_SUBREDDIT, 21)
            )
        ]

    def accounts(self, num: int) -> list[bytes]:
        """What stands behind `"author":` in `num` lines, deleted authors and bots among them."""
        ranks = heavy_tailed(self._rng, num, len(self._accounts), _ACCOUNT_HEAD).tolist()
        found = [self._accounts[rank] for rank in ranks]
        luck = self._rng.random(num)
        for position in np.flatnonzero(luck < DELETED_SHARE + BOT_SHARE).tolist():
            bot = self._bots[position % len(self._bots)]
            found[position] = self.deleted if luck[position] < DELETED_SHARE else bot
        return found

    def places(self, num: int) -> list[Place]:
        """The subreddits of `num` lines or threads."""
        ranks = heavy_tailed(self._rng, num, len(self._places), _SUBREDDIT_HEAD).tolist()
        return [self._places[rank] for rank in ranks]

    def _flairs(self, texts: list[bytes]) -> list[dict[str, Any]]:
        none: dict[str, Any] = {
            "background_color": None,
            "css_class": None,
            "richtext": [],
            "template_id": None,
        }
        none |= {"text": None, "text_color": None, "type": "text"}
        flairs: list[dict[str, Any]] = [none]
        for data in texts:
            text = orjson.loads(b'"%b"' % data)
            code = "-".join(
                BASE36[self._rng.integers(0, 16, n)].tobytes().decode() for n in (8, 4, 4, 4, 12)
            )
            shown = {"background_color": "#edeff1", "css_class": "flair", "template_id": code}
            rich = [{"a": ":star:", "e": "emoji", "u": f"https://emoji.example.com/{code}/star"}]
            rich.append({"e": "text", "t": text})
            flairs.append(
                none
                | shown
                | {"text": text, "text_color": "dark", "richtext": rich, "type": "richtext"}
            )
        return flairs


def _account(name: str, code: bytes, flair: dict[str, Any]) -> bytes:
    fields: dict[str, Any] = {"author": name, "author_fullname": f"t2_{code.decode()}"}
    fields |= {f"author_flair_{key}": value for key, value in flair.items()}
    fields |= {"author_is_blocked": False, "author_patreon_flair": False, "author_premium": False}
    return _behind(b'{"author":', fields)


def _deleted() -> bytes:
    none = ("background_color", "css_class", "template_id", "text")
    fields: dict[str, Any] = {"author": "[deleted]", "author_flair_text_color": "dark"}
    fields["author_is_blocked"] = False
    return _behind(b'{"author":', fields | {f"author_flair_{key}": None for key in none})


def _place(name: str, number: int) -> Place:
    code = base36_many(np.array([number]), 6)[0].decode().lstrip("0")
    comment = {
        "subreddit": name,
        "subreddit_id": f"t5_{code}",
        "subreddit_name_prefixed": f"r/{name}",
        "subreddit_type": "public",
    }
    submission = comment | {"subreddit_subscribers": 40_000_000 // (number % 9_973 + 1)}
    start = b'{"subreddit":'
    return Place(name.encode(), _behind(start, comment), _behind(start, submission))


def _behind(start: bytes, fields: dict[str, Any]) -> bytes:
    """Members of a line behind the first key, which `start` ends with."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)[len(start) : -1]
