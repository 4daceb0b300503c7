"""What a persona may never say: sensitive categories, quotes of users, traces of contact.

Checked on what goes in (subreddit names, snippets) and on what comes out (every text of a persona).
The terms are in `sensitive.json`, by category: whole words, stems (beginnings of words; anywhere in
a subreddit name), phrases (anywhere in a subreddit name, too, run together), names of subreddits,
and parts of names (anywhere in a subreddit name, and harmless in a text: places).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files

import polars as pl

_INSIDE_CHARS = 5  # shorter terms lie by chance inside other words: "arab" in "carabiner"
_EDGE_CHARS = 3  # but of this category they seldom start or end a name by chance: "son" in "sonic"
_EDGE_CATEGORY = "sexuality"
QUOTE_WORDS = 6  # as many words in a row, the same as a user's, are a quote
WHOLE_WORDS = 3  # and so is all of a text that has at least as many

_WORD = re.compile(r"[^\W_]+")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.\-]{0,49}")
_CONTACT = re.compile(
    r"https?://|www\.|\bu/[a-z0-9_-]+|\buser/[a-z0-9_-]+|[\w.+-]+@[\w-]+\.\w+|\+?\d[\d\s().-]{7,}\d",
    re.IGNORECASE,
)

# Stricter in what users wrote, where a date or a link is no reason to leave a text out.
_REACHED = r"[\w.+-]+@[\w-]+\.\w+|\+\d[\d\s().-]{7,}\d|\b\d{3}\)?[\s.-]+\d{3}[\s.-]\d{4}\b"


def _load() -> dict[str, dict[str, list[str]]]:
    loaded = json.loads(files("persona").joinpath("sensitive.json").read_text("utf-8"))
    return dict(loaded)


def _by_term(kind: str) -> dict[str, str]:
    return {term: category for category, kinds in _TERMS.items() for term in kinds.get(kind, ())}


_TERMS = _load()
_WORDS = _by_term("words")
_STEMS = _by_term("stems")
_PHRASES = _by_term("phrases")
_SUBREDDITS = _by_term("subreddits")
_NAME_PARTS = _by_term("name_parts")
_STEM_LENGTHS = sorted({len(stem) for stem in _STEMS})
_PHRASE = re.compile(r"\b(?:" + "|".join(sorted(_PHRASES, key=len, reverse=True)) + r")\b")

_PHRASE_HEADS = frozenset(phrase.split()[0] for phrase in _PHRASES)

_RUN_TOGETHER = {phrase.replace(" ", ""): category for phrase, category in _PHRASES.items()}

CATEGORIES = tuple(_TERMS)


@lru_cache(maxsize=1 << 16)
def _word_category(word: str) -> str | None:
    if word in _WORDS:
        return _WORDS[word]
    stems = (word[:length] for length in _STEM_LENGTHS)
    return next((_STEMS[stem] for stem in stems if stem in _STEMS), None)


def listed_words() -> frozenset[str]:
    """All single sensitive words, so that they can be found in names run together."""
    return frozenset(_WORDS)


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation; apostrophes split."""
    return _WORD.findall(text.lower())


def sensitive_category(text: str) -> str | None:
    """Category of the first sensitive term in a text; None if there is none."""
    words = words_of(text)
    found = next((c for c in map(_word_category, words) if c), None)
    if found:
        return found
    if _PHRASE_HEADS.isdisjoint(words):
        return None
    phrase = _PHRASE.search(" ".join(words))
    return _PHRASES[phrase.group()] if phrase else None


def sensitive_categories(text: str) -> frozenset[str]:
    """Categories of all sensitive terms in a text."""
    words = words_of(text)
    found = {_PHRASES[phrase] for phrase in _PHRASE.findall(" ".join(words))}
    return frozenset(found.union(filter(None, map(_word_category, words))))


def sensitive_subreddit(name: str, words: Sequence[str] | None) -> str | None:
    """Category of a subreddit that no persona may rest on; None if it is harmless.

    Args:
        name: Lower case, no r/.
        words: That the name is run together from; None if it could not be cut.
    """
    if name in _SUBREDDITS:
        return _SUBREDDITS[name]
    plain = re.sub(r"[_.\-]", "", name)
    for terms in (_STEMS, _RUN_TOGETHER, _NAME_PARTS):
        term = next((term for term in terms if term in plain), None)
        if term:
            return terms[term]
    said = sensitive_category(name)  # between its separators: "adhd_partners"
    if said or words is not None:
        return said or sensitive_category(" ".join(words or ()))
    return next((_WORDS[word] for word in _WORDS if _shows_in(word, plain)), None)


def _shows_in(word: str, plain: str) -> bool:
    """Whether a word may be told from a name whose words are not known."""
    if len(word) >= _INSIDE_CHARS:
        return word in plain
    if len(word) < _EDGE_CHARS or _WORDS[word] != _EDGE_CATEGORY:
        return False
    return plain.startswith(word) or plain.endswith(word)


def is_public_subreddit(name: str) -> bool:
    """Whether this names a community: well-formed, and not the profile page of one user."""
    return bool(_NAME.fullmatch(name)) and not name.startswith(("u_", "u-"))


def mentions_sensitive(text: pl.Expr) -> pl.Expr:
    """`sensitive_category(text) is not None`, for a whole column.

    Words are lower-cased and put between single spaces first, so that a plain multi-pattern search
    sees word ends: fast, and the same decision as the single-text form.
    """
    spaced = text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ")
    padded = pl.concat_str(pl.lit(" "), spaced.str.strip_chars(" "), pl.lit(" "))
    whole = [f" {term} " for term in (*_WORDS, *_PHRASES)]
    begins = [f" {stem}" for stem in _STEMS]
    return padded.str.contains_any(whole + begins)


def shows_contact(text: str) -> bool:
    """Whether a text holds a link, an address, a user's name or a telephone number."""
    return bool(_CONTACT.search(text))


def reaches_somebody(text: pl.Expr) -> pl.Expr:
    """Whether what users wrote holds an address or a telephone number, for a whole column."""
    return text.str.contains(_REACHED)


def quotes(texts: Iterable[str], sources: Iterable[str]) -> bool:
    """Whether a text repeats six words in a row of any of `sources`, or all of a shorter one.

    A source of one or two words is no quote: "nice cat" may be said by anybody.
    """
    told = [words_of(text) for text in texts]
    said = {
        length: frozenset(run for words in told for run in _runs(words, length))
        for length in range(WHOLE_WORDS, QUOTE_WORDS + 1)
    }
    return any(
        not said[len(next(iter(runs)))].isdisjoint(runs) for runs in map(_told, sources) if runs
    )


@lru_cache(maxsize=1024)
def _told(source: str) -> frozenset[tuple[str, ...]]:
    """The runs of words that would quote a source."""
    words = words_of(source)
    length = min(len(words), QUOTE_WORDS)
    return frozenset(_runs(words, length)) if length >= WHOLE_WORDS else frozenset()


def _runs(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(length)), strict=False)
