"""What snippets are about and how they sound, by a small closed lexicon. Pure; no model.

Only words of the lexicon (`lexicon.json`) ever leave: a persona cannot repeat what a user wrote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from persona.privacy import words_of

_LEXICON = json.loads(files("persona").joinpath("lexicon.json").read_text("utf-8"))
_THEMES: dict[str, list[str]] = _LEXICON["themes"]
_AFFECT: dict[str, dict[str, list[str]]] = _LEXICON["affect"]
# "If you could keep the best, which?" asks for these, and shows none of them.
_ASKED = {"bluntness", "enthusiasm", "helpfulness", "thoughtfulness"}
_NEGATIONS = frozenset(("not", "no", "never", "isn", "don", "doesn", "didn", "wasn", "hardly"))

_THEME_OF_WORD: dict[str, tuple[str, ...]] = {}
for _theme, _terms in _THEMES.items():
    for _term in _terms:
        _THEME_OF_WORD[_term] = (*_THEME_OF_WORD.get(_term, ()), _theme)
_TRAIT_OF_WORD = {word: name for name, trait in _AFFECT.items() for word in trait["words"]}
_TRAIT_OF_PHRASE = {phrase: name for name, trait in _AFFECT.items() for phrase in trait["phrases"]}
_THEME_WORDS, _TRAIT_WORDS = frozenset(_THEME_OF_WORD), frozenset(_TRAIT_OF_WORD)
_PHRASES: dict[str, list[str]] = {}
for _phrase in _TRAIT_OF_PHRASE:
    _PHRASES.setdefault(_phrase.split()[0], []).append(_phrase)
_PHRASE_HEADS = frozenset(_PHRASES)

# Share of snippets that show each trait among 9,000 recorded submissions and comments of 990
# subreddits: what is usual is not worth saying of anybody.
USUAL = {name: float(trait["usual"]) for name, trait in _AFFECT.items()}  # type: ignore[arg-type]
MIN_TRAIT_SHARE = 0.15
TRAITS = tuple(_AFFECT)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one text shows: themes and the lexicon words that show them, and traits."""

    themes: dict[str, frozenset[str]]
    traits: frozenset[str]


@dataclass(frozen=True, slots=True)
class TraitScore:
    """How often a trait shows in a user's texts, against what is usual.

    Args:
        name: One of `TRAITS`.
        hits: Texts that show it.
        share: Of all texts.
        floor: Lower end of the 80% Wilson interval of the share.
    """

    name: str
    hits: int
    share: float
    floor: float


def read_text(text: str) -> Reading:
    """Themes and traits of one text; negated words ("not great") show no trait, nor do words that a
    question asks about.
    """
    words = words_of(text)
    present = set(words)
    themes: dict[str, set[str]] = {}
    for word in sorted(_THEME_WORDS & present):
        for theme in _THEME_OF_WORD[word]:
            themes.setdefault(theme, set()).add(word)
    traits = {_TRAIT_OF_WORD[w] for w in _TRAIT_WORDS & present if not _is_negated(words, w)}
    heads = _PHRASE_HEADS & present
    if heads:
        padded = f" {' '.join(words)} "
        said = (phrase for head in heads for phrase in _PHRASES[head] if f" {phrase} " in padded)
        traits.update(_TRAIT_OF_PHRASE[phrase] for phrase in said)
    if text.rstrip().endswith("?"):
        traits -= _ASKED
        traits.add("curiosity")
    if "!!" in text:
        traits.add("enthusiasm")
    return Reading({theme: frozenset(found) for theme, found in themes.items()}, frozenset(traits))


def _is_negated(words: list[str], word: str) -> bool:
    """Whether every mention of a word has a negation among the three words before it."""
    places = [place for place, other in enumerate(words) if other == word]
    return all(not _NEGATIONS.isdisjoint(words[max(0, p - 3) : p]) for p in places)


def score_traits(readings: Sequence[Reading]) -> list[TraitScore]:
    """Traits that show in more texts than is usual, the clearest first.

    A trait counts with at least 3 texts (2 where they are half of all), in 15% of all texts, and
    with a Wilson floor half above its usual share: few texts say nothing, however unanimous.
    """
    scores = []
    for name in TRAITS:
        hits = sum(name in reading.traits for reading in readings)
        if hits < 2 or (hits < 3 and 2 * hits < len(readings)):
            continue
        score = TraitScore(name, hits, hits / len(readings), wilson_floor(hits, len(readings)))
        if score.share >= MIN_TRAIT_SHARE and score.floor > 1.5 * USUAL[name]:
            scores.append(score)
    return sorted(scores, key=lambda score: (-score.floor / USUAL[score.name], score.name))


def wilson_floor(hits: int, total: int, z: float = 1.2816) -> float:
    """Lower end of the Wilson interval of a share; z = 1.2816 gives the central 80%.

    Source: Wilson 1927, "Probable inference", eq. 3.
    """
    if total == 0:
        return 0.0
    share, z2 = hits / total, z * z
    centre = share + z2 / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return (centre - spread) / (1 + z2 / total)
