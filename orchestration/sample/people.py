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
from orchestration.sample.tastes import NUM_TASTES, Kind, Subreddit

MAX_IMAGES = 20
_OWN_SHARES = (0.27, 0.31, 0.24, 0.18)  # of users with 1, 2, 3, 4 own-taste subreddits
_OFF_CHANCE, _MAX_OFF = 0.65, 3
_HUB_MEDIAN, _HUB_SPREAD = 12.0, 0.6  # of the log-normal mean of visits to a hub

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


def plan_people(config: WorldConfig, subreddits: Sequence[Subreddit]) -> tuple[Person, ...]:
    """All users; the first ones are the same whatever their number."""
    by_taste = [[s.index for s in subreddits if s.taste == t] for t in range(NUM_TASTES)]
    others = {kind: [s.index for s in subreddits if s.kind is kind] for kind in Kind}
    return tuple(_person(config, index, by_taste, others) for index in range(config.users))


def _person(
    config: WorldConfig,
    index: int,
    by_taste: Sequence[Sequence[int]],
    others: dict[Kind, list[int]],
) -> Person:
    rng = np.random.default_rng([config.seed, 1, index])
    taste = int(rng.integers(NUM_TASTES))
    own = by_taste[taste]
    num_own = min(1 + int(rng.choice(len(_OWN_SHARES), p=_OWN_SHARES)), len(own))
    foreign = [s for s in others[Kind.TASTE] if s not in own]
    num_off = int(rng.integers(1, _MAX_OFF + 1)) if rng.random() < _OFF_CHANCE else 0
    habits = [Habit(s, Role.OWN, 1 + int(rng.poisson(3))) for s in _some(own, num_own, rng)]
    habits += [Habit(s, Role.OFF, 1 + int(rng.poisson(8))) for s in _some(foreign, num_off, rng)]
    mixed = _some(others[Kind.MIXED], int(rng.integers(2, 7)), rng)
    habits += [Habit(s, Role.MIXED, 1 + int(rng.poisson(3))) for s in mixed]
    hubs = _some(others[Kind.HUB], int(rng.integers(2, 5)), rng)
    habits += [Habit(s, Role.HUB, 1 + int(rng.poisson(_hub_mean(rng)))) for s in hubs]
    is_poster = rng.random() < config.poster_share
    return Person(
        index=index,
        name=user_name(config.seed, index),
        taste=taste,
        is_new=bool(rng.random() < config.new_user_share),
        habits=tuple(habits),
        num_images=min(MAX_IMAGES, 1 + int(rng.lognormal(log(3.0), 0.9))) if is_poster else 0,
    )


def _hub_mean(rng: np.random.Generator) -> float:
    return float(rng.lognormal(log(_HUB_MEDIAN), _HUB_SPREAD))


def _some(options: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    return [int(s) for s in rng.choice(options, size=min(count, len(options)), replace=False)]
