"""Words, names and ids in bulk: seed -> texts as bytes of JSON, accounts, subreddits, ids.

Words are drawn one by one from a heavy-tailed vocabulary of our own, so that a text holds about as
much information as a real one and the months compress as real ones do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from orchestration.sample.lexicon import VALUES
from pipelines.base36 import base36_digits

NUM_WORDS = 24_000
NUM_DRAWS = 1 << 16  # Entries of the table that words are drawn from: one draw is two bytes.
BOTS = ("AutoModerator", "AutoModerator", "AutoModerator", "RemindMeBot", "sum_it_up_bot")
BASE36 = np.frombuffer(b"0123456789abcdefghijklmnopqrstuvwxyz", np.uint8)
# fmt: off
_COMMON = (
    "the", "a", "i", "to", "and", "of", "is", "it", "that", "you", "in", "for", "this", "my",
    "was", "on", "but", "not", "have", "with", "be", "so", "they", "are", "me", "just", "like",
    "what", "if", "can", "do", "we", "would", "at", "or", "from", "all", "about", "one", "get",
    "your", "there", "really", "more", "when", "out", "up", "some", "people", "know", "how",
    "think", "time", "good", "them", "other", "than", "had", "because", "even", "who", "no", "as",
    "an", "by", "any", "been", "could", "then", "he", "she", "his", "her", "were", "which", "into",
    "only", "also", "after", "most", "make", "way", "much",
)
_SYLLABLES = (
    "ba", "be", "bi", "bo", "bra", "ca", "cer", "chi", "con", "cu", "da", "del", "din", "dor",
    "dra", "el", "en", "er", "fa", "fel", "fin", "for", "ga", "gen", "gli", "go", "ha", "hel",
    "hin", "hor", "in", "is", "ja", "jor", "ka", "ken", "kli", "ko", "la", "len", "lim", "lo",
    "lu", "ma", "men", "mi", "mon", "mu", "na", "nel", "nin", "nor", "o", "pa", "per", "pli",
    "por", "qua", "ra", "ren", "ri", "ro", "ru", "sa", "sen", "shi", "sol", "sta", "su", "ta",
    "ten", "thi", "tor", "tru", "un", "va", "ven", "vi", "wa", "wel", "win", "wor", "xen", "ya",
    "yel", "zen", "zi", "zo",
)
_ACCENTS = str.maketrans("aeiou", "áéíöü")
# What texts hold beside words, as it stands in JSON.
_ODDITIES = (
    r"\n\n", r"\n\n", r"\n\n", r"\n", r"\n\n> ", r"\"quoted\"", r"\"so\"", r"\\_", "&amp;",
    "\U0001f600", "\u2764\ufe0f", "\u65e5\u672c\u8a9e", "\u043d\u0435\u0442", "\u2014", "I\u2019m",
    "don\u2019t", "can't", "**bold**", "...", "?", "!!", "10", "2025", "50%", "/s", "(maybe)",
    "[link](https://www.example.com/a?b=1&c=2)", "https://example.org/watch?v=1", "r/somewhere",
    "u/Some_Body-12", "/u/other_one",
)
# fmt: on


class Vocabulary:
    """Draws texts and names; the same for the same generator state.

    Args:
        rng: Decides everything.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        words = _words(rng)
        weights = 1 / (np.arange(len(words)) + 2.7)
        drawn = rng.choice(len(words), NUM_DRAWS, p=weights / weights.sum())
        shapes = rng.random(NUM_DRAWS)
        entries = [_shaped(words[i], shape) for i, shape in zip(drawn, shapes, strict=True)]
        for position, odd in zip(rng.permutation(NUM_DRAWS), _ODDITIES * 40, strict=False):
            entries[position] = odd
        self._table = np.array([entry.encode() for entry in entries], object)
        self._nul = rb"\u0000"

    def texts(self, num: int, median: float, spread: float) -> list[bytes]:
        """Texts as they stand between the quotes of JSON.

        Args:
            num: How many.
            median: Words of half of them; the numbers are log-normal.
            spread: Of the logarithm.
        """
        lengths = np.minimum(self._rng.lognormal(np.log(median), spread, num) + 1, 6000).astype(int)
        ends = np.cumsum(lengths)
        draws = self._rng.integers(0, NUM_DRAWS, ends[-1] if num else 0, np.uint16)
        words = self._table[draws].tolist()
        for position in np.flatnonzero(self._rng.random(num) < 2e-5):
            words[ends[position] - 1] = self._nul
        starts = ends - lengths
        join = b" ".join
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        return [join(words[start:end]) for start, end in pairs]

    def names(self, num: int, longest: int) -> list[str]:
        """Distinct names of accounts or subreddits, at most `longest` characters."""
        count = self._rng.integers(2, 5, num)
        parts = self._rng.integers(0, len(_SYLLABLES), (num, 4))
        styles = self._rng.integers(0, 6, num).tolist()
        found: dict[str, str] = {}
        for number, (many, row) in enumerate(zip(count.tolist(), parts.tolist(), strict=True)):
            pieces = [_SYLLABLES[i] for i in row[:many]]
            name = _styled(pieces, styles[number], number)[:longest]
            if name.lower() in found:
                name = f"{name[:12]}{number}"
            found[name.lower()] = name
        return list(found.values())


def heavy_tailed(rng: np.random.Generator, num: int, size: int, head: int) -> NDArray[np.int64]:
    """Ranks in [0, size), shape [num]: about P(rank) ~ 1 / (rank + head)."""
    return (head * ((size + head) / head) ** rng.random(num) - head).astype(np.int64)


def base36_many(numbers: NDArray[np.int64], width: int) -> list[bytes]:
    """Each number in base 36, `width` digits."""
    data = base36_digits(numbers.astype(np.uint64), width).tobytes()
    return [data[i : i + width] for i in range(0, len(data), width)]


def endless_codes(rng: np.random.Generator, width: int) -> Iterator[bytes]:
    """Random base-36 codes such as those of images."""
    while True:
        data = BASE36[rng.integers(0, 36, 4096 * width)].tobytes()
        yield from (data[i : i + width] for i in range(0, len(data), width))


def endless_signatures(rng: np.random.Generator) -> Iterator[bytes]:
    """Random signatures of urls: 40 hexadecimal digits."""
    while True:
        data = rng.bytes(20 * 4096).hex().encode()
        yield from (data[i : i + 40] for i in range(0, len(data), 40))


def _words(rng: np.random.Generator) -> list[str]:
    facets = chain.from_iterable(value.values() for value in VALUES.values())
    phrases = chain.from_iterable((*w.adjectives, *w.things, *w.scenes) for w in facets)
    ours = [word for phrase in phrases for word in phrase.lower().split()]
    found = dict.fromkeys((*_COMMON, *ours))
    parts = rng.integers(0, len(_SYLLABLES), (2 * NUM_WORDS, 4)).tolist()
    many = rng.integers(2, 5, 2 * NUM_WORDS).tolist()
    for row, count in zip(parts, many, strict=True):
        found.setdefault("".join(_SYLLABLES[i] for i in row[:count]))
    return list(found)[:NUM_WORDS]


def _shaped(word: str, shape: float) -> str:
    """The word, or with a capital, a mark behind it or accents."""
    if shape < 0.07:
        return f"{word}."
    if shape < 0.12:
        return f"{word},"
    if shape < 0.20:
        return word.capitalize()
    return word.translate(_ACCENTS) if shape < 0.21 else word


def _styled(pieces: list[str], style: int, number: int) -> str:
    if style == 0:
        return "".join(piece.capitalize() for piece in pieces)
    if style == 1:
        return f"{pieces[0].capitalize()}-{''.join(pieces[1:]).capitalize()}-{number % 10_000}"
    if style == 2:
        return "_".join(pieces)
    if style == 3:
        return f"{''.join(pieces)}{number % 1000}"
    return "".join(pieces).capitalize() if style == 4 else "".join(pieces)
