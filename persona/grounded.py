"""The grounded verbalizer: evidence of one user in, a persona in plain English out. No model.

Every claim is a template filled from a closed vocabulary (readable subreddit names, visual tags,
lexicon words), so it can neither invent, quote nor obey what a user wrote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from persona import wording as words
from persona.items import SNIPPET, SUBREDDIT, TAG, Item, UserEvidence
from persona.lexicon import Reading, TraitScore, read_text, score_traits
from persona.privacy import sensitive_category
from persona.schema import Claim, Persona, Taste, Trait
from persona.topics import topic
from persona.verbalizer import Failed, Failure, Outcome
from persona.wording import Wording, facet_phrase, join_words

MAX_INTERESTS = 6
MAX_TRAITS = 3
MAX_CITED = 8
MIN_REMARKS = 3  # fewer texts say nothing about a person's tone
STRONG_SHARE, STEADY_SHARE = 0.3, 0.1  # of attention
INFERRED_DISCOUNT = 0.75
THIN_ITEMS = 5


@dataclass(frozen=True)
class _Notes:
    """Evidence of a user, read once."""

    subreddits: list[Item]
    tags: list[Item]
    snippets: list[Item]
    readings: list[Reading]

    def of_subreddit(self, name: str | None) -> list[tuple[Item, Reading]]:
        pairs = zip(self.snippets, self.readings, strict=True)
        return [(item, reading) for item, reading in pairs if item.subreddit == name]


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


def verbalize_user(user: UserEvidence, seed: int) -> Outcome:
    """The persona of one user, or why there is none."""
    wording = Wording(user.user_id, seed)
    snippets = user.of(SNIPPET)
    readings = [read_text(item.text) for item in snippets]
    notes = _Notes(user.of(SUBREDDIT), user.of(TAG), snippets, readings)
    interests = (*_interests(notes, wording), *_themes_across(notes, wording))
    aesthetic = _aesthetic(notes.tags, wording)
    affect = _affect(notes, wording)
    claims = [*interests, *aesthetic, *affect]
    if not claims:
        return Failed(Failure.NOTHING_TO_SAY, f"{len(user.items)} items support no claim")
    persona = Persona(
        summary=_summary(notes, affect, wording),
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
        told = notes.of_subreddit(item.subreddit)
        about = topic(item.text)
        name = f" (r/{item.text})" if about.known and about.text != item.text else ""
        if place == 0 and item.weight >= STRONG_SHARE:
            options = words.INTEREST_STRONG
        else:
            steady = item.weight >= STEADY_SHARE
            options = words.INTEREST_STEADY if steady else words.INTEREST_LIGHT
        text = wording.pick(f"interest:{place}", options).format(topic=about.text + name)
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


def _theme_suffix(about: str, readings: list[Reading], wording: Wording, place: int) -> str:
    """What the snippets of one subreddit are about, if two snippets or two words agree."""
    support: dict[str, int] = {}
    details: dict[str, list[str]] = {}
    for reading in readings:
        for theme, found in reading.themes.items():
            support[theme] = support.get(theme, 0) + 1
            details.setdefault(theme, []).extend(found)
    clear = [t for t, count in support.items() if count >= 2 or len(set(details[t])) >= 2]
    clear.sort(key=lambda theme: (-support[theme], -len(set(details[theme])), theme))
    fresh = [theme for theme in clear if theme != about]
    usual = [theme for theme in fresh if support[theme] >= 2]
    if not fresh:
        return ""
    options = words.THEME_SUFFIX if usual else words.THEME_ONCE
    fresh = (usual or fresh)[:2]
    return wording.pick(f"themes:{place}", options).format(themes=join_words(fresh))


def _themes_across(notes: _Notes, wording: Wording) -> list[Claim]:
    """Themes of at least three snippets in at least two subreddits."""
    seen: dict[str, list[Item]] = {}
    for item, reading in zip(notes.snippets, notes.readings, strict=True):
        for theme in reading.themes:
            seen.setdefault(theme, []).append(item)
    claims = []
    for theme, items in sorted(seen.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        if len(items) < 3 or len({item.subreddit for item in items}) < 2:
            continue
        text = wording.pick(f"across:{theme}", words.THEME_ACROSS).format(theme=theme)
        share = len(items) / len(notes.snippets)
        confidence = _clip(0.4 + 0.3 * share + 0.2 * _saturating(len(items), 4))
        cited = tuple(item.evidence_id for item in items[:MAX_CITED])
        claims.append(Claim(text=text, evidence=cited, confidence=confidence))
    return claims[:2]


def _aesthetic(tags: list[Item], wording: Wording) -> tuple[Taste, ...]:
    """One claim a facet, graded by the z-score of its best tag, the clearest facet first."""
    facets: dict[str, list[Item]] = {}
    for item in tags:
        facets.setdefault(item.facet or "", []).append(item)
    ordered = sorted(facets.items(), key=lambda pair: (-pair[1][0].weight, pair[0]))
    return tuple(_taste(facet, items, wording) for facet, items in ordered)


def _taste(facet: str, items: list[Item], wording: Wording) -> Taste:
    best = items[0]
    close = [item for item in items[1:] if item.weight >= 0.6 * best.weight]
    further = [item for item in items[1:] if item.weight < 0.6 * best.weight]
    things = join_words([facet_phrase(wording, facet, item.text) for item in (best, *close)])
    grade = next(options for z, options in words.TASTE_GRADES if best.weight >= z)
    text = wording.pick(f"taste:{facet}", grade).format(things=things)
    if further:
        lesser = join_words([facet_phrase(wording, facet, item.text) for item in further])
        text += f"; less so, {lesser}"
    certainty = 1 - math.exp(-best.weight / 1.6)
    return Taste(
        facet=facet,
        text=text,
        evidence=tuple(item.evidence_id for item in items[:MAX_CITED]),
        confidence=_clip(certainty * (INFERRED_DISCOUNT if best.inferred else 1.0)),
    )


def _affect(notes: _Notes, wording: Wording) -> tuple[Trait, ...]:
    traits = []
    if len(notes.snippets) >= MIN_REMARKS:
        scores = score_traits(notes.readings)[:MAX_TRAITS]
        traits += [_trait(score, notes, wording) for score in scores]
    breadth = _breadth(notes.subreddits, wording)
    return tuple([*traits, breadth] if breadth else traits)


def _trait(score: TraitScore, notes: _Notes, wording: Wording) -> Trait:
    pairs = zip(notes.snippets, notes.readings, strict=True)
    shown = [item.evidence_id for item, reading in pairs if score.name in reading.traits]
    text = wording.pick(f"trait:{score.name}", words.TRAIT_CLAIMS).format(
        trait=_adjective(score.name, wording), hits=score.hits, total=len(notes.snippets)
    )
    confidence = _clip(0.25 + 0.7 * score.floor)
    return Trait(
        name=score.name, text=text, evidence=tuple(shown[:MAX_CITED]), confidence=confidence
    )


def _breadth(subreddits: list[Item], wording: Wording) -> Trait | None:
    """Whether attention is spread or gathered: effective number of subreddits, exp(entropy)."""
    total = sum(item.weight for item in subreddits)
    if len(subreddits) < 4 or total <= 0:
        return None
    shares = [item.weight / total for item in subreddits if item.weight > 0]
    effective = math.exp(-sum(share * math.log(share) for share in shares))
    spread = effective / len(subreddits)
    options: tuple[str, ...]
    if spread >= 0.85 and effective >= 5:
        options = words.BROAD
    elif effective <= 2:
        options = words.FOCUSED
    else:
        return None
    cited = tuple(item.evidence_id for item in subreddits[:MAX_CITED])
    confidence = _clip(0.4 + 0.4 * abs(spread - 0.6))
    text = wording.pick("breadth", options)
    return Trait(name="breadth", text=text, evidence=cited, confidence=confidence)


def _summary(notes: _Notes, affect: tuple[Trait, ...], wording: Wording) -> str:
    sentences = [_summary_interests(notes.subreddits, wording)]
    if notes.tags:
        sentences.append(_summary_taste(notes.tags, wording))
    tones = [trait.name for trait in affect if trait.name in words.TRAIT_ADJECTIVES]
    if tones:
        traits = join_words([_adjective(name, wording) for name in tones])
        options = words.SUMMARY_TRAITS
        sentences.append(wording.pick("summary:traits", options).format(traits=traits))
    if any(item.inferred for item in notes.tags):
        sentences.append(wording.pick("caveat", words.CAVEAT_INFERRED))
    elif len(notes.subreddits) + len(notes.snippets) < THIN_ITEMS or len(sentences) < 2:
        sentences.append(wording.pick("caveat", words.CAVEAT_THIN))
    return " ".join(sentences)


def _summary_interests(subreddits: list[Item], wording: Wording) -> str:
    topics = list(dict.fromkeys(topic(item.text).text for item in subreddits[:3]))
    if not topics:
        return wording.pick("summary:interests", words.SUMMARY_NO_INTEREST)
    if len(topics) == 1:
        return wording.pick("summary:interests", words.SUMMARY_ONE).format(first=topics[0])
    rest = join_words(topics[1:])
    return wording.pick("summary:interests", words.SUMMARY_MANY).format(first=topics[0], rest=rest)


def _summary_taste(tags: list[Item], wording: Wording) -> str:
    by_facet: dict[str | None, Item] = {}
    for item in tags:
        by_facet.setdefault(item.facet, item)
    best = sorted(by_facet.values(), key=lambda item: -item.weight)
    phrases = {item: facet_phrase(wording, item.facet or "", item.text) for item in best}
    strong = [phrases[item] for item in best if item.weight >= words.DRAWN_FROM_Z][:3]
    weak = [phrases[item] for item in best if item.weight < words.DRAWN_FROM_Z][:2]
    if not strong:
        options = words.SUMMARY_TASTE_WEAK
        return wording.pick("summary:taste", options).format(weak=join_words(weak))
    inferred = any(item.inferred for item in best)
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
