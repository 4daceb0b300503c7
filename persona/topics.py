"""Subreddit names as readable topics: "analogcats" -> "analog cats". Pure; no facts added.

Names are cut into words of a small list of this project (`words.txt`); a few dozen well-known ones
whose name does not say what they are about have a gloss (`topics.json`). What cannot be read stays
a name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from persona.privacy import is_public_subreddit, listed_words, sensitive_subreddit

_PACKAGE = files("persona")
_TOPICS = json.loads(_PACKAGE.joinpath("topics.json").read_text("utf-8"))
_GLOSSES: dict[str, str] = _TOPICS["glosses"]
_PICTURE_WORDS = frozenset(_TOPICS["picture_words"])
_ASKED_PEOPLE = frozenset(_TOPICS["asked_people"])
# Sensitive words are cut out of names as well: what cannot be read cannot be refused.
_ADJECTIVES = frozenset(_TOPICS["adjectives"])
_NO_PHRASE = frozenset(_TOPICS["no_phrase"])  # what starts so is a sentence: "get motivated"
_CASED: dict[str, str] = _TOPICS["cased"]
_WORDS = frozenset(_PACKAGE.joinpath("words.txt").read_text("utf-8").split()) | listed_words()
_LONGEST = max(map(len, _WORDS))
_PARTS = re.compile(r"[a-z]+|\d+")


@dataclass(frozen=True)
class Topic:
    """What a subreddit is about.

    Args:
        text: Noun phrase: "analog cats", "questions about science", "the r/xkcdtime community".
        known: The phrase says more than the name.
    """

    text: str
    known: bool


@lru_cache(maxsize=1 << 17)
def topic(subreddit: str) -> Topic:
    """The topic of a subreddit; deterministic, from its name alone."""
    if subreddit in _GLOSSES:
        return Topic(_GLOSSES[subreddit], True)
    if _shows_pictures(subreddit):
        return Topic(f"{readable(subreddit[:-4])} pictures", True)
    words = split_words(subreddit)
    if words is None or words[0] in _NO_PHRASE or all(map(str.isdigit, words)):
        return Topic(f"the r/{subreddit} community", False)
    return Topic(_phrase(words), True)


@lru_cache(maxsize=1 << 17)
def is_allowed(subreddit: str) -> bool:
    """Whether personas may rest on this subreddit: a community, and of no sensitive category."""
    if subreddit in _GLOSSES or not is_public_subreddit(subreddit):
        return subreddit in _GLOSSES
    name = subreddit[:-4] if _shows_pictures(subreddit) else subreddit
    return "porn" not in name and sensitive_subreddit(name, split_words(name)) is None


def _shows_pictures(subreddit: str) -> bool:
    """One of the "SFW porn" family of communities: the word means pictures there."""
    return subreddit.endswith("porn") and subreddit[:-4] in _PICTURE_WORDS


def readable(subreddit: str) -> str:
    """The name as words where it can be cut, else the name itself."""
    words = split_words(subreddit)
    return " ".join(words) if words else subreddit


def split_words(name: str) -> list[str] | None:
    """Words that a name is run together from; None if some part is no known word.

    Of several ways the one with the longest words wins (sum of squared lengths), ties to the
    earliest cut, so that "bookshelf" is not read as "books helf" nor "nightsky" as "nights ky".
    """
    words: list[str] = []
    for part in _PARTS.findall(name):
        cut = [part] if part.isdigit() else _cut(part)
        if cut is None:
            return None
        words += cut
    return words or None


def _cut(part: str) -> list[str] | None:
    best: list[tuple[int, list[str]] | None] = [(0, [])] + [None] * len(part)
    for stop in range(1, len(part) + 1):
        for start in range(max(0, stop - _LONGEST), stop):
            before = best[start]
            if before is None or part[start:stop] not in _WORDS:
                continue
            score = before[0] + (stop - start) ** 2
            current = best[stop]
            if current is None or score > current[0]:
                best[stop] = (score, [*before[1], part[start:stop]])
    found = best[len(part)]
    return found[1] if found else None


def _phrase(words: list[str]) -> str:
    head, rest = words[0], _cased(words[1:])
    if head == "ask" and rest:
        return f"questions to {rest}" if rest in _ASKED_PEOPLE else f"questions about {rest}"
    if head == "learn" and rest:
        return f"learning {rest}"
    if words[1:] in (["pics"], ["gifs"], ["vids"]) and head != "this":
        words = [head, {"pics": "pictures", "gifs": "animations", "vids": "videos"}[words[1]]]
    if words[-1] in _ADJECTIVES:
        words = [*words, "things"]
    return _cased(words)


def _cased(words: list[str]) -> str:
    """Words with the capitals of names: "Pokémon plaza", "games on TV"."""
    return " ".join(_CASED.get(word, word) for word in words)
