"""The grounded verbalizer: evidence of one user in, a persona in plain English out. No model.

Every claim is a template filled from a closed vocabulary (readable subreddit names, visual tags,
lexicon words), so it can neither invent, quote nor obey what a user wrote.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from persona import wording as words
from persona.items import NEIGHBOUR, SNIPPET, SUBREDDIT, TAG, Item, UserEvidence
from persona.lexicon import Reading, TraitScore, read_text, score_traits
from persona.privacy import sensitive_category, words_of
from persona.schema import MIN_SUMMARY_SENTENCES, Claim, Persona, Taste, Trait
from persona.topics import topic
from persona.verbalizer import Failed, Failure, Outcome
from persona.wording import Wording, facet_phrase, join_words

MAX_INTERESTS = 6
MAX_TRAITS = 3
MAX_CITED = 8
MIN_REMARKS = 3  # fewer texts say nothing about a person's tone
STRONG_SHARE, STEADY_SHARE = 0.3, 0.1  # of attention
MIN_COMPARED = 3  # subreddits, for the first to be ahead of anything
AHEAD = 1.5  # times the attention of the second: few things hold it like the first
LEADING_SHARE = 0.15  # below, the first subreddit is one of many
STEADY_SNIPPETS = 3  # as many texts show that somebody comes back, however small the share
INFERRED_DISCOUNT = 0.75
THIN_ITEMS = 5
MIN_SUBREDDITS = 4  # fewer say nothing about breadth
FOCUSED_SHARE, BROAD_SHARE = 0.6, 0.5  # of attention: in the first; in all that are shown
CLOSE_TAG, FURTHER_TAG = 0.75, 0.5  # of the best tag's z, within a facet
TAGS_OF_A_FACET = 8
MIN_CERTAINTY = 0.25  # of a facet's best tag
MIN_THEME_SHARE = 0.15  # of a user's snippets


@dataclass(frozen=True)
class _Notes:
    """Evidence of a user, read once; `told` are the snippets by subreddit."""

    subreddits: list[Item]
    tags: list[Item]
    snippets: list[Item]
    readings: list[Reading]
    told: dict[str | None, list[tuple[Item, Reading]]]

    @classmethod
    def of(cls, user: UserEvidence) -> _Notes:
        snippets = user.of(SNIPPET)
        readings = [read_text(item.text) for item in snippets]
        told: dict[str | None, list[tuple[Item, Reading]]] = {}
        for item, reading in zip(snippets, readings, strict=True):
            told.setdefault(item.subreddit, []).append((item, reading))
        return cls(user.of(SUBREDDIT), user.of(TAG), snippets, readings, told)


class GroundedVerbalizer:
    """`Verbalizer` without a model.

    Args:
        seed: Varies the wording.
    """

    name = "grounded"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        """One outcome for each user, in order."""
        return [verbalize_user(user, self._seed) for user in users]

    def spent(self) -> dict[str, int]:
        """Nothing."""
        return {}


def verbalize_user(user: UserEvidence, seed: int) -> Outcome:
    """The persona of one user, or why there is none."""
    wording = Wording(user.user_id, seed)
    notes = _Notes.of(user)
    interests = (
        *_interests(notes, wording),
        *_themes_across(notes, wording),
        *_neighbours(user.of(NEIGHBOUR), wording),
    )
    aesthetic = _aesthetic(notes.tags, wording)
    scores = _scores(notes)
    affect = _affect(notes, scores, wording)
    claims = [*interests, *aesthetic, *affect]
    if not claims:
        return Failed(Failure.NOTHING_TO_SAY, f"{len(user.items)} items support no claim")
    persona = Persona(
        summary=_summary(notes, scores, wording),
        interests=interests,
        aesthetic=aesthetic,
        affect=affect,
        confidence=_overall(claims, len(user.items)),
    )
    category = next((c for c in map(sensitive_category, persona.texts()) if c), None)
    return Failed(Failure.SENSITIVE, f"states {category}") if category else persona


def _interests(notes: _Notes, wording: Wording) -> list[Claim]:
    claims = []
    for place, item in enumerate(notes.subreddits[:MAX_INTERESTS]):
        told = notes.told.get(item.subreddit, [])
        about = topic(item.text)
        is_said = about.text.lower() == item.text or not about.known
        name = "" if is_said else f" (r/{item.text})"
        options = _interest_wordings(notes, place, len(told))
        text = wording.pick("interest", options, place).format(topic=about.text + name)
        text += _theme_suffix(about.text, [reading for _, reading in told], wording, place)
        cited = (item.evidence_id, *(snippet.evidence_id for snippet, _ in told))
        claims.append(
            Claim(
                text=text,
                evidence=cited[:MAX_CITED],
                confidence=_interest_confidence(item.weight, len(told)),
            )
        )
    return claims


def _interest_wordings(notes: _Notes, place: int, num_told: int) -> tuple[str, ...]:
    """How strongly an interest may be put: of a single place attention is all of it, always."""
    share = notes.subreddits[place].weight
    if place == 0 and _is_compared(notes) and share >= STRONG_SHARE:
        return words.INTEREST_STRONG
    if num_told >= STEADY_SNIPPETS:
        return words.INTEREST_OFTEN
    return words.INTEREST_PLAIN if share >= STEADY_SHARE else words.INTEREST_LIGHT


def _is_compared(notes: _Notes) -> bool:
    """Whether there are others for the first place to be ahead of."""
    return len(notes.subreddits) >= MIN_COMPARED


def _neighbours(items: Sequence[Item], wording: Wording) -> list[Claim]:
    """What only neighbours say; never surer than a hint."""
    return [
        Claim(
            text=wording.pick("neighbour", words.INTEREST_INFERRED, place).format(
                topic=topic(item.text).text
            ),
            evidence=(item.evidence_id,),
            confidence=_clip(INFERRED_DISCOUNT * 0.5 * item.weight),
        )
        for place, item in enumerate(items)
    ]


def _theme_suffix(about: str, readings: list[Reading], wording: Wording, place: int) -> str:
    """What the snippets of one subreddit are about, if two snippets and two words agree on it.

    One snippet with three words of a theme touches on it; fewer are chance.
    """
    support = Counter(theme for reading in readings for theme in reading.themes)
    if not support:
        return ""
    found = {t: frozenset().union(*(r.themes.get(t, ()) for r in readings)) for t in support}
    clear = sorted(
        (
            t
            for t in support
            if len(found[t]) >= (2 if support[t] >= 2 else 3) and _is_new(t, about)
        ),
        key=lambda theme: (-support[theme], -len(found[theme]), theme),
    )
    usual = [theme for theme in clear if support[theme] >= 2]
    if not clear:
        return ""
    options = words.THEME_SOME if usual else words.THEME_ONCE
    if usual and 2 * support[usual[0]] > len(readings):
        options = words.THEME_SUFFIX
        usual = [theme for theme in usual if 2 * support[theme] > len(readings)]
    chosen = (usual or clear)[:2]
    return wording.pick("themes", options, place).format(themes=join_words(chosen))


def _is_new(theme: str, about: str) -> bool:
    """Whether a theme adds to what a place is about: "animals" not to "cute animals"."""
    return _subjects(theme).isdisjoint(_subjects(about))


@lru_cache(maxsize=1 << 14)
def _subjects(phrase: str) -> frozenset[str]:
    return frozenset(words_of(phrase)) - {"and"}


def _themes_across(notes: _Notes, wording: Wording) -> list[Claim]:
    """Themes of at least three snippets, in two subreddits, with three different words."""
    seen: dict[str, list[tuple[Item, frozenset[str]]]] = {}
    for item, reading in zip(notes.snippets, notes.readings, strict=True):
        for theme, found in reading.themes.items():
            seen.setdefault(theme, []).append((item, found))
    claims = []
    for theme, pairs in sorted(seen.items(), key=lambda entry: (-len(entry[1]), entry[0])):
        items = [item for item, _ in pairs]
        share = len(items) / len(notes.snippets)
        is_wide = len({item.subreddit for item in items}) >= 2
        is_rich = len(frozenset().union(*(found for _, found in pairs))) >= 3
        if len(items) < 3 or share < MIN_THEME_SHARE or not (is_wide and is_rich):
            continue
        text = wording.pick(f"across:{theme}", words.THEME_ACROSS).format(theme=theme)
        confidence = _clip(0.4 + 0.3 * share + 0.2 * _saturating(len(items), 4))
        cited = tuple(item.evidence_id for item in items[:MAX_CITED])
        claims.append(Claim(text=text, evidence=cited, confidence=confidence))
    return claims[:2]


def _aesthetic(tags: list[Item], wording: Wording) -> tuple[Taste, ...]:
    """One claim a facet, graded by its best tag, the clearest facet first.

    Facets that are likely chance are left out, but for the first where there is no other.
    """
    facets: dict[str, list[Item]] = {}
    for item in tags:
        facets.setdefault(item.facet or "", []).append(item)
    ordered = sorted(facets.items(), key=lambda pair: (-pair[1][0].weight, pair[0]))
    clear = [pair for pair in ordered if tag_certainty(pair[1][0].weight) >= MIN_CERTAINTY]
    ordered = clear or ordered[:1]
    return tuple(_taste(facet, items, wording, i) for i, (facet, items) in enumerate(ordered))


def _taste(facet: str, items: list[Item], wording: Wording, place: int) -> Taste:
    best = items[0].weight
    close = [item for item in items if item.weight >= CLOSE_TAG * best]
    further = [i for i in items if i not in close and i.weight >= FURTHER_TAG * best]
    certainty = tag_certainty(best)
    grades = words.TASTE_GRADES_INFERRED if items[0].inferred else words.TASTE_GRADES
    grade = next(options for floor, options in grades if certainty >= floor)
    things = facet_phrase(wording, facet, [item.text for item in close])
    text = wording.pick("taste", grade, place).format(things=things)
    if further:
        text += f"; less so, {facet_phrase(wording, facet, [item.text for item in further])}"
    return Taste(
        facet=facet,
        text=text,
        evidence=tuple(item.evidence_id for item in (*close, *further))[:MAX_CITED],
        confidence=_clip(certainty * (INFERRED_DISCOUNT if items[0].inferred else 1.0)),
    )


def tag_certainty(z: float) -> float:
    """Probability that the best of eight tags of a facet does not reach `z` by chance.

    A user without any taste has a best tag, too: of eight standard normal scores the best is
    above 1.4 half of the time.
    """
    return float((0.5 * (1 + math.erf(z / math.sqrt(2)))) ** TAGS_OF_A_FACET)


def _scores(notes: _Notes) -> list[TraitScore]:
    if len(notes.snippets) < MIN_REMARKS:
        return []
    return score_traits(notes.readings)[:MAX_TRAITS]


def _affect(notes: _Notes, scores: list[TraitScore], wording: Wording) -> tuple[Trait, ...]:
    traits = [_trait(score, notes, wording) for score in scores]
    breadth = _breadth(notes.subreddits, wording)
    return tuple([*traits, breadth] if breadth else traits)


def _trait(score: TraitScore, notes: _Notes, wording: Wording) -> Trait:
    pairs = zip(notes.snippets, notes.readings, strict=True)
    shown = [item.evidence_id for item, reading in pairs if score.name in reading.traits]
    often = score.share >= words.OFTEN_SHARE
    options = words.TRAIT_CLAIMS if often else words.TRAIT_CLAIMS_AT_TIMES
    text = wording.pick(f"trait:{score.name}", options).format(
        trait=_adjective(score.name, wording), hits=score.hits, total=len(notes.snippets)
    )
    confidence = _clip(0.25 + 0.7 * score.floor)
    return Trait(
        name=score.name, text=text, evidence=tuple(shown[:MAX_CITED]), confidence=confidence
    )


def _breadth(subreddits: list[Item], wording: Wording) -> Trait | None:
    """Whether attention gathers on one subreddit, or much of it lies outside those shown."""
    shown = sum(item.weight for item in subreddits)
    if len(subreddits) < MIN_SUBREDDITS or shown <= 0:
        return None
    if subreddits[0].weight >= FOCUSED_SHARE:
        options, certainty = words.FOCUSED, subreddits[0].weight
    elif shown <= BROAD_SHARE:
        options, certainty = words.BROAD, 1 - shown
    else:
        return None
    return Trait(
        name="breadth",
        text=wording.pick("breadth", options),
        evidence=tuple(item.evidence_id for item in subreddits[:MAX_CITED]),
        confidence=_clip(certainty),
    )


def _summary(notes: _Notes, traits: list[TraitScore], wording: Wording) -> str:
    sentences = [_summary_interests(notes, wording)]
    if notes.tags:
        sentences.append(_summary_taste(notes.tags, wording))
    if traits:
        often = [score for score in traits if score.share >= words.OFTEN_SHARE]
        told = join_words([_adjective(score.name, wording) for score in often or traits])
        options = words.SUMMARY_TRAITS if often else words.SUMMARY_TRAITS_AT_TIMES
        sentences.append(wording.pick("summary:traits", options).format(traits=told))
    if any(item.inferred for item in notes.tags):
        sentences.append(wording.pick("caveat", words.CAVEAT_INFERRED))
    elif len(notes.subreddits) + len(notes.snippets) < THIN_ITEMS:
        sentences.append(wording.pick("caveat", words.CAVEAT_THIN))
    elif len(sentences) < MIN_SUMMARY_SENTENCES:
        sentences.append(wording.pick("caveat", words.CAVEAT_PLAIN))
    return " ".join(sentences)


def _summary_interests(notes: _Notes, wording: Wording) -> str:
    subreddits = notes.subreddits
    topics = list(dict.fromkeys(topic(item.text).text for item in subreddits[:3]))
    if not topics:
        return wording.pick("summary:interests", words.SUMMARY_NO_INTEREST)
    if len(topics) == 1:
        return wording.pick("summary:interests", words.SUMMARY_ONE).format(first=topics[0])
    rest = join_words(topics[1:])
    share = subreddits[0].weight
    options = words.SUMMARY_MANY if share >= LEADING_SHARE else words.SUMMARY_SPREAD
    is_ahead = share >= max(STRONG_SHARE, AHEAD * subreddits[1].weight)
    if is_ahead and _is_compared(notes):
        options = words.SUMMARY_STRONG
    return wording.pick("summary:interests", options).format(first=topics[0], rest=rest)


def _summary_taste(tags: list[Item], wording: Wording) -> str:
    by_facet: dict[str, Item] = {}
    for item in tags:
        by_facet.setdefault(item.facet or "", item)
    best = sorted(by_facet.items(), key=lambda pair: (-pair[1].weight, pair[0]))
    best = [p for p in best if tag_certainty(p[1].weight) >= MIN_CERTAINTY] or best[:1]
    phrases = [
        (facet_phrase(wording, facet, [item.text]), tag_certainty(item.weight) >= words.DRAWN_FROM)
        for facet, item in best
    ]
    strong = [phrase for phrase, is_strong in phrases if is_strong][:3]
    weak = [phrase for phrase, is_strong in phrases if not is_strong][: 2 if strong else 1]
    if not strong:
        options = words.SUMMARY_TASTE_WEAK
        return wording.pick("summary:taste", options).format(weak=join_words(weak))
    inferred = any(item.inferred for item in tags)
    graded = words.SUMMARY_TASTE_INFERRED if inferred else words.SUMMARY_TASTE
    sentence = wording.pick("summary:taste", graded).format(strong=join_words(strong))
    if not weak:
        return sentence + "."
    suffix = wording.pick("summary:weak", words.SUMMARY_WEAK_SUFFIX)
    return sentence + suffix.format(weak=join_words(weak))


def _adjective(trait: str, wording: Wording) -> str:
    return wording.pick(f"adjective:{trait}", words.TRAIT_ADJECTIVES[trait])


def _interest_confidence(share: float, num_snippets: int) -> float:
    """Attention alone is a hint; what the user wrote there confirms it."""
    return _clip(0.35 + 0.25 * min(1.0, share / 0.3) + 0.3 * _saturating(num_snippets, 1.5))


def _overall(claims: Sequence[Claim], num_items: int) -> float:
    """Mean confidence of the claims, halved where there is next to no evidence."""
    mean = sum(claim.confidence for claim in claims) / len(claims)
    return _clip(mean * (0.5 + 0.5 * _saturating(num_items, 8)))


def _saturating(count: float, half: float) -> float:
    return count / (count + half)


def _clip(value: float) -> float:
    return round(min(0.95, max(0.05, value)), 3)
