"""A small world with planted tastes, as the tables that stage 3 reads, drawn in CLIP space.

Users have a taste (one or two visual facets fixed). Their own-taste subreddits see little and
steady activity, hubs see nearly all of it, and off-taste ones a burst of one week. Images follow
the taste of their user three times out of four. So counts mislead, and content and time do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embed.tables import (
    IMAGE_EMBEDDINGS,
    SUBREDDIT_FEATURES,
    TAG_EMBEDDINGS,
    USER_IMAGES,
    VISUAL_TARGETS,
)
from pipelines.contract import Run, Table
from pipelines.tables import INTERACTIONS

Floats = npt.NDArray[np.float64]

FACETS = {"palette": 8, "subject": 10, "treatment": 8, "composition": 6}
MONTHS = ("2019-07", "2019-08", "2019-09", "2019-10", "2019-11", "2019-12")
START_UTC = 1_561_939_200  # 2019-07-01
MONTH_S = 30 * 86_400
WEEK_S = 7 * 86_400


@dataclass(frozen=True, kw_only=True)
class World:
    """What was drawn.

    Axes: M images, D of CLIP.

    Args:
        user_ids, subreddits: Names.
        image_vectors: float [M, D], unit, in the order of `image_user`.
        image_user, image_subreddit: int [M].
        image_heldout: bool [M].
        tags: float [facets' tags, D], unit text vectors; `tag_facet` says whose.
    """

    user_ids: list[str]
    subreddits: list[str]
    image_vectors: Floats
    image_user: npt.NDArray[np.int64]
    image_subreddit: npt.NDArray[np.int64]
    image_heldout: npt.NDArray[np.bool_]
    tags: Floats
    tag_facet: npt.NDArray[np.int64]
    text_vectors: Floats
    actions: list[tuple[int, int, int, int, int]]


def unit(x: Floats) -> Floats:
    """Rows of length one."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class _Painter:
    """Draws CLIP vectors: one direction a facet value, a modality gap, and noise."""

    def __init__(self, rng: np.random.Generator, dim: int) -> None:
        self.rng = rng
        self.sizes = np.array(list(FACETS.values()))
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        basis = unit(rng.normal(size=(int(self.sizes.sum()), dim)))
        self.image_side = basis
        self.text_side = unit(basis + 0.5 * rng.normal(size=basis.shape) / np.sqrt(dim))
        self.image_gap = unit(rng.normal(size=dim))
        self.text_gap = unit(rng.normal(size=dim))
        self.dim = dim

    def values(self, fixed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Facet values of images: those fixed, the rest at random."""
        drawn = self.rng.integers(0, self.sizes, size=fixed.shape)
        return np.where(fixed >= 0, fixed, drawn)

    def images(self, values: npt.NDArray[np.int64], place: npt.NDArray[np.int64]) -> Floats:
        """Unit vectors of images that show these values, in the manner of their subreddits."""
        parts = self.image_side[values + self.starts].sum(axis=1)
        noise = self.rng.normal(size=parts.shape) / np.sqrt(self.dim)
        manner = self.rng.normal(size=(int(place.max()) + 1, self.dim)) / np.sqrt(self.dim)
        return unit(1.6 * self.image_gap + 0.5 * parts + 0.5 * noise + 0.7 * manner[place])

    def texts(self, values: npt.NDArray[np.int64], noise: float) -> Floats:
        """Unit vectors of texts that name the values that are not -1."""
        vectors = self.text_side[np.maximum(values, 0) + self.starts]
        parts = (vectors * (values >= 0)[..., None]).sum(axis=1)
        blur = self.rng.normal(size=parts.shape) / np.sqrt(self.dim)
        return unit(1.6 * self.text_gap + 0.5 * parts + noise * blur)


def make_world(
    users: int = 2000,
    tastes: int = 15,
    mixed: int = 50,
    hubs: int = 10,
    dim: int = 64,
    seed: int = 0,
) -> World:
    """Draw a world; four subreddits a taste beside the mixed ones and the hubs."""
    rng = np.random.default_rng(seed)
    painter = _Painter(rng, dim)
    taste_values = _tastes(rng, tastes)
    num_taste = 4 * tastes
    subreddits = [f"taste{i // 4:02d}_{i % 4}" for i in range(num_taste)]
    subreddits += [f"mixed{i:02d}" for i in range(mixed)] + [f"hub{i:02d}" for i in range(hubs)]
    taste_of = np.array([i // 4 for i in range(num_taste)] + [-1] * (mixed + hubs))
    user_taste = rng.integers(0, tastes, size=users)
    names = sorted(f"{value:016x}" for value in rng.integers(0, 2**62, size=users))
    actions, visited = _activity(rng, user_taste, taste_of, num_taste, mixed, hubs)
    house = painter.values(np.full((hubs, len(FACETS)), -1))
    image_user, image_subreddit, values = _images(
        rng, painter, user_taste, taste_values, taste_of, visited, house, num_taste + mixed
    )
    fixed = np.full((len(subreddits), len(FACETS)), -1)
    fixed[:num_taste] = taste_values[taste_of[:num_taste]]
    return World(
        user_ids=names,
        subreddits=subreddits,
        image_vectors=painter.images(values, image_subreddit),
        image_user=image_user,
        image_subreddit=image_subreddit,
        image_heldout=_heldout(rng, image_user, users),
        tags=_tags(painter),
        tag_facet=np.repeat(np.arange(len(FACETS)), painter.sizes),
        text_vectors=painter.texts(fixed, noise=1.5),
        actions=actions,
    )


def _tastes(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """A third fix one facet, the others two; never composition; all distinct."""
    sizes = list(FACETS.values())
    chosen: dict[tuple[int, ...], None] = {}
    while len(chosen) < count:
        row = [-1] * len(FACETS)
        for facet in rng.choice(3, size=1 if 3 * len(chosen) < count else 2, replace=False):
            row[facet] = int(rng.integers(0, sizes[facet]))
        chosen[tuple(row)] = None
    return np.array(list(chosen))


def _activity(
    rng: np.random.Generator,
    user_taste: npt.NDArray[np.int64],
    taste_of: npt.NDArray[np.int64],
    num_taste: int,
    mixed: int,
    hubs: int,
) -> tuple[list[tuple[int, int, int, int, int]], list[list[int]]]:
    """(user, subreddit, time, is_submission, score) of every action; subreddits of each user."""
    actions, visited = [], []
    popularity = rng.dirichlet(np.full(hubs, 3.0))
    for user, taste in enumerate(user_taste):
        hub = num_taste + mixed + rng.choice(hubs, rng.integers(2, 5), replace=False, p=popularity)
        mix = num_taste + rng.choice(mixed, rng.integers(2, 7), replace=False)
        mine = rng.choice(np.flatnonzero(taste_of == taste), rng.integers(1, 5), replace=False)
        off: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        if rng.random() < 0.65:
            others = np.flatnonzero((taste_of != taste) & (taste_of >= 0))
            off = rng.choice(others, rng.integers(1, 4), replace=False)
        counts = {int(s): 1 + rng.poisson(rng.lognormal(np.log(30), 0.6)) for s in hub}
        counts |= {int(s): 1 + rng.poisson(6) for s in mix}
        counts |= {int(s): 1 + rng.poisson(3) for s in mine} | {
            int(s): 1 + rng.poisson(8) for s in off
        }
        for s, count in counts.items():
            span = len(MONTHS) * MONTH_S - 1
            times = rng.integers(0, span, size=count)
            if s in off:
                times = rng.integers(0, span - WEEK_S) + rng.integers(0, WEEK_S, size=count)
            for time in times:
                posted, score = int(rng.random() < 0.2), int(rng.geometric(0.2))
                actions.append((user, s, START_UTC + int(time), posted, score))
        visited.append(list(counts))
    return actions, visited


def _images(
    rng: np.random.Generator,
    painter: _Painter,
    user_taste: npt.NDArray[np.int64],
    taste_values: npt.NDArray[np.int64],
    taste_of: npt.NDArray[np.int64],
    visited: list[list[int]],
    house: npt.NDArray[np.int64],
    first_hub: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """User, subreddit and facet values of every image."""
    users, places, fixed = [], [], []
    for user, taste in enumerate(user_taste):
        if rng.random() < 0.55:
            continue
        mine = [s for s in visited[user] if taste_of[s] == taste]
        others = [s for s in visited[user] if taste_of[s] != taste]
        for _ in range(rng.integers(1, 21)):
            on_taste = rng.random() < 0.75
            place = int(rng.choice(mine if rng.random() < (0.7 if on_taste else 0.35) else others))
            shown = taste_values[taste if on_taste else rng.integers(0, len(taste_values))]
            if not on_taste and taste_of[place] >= 0 and rng.random() < 0.5:
                shown = taste_values[taste_of[place]]
            if place >= first_hub and rng.random() < 0.6:
                shown = house[place - first_hub]
            users.append(user)
            places.append(place)
            fixed.append(shown)
    return np.array(users), np.array(places), painter.values(np.array(fixed))


def _heldout(
    rng: np.random.Generator, image_user: npt.NDArray[np.int64], users: int
) -> npt.NDArray[np.bool_]:
    """A quarter of the images of users with four or more."""
    counts = np.bincount(image_user, minlength=users)[image_user]
    return (counts >= 4) & (rng.random(len(image_user)) < 0.25)


def _tags(painter: _Painter) -> Floats:
    rows = []
    for facet, size in enumerate(painter.sizes):
        values = np.full((int(size), len(FACETS)), -1)
        values[:, facet] = np.arange(size)
        rows.append(painter.texts(values, noise=0.2))
    return np.concatenate(rows)


def write_tables(world: World, run: Run) -> None:
    """Publish the world as the tables that stage 3 reads."""
    for month in range(len(MONTHS)):
        _publish(INTERACTIONS, run, _interactions(world, month), f"month={MONTHS[month]}")
    ids = [f"{i:032x}" for i in range(len(world.image_user))]
    vectors = world.image_vectors
    count = len(ids)
    _publish(
        IMAGE_EMBEDDINGS,
        run,
        {
            "image_id": pa.array(ids),
            "status": pa.array(["ok"] * count),
            "phash": pa.array(range(count), pa.uint64()),
            "colours": pa.array([0] * count, pa.uint64()),
            "width": pa.array([64] * count, pa.int32()),
            "height": pa.array([64] * count, pa.int32()),
            "shared_with": pa.nulls(count, pa.string()),
            "embedding": fixed_size(vectors, np.float16),
        },
    )
    _publish(
        USER_IMAGES,
        run,
        {
            "user_id": pa.array([world.user_ids[u] for u in world.image_user]),
            "image_id": pa.array(ids),
            "subreddit": pa.array([world.subreddits[s] for s in world.image_subreddit]),
            "heldout": pa.array(world.image_heldout),
        },
    )
    _publish(VISUAL_TARGETS, run, _targets(world))
    _publish(SUBREDDIT_FEATURES, run, _features(world))
    facets = list(FACETS)
    _publish(
        TAG_EMBEDDINGS,
        run,
        {
            "facet": pa.array([facets[f] for f in world.tag_facet]),
            "tag": pa.array([f"tag{i}" for i in range(len(world.tags))]),
            "embedding": fixed_size(world.tags, np.float32),
        },
    )


def fixed_size(rows: Floats, dtype: npt.DTypeLike) -> pa.FixedSizeListArray:
    """Vectors as Arrow."""
    flat = pa.array(np.ascontiguousarray(rows, dtype=dtype).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _publish(table: Table, run: Run, columns: dict[str, pa.Array], partition: str = "") -> None:
    folder = table.path(run) / partition
    folder.mkdir(parents=True, exist_ok=True)
    table.write(folder, pa.table(columns))


def _interactions(world: World, month: int) -> dict[str, pa.Array]:
    begin = START_UTC + month * MONTH_S
    rows: dict[tuple[str, str], list[int]] = {}
    for user, place, time, posted, score in world.actions:
        if begin <= time < begin + MONTH_S:
            key = (world.user_ids[user], world.subreddits[place])
            row = rows.setdefault(key, [0, 0, 0, time, time])
            row[0] += posted
            row[1] += 1 - posted
            row[2] += score
            row[3], row[4] = min(row[3], time), max(row[4], time)
    keys, values = list(rows), np.array(list(rows.values()))
    return {
        "user_id": pa.array([user for user, _ in keys]),
        "subreddit": pa.array([place for _, place in keys]),
        "active_month": pa.array([MONTHS[month]] * len(keys)),
        "num_submissions": pa.array(values[:, 0], pa.int32()),
        "num_comments": pa.array(values[:, 1], pa.int32()),
        "score": pa.array(values[:, 2], pa.int64()),
        "first_utc": pa.array(values[:, 3], pa.int64()),
        "last_utc": pa.array(values[:, 4], pa.int64()),
    }


def _targets(world: World) -> dict[str, pa.Array]:
    seen = ~world.image_heldout
    users = np.unique(world.image_user[seen])
    rows = [seen & (world.image_user == user) for user in users]
    means = unit(np.stack([world.image_vectors[row].mean(axis=0) for row in rows]))
    return {
        "user_id": pa.array([world.user_ids[u] for u in users]),
        "embedding": fixed_size(means, np.float32),
        "num_images": pa.array([int(row.sum()) for row in rows], pa.int32()),
    }


def _features(world: World) -> dict[str, pa.Array]:
    seen = ~world.image_heldout
    sums = np.zeros((len(world.subreddits), world.image_vectors.shape[1]))
    np.add.at(sums, world.image_subreddit[seen], world.image_vectors[seen])
    counts = np.bincount(world.image_subreddit[seen], minlength=len(sums))
    posters = [
        len(np.unique(world.image_user[seen & (world.image_subreddit == s)]))
        for s in range(len(sums))
    ]
    return {
        "subreddit": pa.array(world.subreddits),
        "text_embedding": fixed_size(world.text_vectors, np.float32),
        "image_sum": fixed_size(sums, np.float32),
        "num_images": pa.array(counts, pa.int32()),
        "num_users": pa.array(posters, pa.int32()),
    }
