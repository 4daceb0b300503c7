"""When everybody does what: people -> image posts, and all submissions and comments in time.

Columns in numpy, not objects: 20,000 users make two million rows.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embed.tiny_clip.pictures import Picture
from orchestration.sample.config import WorldConfig
from orchestration.sample.people import Person, Role
from orchestration.sample.tastes import Factors, Subreddit, picture_of

T = TypeVar("T")

_DAY_S = 86_400
_OFF_DAYS = 7
_SELF_SHARE, _LINK_SHARE = 0.045, 0.03  # of visits; the others are comments
_CROSSPOST_CHANCE = 0.05
_STAYS = 0.6  # of users active in a month, in the next one, too: spells of 2.5 months


class Act(IntEnum):
    """What a row of `Acts` is."""

    COMMENT = 0
    SELF = 1
    LINK = 2
    IMAGE = 3


class Form(StrEnum):
    """How an image post refers to its images."""

    REDDIT = "reddit"  # https://i.redd.it/ID.jpg
    IMGUR = "imgur"  # https://i.imgur.com/ID.jpg
    IMGUR_PAGE = "imgur_page"  # https://imgur.com/ID
    GIFV = "gifv"  # https://i.imgur.com/ID.gifv
    GALLERY = "gallery"
    INLINE = "inline"  # a text post with images in it
    VIDEO = "video"  # v.redd.it, of which only a preview can be seen
    ALBUM = "album"  # https://imgur.com/a/ID, with a preview
    ELSEWHERE = "elsewhere"  # a direct link to another host
    CROSSPOST = "crosspost"


_FORM_SHARES = {
    Form.REDDIT: 0.52,
    Form.IMGUR: 0.16,
    Form.IMGUR_PAGE: 0.06,
    Form.GIFV: 0.02,
    Form.GALLERY: 0.10,
    Form.INLINE: 0.04,
    Form.VIDEO: 0.04,
    Form.ALBUM: 0.02,
    Form.ELSEWHERE: 0.04,
}
_SEVERAL = (Form.GALLERY, Form.INLINE)


class State(StrEnum):
    """What the image archive holds for an image."""

    OK = "ok"
    NEAR_DUPLICATE = "near_duplicate"  # an earlier image of the user, encoded anew
    NOT_FOUND = "not_found"  # 404
    REMOVED = "removed"  # 302 to the host's placeholder
    TRUNCATED = "truncated"
    EMPTY = "empty"
    HTML = "html"  # a web page instead of the image


_STATE_SHARES = {
    State.OK: 0.935,
    State.NEAR_DUPLICATE: 0.02,
    State.NOT_FOUND: 0.018,
    State.REMOVED: 0.009,
    State.TRUNCATED: 0.006,
    State.EMPTY: 0.005,
    State.HTML: 0.007,
}
READABLE = (State.OK, State.NEAR_DUPLICATE)


@dataclass(frozen=True, slots=True)
class Image:
    """One posted image.

    Args:
        number: Position in the world; the url derives from it.
        picture: What it shows.
        state: What the archive holds.
        drawn_as: Number of the image whose strokes it repeats; its own unless a near duplicate.
    """

    number: int
    picture: Picture
    state: State
    drawn_as: int


@dataclass(frozen=True, slots=True)
class Post:
    """One image post.

    Args:
        user, subreddit: Indices.
        created_utc: Epoch seconds.
        form: How it refers to its images.
        images: At least one.
        parent: Position in `plan_posts` of the post that a crosspost repeats, else -1.
    """

    user: int
    subreddit: int
    created_utc: int
    form: Form
    images: tuple[Image, ...]
    parent: int = -1


@dataclass(frozen=True)
class Acts:
    """All submissions or all comments, one element a row, in order of time.

    Args:
        act: `Act`, int8.
        user, subreddit: Indices, int32 and int16.
        created_utc: Epoch seconds, int64, not descending.
        post: Position in `plan_posts`, -1 for other acts, int32.
    """

    act: NDArray[np.int8]
    user: NDArray[np.int32]
    subreddit: NDArray[np.int16]
    created_utc: NDArray[np.int64]
    post: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.act)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Acts:
        """These rows only."""
        return Acts(
            act=self.act[rows],
            user=self.user[rows],
            subreddit=self.subreddit[rows],
            created_utc=self.created_utc[rows],
            post=self.post[rows],
        )


def month_bounds(month: str) -> tuple[int, int]:
    """First second of a month "YYYY-MM", and first second of the next one."""
    year, number = (int(part) for part in month.split("-"))
    after = (year + number // 12, number % 12 + 1)
    return timegm((year, number, 1, 0, 0, 0)), timegm((*after, 1, 0, 0, 0))


def plan_posts(
    config: WorldConfig,
    subreddits: Sequence[Subreddit],
    tastes: Sequence[Factors],
    people: Sequence[Person],
) -> list[Post]:
    """Image posts of all people, person after person."""
    posts: list[Post] = []
    number = 0
    for person in people:
        if not person.num_images:
            continue
        rng = np.random.default_rng([config.seed, 2, person.index])
        mine = _posts_of(config, subreddits, tastes[person.taste], person, number, rng=rng)
        number += person.num_images
        posts += mine
        posts += _crossposts(config, person, mine, len(posts) - len(mine), rng)
    return posts


def plan_acts(config: WorldConfig, people: Sequence[Person], posts: Sequence[Post]) -> Acts:
    """All that people do, the image posts included, in order of time."""
    chunks = [_visits(config, person) for person in people]
    act, user, subreddit, created = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    acts = Acts(
        act=np.concatenate([act, np.full(len(posts), Act.IMAGE)]).astype(np.int8),
        user=np.concatenate([user, [post.user for post in posts]]).astype(np.int32),
        subreddit=np.concatenate([subreddit, [p.subreddit for p in posts]]).astype(np.int16),
        created_utc=np.concatenate([created, [p.created_utc for p in posts]]).astype(np.int64),
        post=np.concatenate([np.full(len(act), -1), np.arange(len(posts))]).astype(np.int32),
    )
    return acts.where(np.lexsort((acts.post, acts.subreddit, acts.user, acts.created_utc)))


def _window(config: WorldConfig, person: Person) -> tuple[int, int]:
    """First and last second in which the person can act."""
    first = config.months[-1] if person.is_new else config.months[0]
    return month_bounds(first)[0], month_bounds(config.months[-1])[1] - 1


def _visits(config: WorldConfig, person: Person) -> tuple[NDArray[np.int64], ...]:
    rng = np.random.default_rng([config.seed, 3, person.index])
    start, end = _window(config, person)
    subreddit = np.repeat([h.subreddit for h in person.habits], [h.visits for h in person.habits])
    created = []
    for habit in person.habits:
        first, last = start, end
        if habit.role is Role.OFF:
            first = int(rng.integers(start, max(start + 1, end - _OFF_DAYS * _DAY_S)))
            last = min(end, first + _OFF_DAYS * _DAY_S)
        created.append(rng.integers(first, last, size=habit.visits))
    shares = [1 - _SELF_SHARE - _LINK_SHARE, _SELF_SHARE, _LINK_SHARE]
    act = rng.choice([Act.COMMENT, Act.SELF, Act.LINK], p=shares, size=len(subreddit))
    user = np.full(len(subreddit), person.index)
    times = np.concatenate(created)
    return act, user, subreddit, _when(config, person, times)


def active_months(config: WorldConfig, person: Person) -> tuple[str, ...]:
    """Months in which the person does anything, at least one: all, or spells of activity.

    A Markov chain whose stationary share of active months is `config.active_share`.
    """
    if person.is_new:
        return config.months[-1:]
    share = config.active_share
    if share == 1:
        return config.months
    rng = np.random.default_rng([config.seed, 6, person.index])
    stays = max(_STAYS, 2 - 1 / share)  # with less, no chance to return would be enough
    returns = share * (1 - stays) / (1 - share)
    months, is_active = [], rng.random() < share
    for month in config.months:
        if is_active:
            months.append(month)
        is_active = rng.random() < (stays if is_active else returns)
    return tuple(months) or (str(rng.choice(config.months)),)


def _when(config: WorldConfig, person: Person, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The times, in a month that has a dump and in which the person is active.

    Who is active in some months only does the same in the same order in less time.
    """
    if config.active_share == 1:
        return _inside_dumps(config, times)
    start, end = _window(config, person)
    bounds_M2 = np.array([month_bounds(month) for month in active_months(config, person)])
    after_M = np.cumsum(bounds_M2[:, 1] - bounds_M2[:, 0])
    elapsed = np.minimum((times - start) / (end - start) * after_M[-1], after_M[-1] - 1)
    month = np.searchsorted(after_M, elapsed, side="right")
    return (bounds_M2[month, 1] - after_M[month] + elapsed).astype(np.int64)


def _inside_dumps(config: WorldConfig, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The times, those in a month without a dump moved to the first month."""
    inside = np.zeros(len(times), bool)
    for month in config.months:
        start, end = month_bounds(month)
        inside |= (times >= start) & (times < end)
    start, end = month_bounds(config.months[0])
    return np.where(inside, times, start + times % (end - start))


def _posts_of(
    config: WorldConfig,
    subreddits: Sequence[Subreddit],
    taste: Factors,
    person: Person,
    number: int,
    *,
    rng: np.random.Generator,
) -> list[Post]:
    posts: list[Post] = []
    mine: list[Image] = []
    start, end = _window(config, person)
    while len(mine) < person.num_images:
        left = person.num_images - len(mine)
        place, factors = _place(person, subreddits, taste, rng)
        form = _draw(_FORM_SHARES, rng)
        wanted = int(rng.integers(2, 5)) if form in _SEVERAL else 1
        images = []
        for _ in range(min(wanted, left)):
            picture = picture_of(factors, rng)
            image = _image(number + len(mine), picture, mine, rng)
            images.append(image)
            mine.append(image)
        created = int(_when(config, person, rng.integers(start, end, size=1))[0])
        posts.append(Post(person.index, place, created, form, tuple(images)))
    return posts


def _place(
    person: Person, subreddits: Sequence[Subreddit], taste: Factors, rng: np.random.Generator
) -> tuple[int, Factors]:
    """Where a post goes, and what its images show: 75% on taste, 80% in own-taste subreddits.

    Shares: own .76 x .80 + mixed .15 x .95 = .75 on taste; the rest is random or follows the place.
    """
    roll = rng.random()
    role = Role.OWN if roll < 0.76 else Role.MIXED if roll < 0.91 else None
    if role is None:
        role = Role.HUB if rng.random() < 0.6 or not person.subreddits(Role.OFF) else Role.OFF
    place = int(rng.choice(person.subreddits(role)))
    if role is Role.OWN:
        return place, taste if rng.random() < 0.80 else {}
    if role is Role.MIXED:
        return place, taste if rng.random() < 0.95 else {}
    return place, subreddits[place].factors if rng.random() < 0.9 else {}


def _image(
    number: int, picture: Picture, earlier: Sequence[Image], rng: np.random.Generator
) -> Image:
    state = _draw(_STATE_SHARES, rng)
    originals = [image for image in earlier if image.state is State.OK]
    if state is not State.NEAR_DUPLICATE:
        return Image(number, picture, state, number)
    if not originals:
        return Image(number, picture, State.OK, number)
    original = originals[int(rng.integers(len(originals)))]
    return Image(number, original.picture, state, original.number)


def _crossposts(
    config: WorldConfig, person: Person, mine: Sequence[Post], base: int, rng: np.random.Generator
) -> Iterator[Post]:
    """Some posts again, an hour to a day later, in another own-taste subreddit."""
    own = person.subreddits(Role.OWN)
    _, end = _window(config, person)
    for position, post in enumerate(mine):
        places = [place for place in own if place != post.subreddit]
        created = post.created_utc + int(rng.integers(3_600, _DAY_S))
        if rng.random() >= _CROSSPOST_CHANCE or not places or post.subreddit not in own:
            continue
        if created > end or created != int(_inside_dumps(config, np.array([created]))[0]):
            continue
        place = int(rng.choice(places))
        parent = base + position
        yield Post(person.index, place, created, Form.CROSSPOST, post.images, parent)


def _draw(shares: dict[T, float], rng: np.random.Generator) -> T:
    options = list(shares)
    return options[int(rng.choice(len(options), p=np.array(list(shares.values()))))]
