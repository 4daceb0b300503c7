"""Tastes and the subreddits that show them: seed -> 15 tastes, and all subreddits of the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from embed.tiny_clip.pictures import FACETS, Picture
from orchestration.sample.config import WorldConfig
from orchestration.sample.lexicon import SINGLE_SUFFIXES, VALUES
from orchestration.sample.topics import HUB_TOPICS, TOPIC_PREFIXES, TOPICS, Topic

NUM_SINGLE, NUM_PAIRS = 5, 10
NUM_TASTES = NUM_SINGLE + NUM_PAIRS

Factors = Mapping[str, str]
"""Facet -> value, for the facets that a taste or a house style fixes."""


class Kind(StrEnum):
    """What the images of a subreddit have in common."""

    TASTE = "taste"  # one of the tastes, mostly
    MIXED = "mixed"  # nothing
    HUB = "hub"  # a house style that is nobody's taste


@dataclass(frozen=True, kw_only=True)
class Subreddit:
    """One subreddit.

    Args:
        index: Position in the world.
        name: Lower case, as in the tables.
        display_name: As in the dumps, which preserve case.
        kind: See `Kind`.
        factors: Of its taste or house style; empty if mixed.
        taste: Index of its taste, -1 if it has none.
        topic: What people talk about; None in taste subreddits, whose factors say it.
    """

    index: int
    name: str
    display_name: str
    kind: Kind
    factors: Factors
    taste: int = -1
    topic: Topic | None = None


def plan_tastes(rng: np.random.Generator) -> tuple[Factors, ...]:
    """15 tastes, 5 of one factor and 10 of two of different facets; none shares a value.

    A value planted twice would make two tastes look half alike, and top-1 accuracy ambiguous.
    """
    left = {facet: list(rng.permutation(values)) for facet, values in FACETS.items()}
    tastes: list[Factors] = []
    for index in range(NUM_TASTES):
        # The fullest facets first: no facet runs dry before the last pair is drawn.
        order = sorted(left, key=lambda facet: (-len(left[facet]), rng.random()))
        chosen = sorted(order[: 1 if index >= NUM_PAIRS else 2], key=list(FACETS).index)
        tastes.append({facet: str(left[facet].pop()) for facet in chosen})
    return tuple(tastes)


def plan_subreddits(
    config: WorldConfig, tastes: tuple[Factors, ...], rng: np.random.Generator
) -> tuple[Subreddit, ...]:
    """All subreddits: taste ones (taste after taste), then mixed ones, then hubs."""
    num_taste = config.subreddits // 2 // NUM_TASTES * NUM_TASTES
    num_hubs = max(2, config.subreddits // 12)
    num_mixed = config.subreddits - num_taste - num_hubs
    plans: list[tuple[Iterator[str], Kind, Factors, int, Topic | None]] = []
    names = [_taste_names(taste, rng) for taste in tastes]
    for position in range(num_taste):
        taste = position * NUM_TASTES // num_taste
        plans.append((names[taste], Kind.TASTE, tastes[taste], taste, None))
    for position in range(num_mixed):
        topic = TOPICS[position % len(TOPICS)]
        plans.append((_topic_names(topic), Kind.MIXED, {}, -1, topic))
    for position in range(num_hubs):
        topic = HUB_TOPICS[position % len(HUB_TOPICS)]
        plans.append((_topic_names(topic), Kind.HUB, _house_style(tastes, rng), -1, topic))
    return tuple(_named(plans, rng))


def picture_of(factors: Factors, rng: np.random.Generator) -> Picture:
    """A picture with these factors and random values for the other facets."""
    values = {facet: str(rng.choice(options)) for facet, options in FACETS.items()}
    return Picture(**(values | dict(factors)))


def shows(picture: Picture, factors: Factors) -> bool:
    """Whether the picture has all these factors."""
    return all(getattr(picture, facet) == value for facet, value in factors.items())


def _named(
    plans: list[tuple[Iterator[str], Kind, Factors, int, Topic | None]], rng: np.random.Generator
) -> Iterator[Subreddit]:
    used: set[str] = set()
    for index, (names, kind, factors, taste, topic) in enumerate(plans):
        display = next(name for name in names if name.lower() not in used)
        used.add(display.lower())
        yield Subreddit(
            index=index,
            name=display.lower(),
            display_name=display if rng.random() < 0.4 else display.lower(),
            kind=kind,
            factors=factors,
            taste=taste,
            topic=topic,
        )


def _taste_names(taste: Factors, rng: np.random.Generator) -> Iterator[str]:
    """Readable names, the best ones first, then numbered ones without end."""
    words = [VALUES[facet][value] for facet, value in taste.items()]
    stems = [word.prefix.capitalize() for word in words]
    ends = [word.suffix.capitalize() for word in words]
    if len(words) == 2:
        names = [stems[0] + ends[1], stems[1] + ends[0]]
        names += ["".join(stems) + end.capitalize() for end in rng.permutation(SINGLE_SUFFIXES)]
    else:
        names = [ends[0]]
        names += [stems[0] + end.capitalize() for end in rng.permutation(SINGLE_SUFFIXES)]
    yield from names
    yield from (f"{names[0]}{number}" for number in range(2, 10**6))


def _topic_names(topic: Topic) -> Iterator[str]:
    yield from (f"{prefix}{topic.name}" for prefix in TOPIC_PREFIXES)
    yield from (f"{topic.name}{number}" for number in range(2, 10**6))


def _house_style(tastes: tuple[Factors, ...], rng: np.random.Generator) -> Factors:
    """Two factors that are no taste together."""
    while True:
        facets = sorted(rng.choice(list(FACETS), size=2, replace=False), key=list(FACETS).index)
        style = {str(facet): str(rng.choice(FACETS[facet])) for facet in facets}
        if style not in tastes:
            return style
