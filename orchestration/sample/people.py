"""Who lives in the sample world: seed, subreddits -> users, the subreddits they visit, how often.

What makes a visited subreddit tell something about a taste is not how often it is visited: hubs are
visited most, and a subreddit of another taste is visited much, but in one week only. The own ones
are visited rarely, all the time, and there are several that look alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import gcd, log

import numpy as np

from orchestration.sample.config import WorldConfig
from orchestration.sample.tastes import Factors, Kind, Subreddit

MAX_IMAGES = 20
_OWN_SHARES = (0.31, 0.27, 0.24, 0.18)  # of users with 1, 2, 3, 4 own-taste subreddits
_OFF_CHANCE = 0.67
_OFF_SHARES = (0.25, 0.35, 0.40)  # of those users, with 1, 2, 3 subreddits of another taste
_POPULARITY_EXPONENT = 0.6
_HUB_MEDIAN, _HUB_SPREAD = 11.0, 0.6  # of the log-normal mean of visits to a hub

# None of these is a word of a taste, and names made of three of them are nobody's.
# fmt: off
_SYLLABLES = (
    "bal", "bru", "cor", "dra", "dul", "fen", "fiz", "gar", "gol", "grim", "hul", "jak",
    "jor", "kel", "kip", "kro", "lud", "lum", "mer", "mox", "nar", "nim", "nub", "olk",
    "orv", "pim", "plo", "quo", "rax", "ril", "rud", "sko", "sna", "tev", "tob", "trel",
    "tul", "ulm", "urk", "vam", "vel", "vib", "wex", "wol", "xan", "yar", "yel", "zed",
    "zil", "zor", "zum",
)
# fmt: on
_NUMBERS = range(10, 1000)


class Role(StrEnum):
    """Why a user visits a subreddit."""

    OWN = "own"  # it shows the user's taste
    OFF = "off"  # it shows another taste; a passing fancy
    MIXED = "mixed"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class Habit:
    """One subreddit that a user visits, and how many comments and texts the user leaves there."""

    subreddit: int
    role: Role
    visits: int


@dataclass(frozen=True, slots=True)
class Person:
    """One user.

    Args:
        index: Position in the world.
        name: As in the dumps.
        taste: Index of the planted taste.
        is_new: Appears in the last month.
        habits: Own, off-taste, mixed, hubs, in this order.
        num_images: Images that the user posts; 0 for most.
    """

    index: int
    name: str
    taste: int
    is_new: bool
    habits: tuple[Habit, ...]
    num_images: int

    def subreddits(self, role: Role) -> tuple[int, ...]:
        """Indices of the subreddits visited for this reason."""
        return tuple(habit.subreddit for habit in self.habits if habit.role is role)


def user_name(seed: int, index: int) -> str:
    """A made-up name, distinct for each index, whatever the case: `Veltobzor417`, `pim_orvnub52`.

    Raises:
        ValueError: The index is beyond the number of names.
    """
    base = len(_SYLLABLES)
    space = base**3 * len(_NUMBERS)
    if not 0 <= index < space:
        raise ValueError(f"index={index}: expected 0 to {space - 1}")
    # An affine permutation of all names: near indices get unlike names, and no two the same one.
    golden = round(space * 0.618034)
    step = next(n for n in range(golden, space) if gcd(n, space) == 1)
    code = (index * step + seed * 104_729 + space // 7) % space
    code, third = divmod(code, base)
    number, rest = divmod(code, base**2)
    first, second = divmod(rest, base)
    head, tail = _SYLLABLES[first], _SYLLABLES[second] + _SYLLABLES[third]
    style = (index * 7 + seed) % 5
    if style == 0:
        return f"{head}_{tail}{_NUMBERS[number]}"
    if style == 1:
        return f"{head.capitalize()}{tail.capitalize()}-{_NUMBERS[number]}"
    if style == 2:
        return f"{head}{tail}{_NUMBERS[number]}"
    return f"{head.capitalize()}{tail}{_NUMBERS[number]}"


def plan_people(
    config: WorldConfig, subreddits: Sequence[Subreddit], tastes: Sequence[Factors]
) -> tuple[Person, ...]:
    """All users; the first ones are the same whatever their number."""
    places = _Places(
        by_taste=[[s.index for s in subreddits if s.taste == t] for t in range(len(tastes))],
        mixed=[s.index for s in subreddits if s.kind is Kind.MIXED],
        hubs=[s.index for s in subreddits if s.kind is Kind.HUB],
        rivals=[_rivals(taste, tastes) for taste in tastes],
    )
    return tuple(_person(config, index, places) for index in range(config.users))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where a user can go: indices of subreddits, the popular ones first, and of rival tastes."""

    by_taste: list[list[int]]
    mixed: list[int]
    hubs: list[int]
    rivals: list[list[int]]


def _rivals(taste: Factors, tastes: Sequence[Factors]) -> list[int]:
    """Tastes with another value in a facet of this one: only those can be mistaken for it."""
    return [
        index for index, other in enumerate(tastes) if other != taste and set(other) & set(taste)
    ]


def _person(config: WorldConfig, index: int, places: _Places) -> Person:
    rng = np.random.default_rng([config.seed, 1, index])
    taste = int(rng.integers(len(places.by_taste)))
    num_own = 1 + int(rng.choice(len(_OWN_SHARES), p=_OWN_SHARES))
    habits = _habits(Role.OWN, places.by_taste[taste], num_own, 3, rng)
    if rng.random() < _OFF_CHANCE:
        fancy = places.by_taste[int(rng.choice(places.rivals[taste]))]
        num_off = 1 + int(rng.choice(len(_OFF_SHARES), p=_OFF_SHARES))
        habits += _habits(Role.OFF, fancy, num_off, 8, rng)
    habits += _habits(Role.MIXED, places.mixed, int(rng.integers(2, 7)), 3, rng)
    for hub in _some(places.hubs, int(rng.integers(2, 5)), rng):
        mean = float(rng.lognormal(log(_HUB_MEDIAN), _HUB_SPREAD))
        habits.append(Habit(hub, Role.HUB, 1 + int(rng.poisson(mean))))
    is_poster = rng.random() < config.poster_share
    return Person(
        index=index,
        name=user_name(config.seed, index),
        taste=taste,
        is_new=bool(rng.random() < config.new_user_share),
        habits=tuple(habits),
        num_images=min(MAX_IMAGES, 1 + int(rng.lognormal(log(6.0), 0.7))) if is_poster else 0,
    )


def _habits(
    role: Role, options: Sequence[int], count: int, mean: float, rng: np.random.Generator
) -> list[Habit]:
    places = _some(options, count, rng)
    return [Habit(place, role, 1 + int(rng.poisson(mean))) for place in places]


def _some(options: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Distinct options, the first ones more often: popularity falls with a power of the rank."""
    weight_S = np.arange(1, len(options) + 1) ** -_POPULARITY_EXPONENT
    size = min(count, len(options))
    chosen = rng.choice(options, size=size, replace=False, p=weight_S / weight_S.sum())
    return [int(option) for option in chosen]
