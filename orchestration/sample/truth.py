"""What is true of a sample world and stands nowhere in its dumps, for tests and evaluation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from embed.tiny_clip.pictures import FACETS
from orchestration.sample import hosting
from orchestration.sample.activity import month_bounds
from orchestration.sample.mess import ADVERTISER, BOTS, SPAMMER
from orchestration.sample.people import Role
from orchestration.sample.plan import World
from orchestration.sample.tastes import Factors, Kind, shows
from pipelines.contract import Table, column

Row = dict[str, Any]

_FACTORS = [
    column(facet, pa.string(), f"planted {facet}; null where any will do", nullable=True)
    for facet in FACETS
]

USERS = Table(
    name="users",
    doc="one author of the world",
    key=("author",),
    schema=pa.schema(
        [
            column("author", pa.string(), "name as in the dumps"),
            column("kind", pa.string(), "poster, lurker (no images), spammer, bot or advertiser"),
            column("taste", pa.int32(), "index of the taste", nullable=True),
            *_FACTORS,
            column("own_subreddits", pa.list_(pa.string()), "visited ones that show the taste"),
            column("off_subreddits", pa.list_(pa.string()), "visited ones of other tastes"),
            column("is_new", pa.bool_(), "appears in the last month"),
            column("num_images", pa.int32(), "distinct images posted"),
        ]
    ),
)

SUBREDDITS = Table(
    name="subreddits",
    doc="one subreddit of the world",
    key=("name",),
    schema=pa.schema(
        [
            column("name", pa.string(), "lower case"),
            column("kind", pa.string(), "taste, mixed or hub"),
            column("taste", pa.int32(), "index of the taste", nullable=True),
            *_FACTORS,
        ]
    ),
)

IMAGES = Table(
    name="images",
    doc="one posted image, as the archive has it",
    key=("url",),
    schema=pa.schema(
        [
            column("url", pa.string(), "canonical url"),
            *(column(facet, pa.string(), f"{facet} of the picture") for facet in FACETS),
            column("author", pa.string(), "who posted it first"),
            column("subreddit", pa.string(), "where it was posted first, lower case"),
            column("on_taste", pa.bool_(), "has all factors of the author's taste"),
            column("state", pa.string(), "orchestration.sample.activity.State"),
        ]
    ),
)

MEDIA = Table(
    name="media",
    doc="one image of one submission that ingest must keep, crossposts included",
    key=("submission_id", "position"),
    schema=pa.schema(
        [
            column("submission_id", pa.uint64(), "base-36 id as a number"),
            column("url", pa.string(), "canonical url"),
            column("position", pa.int16(), "order among the readable images, from 0"),
            column("month", pa.string(), "of the dump, YYYY-MM"),
            column("form", pa.string(), "orchestration.sample.activity.Form"),
        ]
    ),
)


def write_tables(folder: Path, world: World) -> None:
    """Write all tables of the truth."""
    for table, rows in (
        (USERS, _users(world)),
        (SUBREDDITS, _subreddits(world)),
        (IMAGES, _images(world)),
        (MEDIA, _media(world)),
    ):
        batch = pa.Table.from_pylist(rows, schema=table.schema)
        table.write(folder, batch, table.name)


def write_lines(folder: Path, files: Mapping[str, Counter[tuple[str, str, str]]]) -> None:
    """Write `lines.json`: for each dump what must become of its lines.

    Args:
        folder: Of the truth.
        files: Dump -> (fate, reason, kind of mess) -> lines.
    """
    summary = {name: _summary(counts) for name, counts in sorted(files.items())}
    (folder / "lines.json").write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def _summary(counts: Counter[tuple[str, str, str]]) -> dict[str, Any]:
    by_fate: dict[str, Counter[str]] = {"rejected": Counter(), "dropped": Counter()}
    kinds: Counter[str] = Counter()
    for (fate, reason, kind), number in counts.items():
        kinds[kind] += number
        if fate != "kept":
            by_fate[fate][reason] += number
    kept = sum(number for (fate, _, _), number in counts.items() if fate == "kept")
    return {"lines": counts.total(), "kept": kept, "kinds": kinds} | by_fate


def _users(world: World) -> list[Row]:
    rows: list[Row] = [
        {
            "author": person.name,
            "kind": "poster" if person.num_images else "lurker",
            "taste": person.taste,
            **_factors(world.tastes[person.taste]),
            "own_subreddits": [world.subreddits[s].name for s in person.subreddits(Role.OWN)],
            "off_subreddits": [world.subreddits[s].name for s in person.subreddits(Role.OFF)],
            "is_new": person.is_new,
            "num_images": person.num_images,
        }
        for person in world.people
    ]
    nobody: Row = {"taste": None, "own_subreddits": [], "off_subreddits": []}
    nobody |= {"is_new": False, "num_images": 0} | _factors({})
    kinds = {SPAMMER: "spammer", ADVERTISER: "advertiser"} | dict.fromkeys(BOTS, "bot")
    return rows + [{"author": name, "kind": kind} | nobody for name, kind in kinds.items()]


def _subreddits(world: World) -> list[Row]:
    return [
        {
            "name": subreddit.name,
            "kind": subreddit.kind.value,
            "taste": subreddit.taste if subreddit.kind is Kind.TASTE else None,
            **_factors(subreddit.factors),
        }
        for subreddit in world.subreddits
    ]


def _images(world: World) -> list[Row]:
    return [
        {
            "url": hosting.image_url(world.config.seed, image, post.form),
            **{facet: getattr(image.picture, facet) for facet in FACETS},
            "author": world.people[post.user].name,
            "subreddit": world.subreddits[post.subreddit].name,
            "on_taste": shows(image.picture, world.tastes[world.people[post.user].taste]),
            "state": image.state.value,
        }
        for post in world.posts
        if post.parent < 0
        for image in post.images
    ]


def _media(world: World) -> list[Row]:
    rows: list[Row] = []
    months = [(month, month_bounds(month)) for month in world.config.months]
    for post, row in zip(world.posts, world.post_rows, strict=True):
        parent = world.posts[post.parent] if post.parent >= 0 else None
        month = next(m for m, (first, after) in months if first <= post.created_utc < after)
        for position, url in enumerate(hosting.canonical_urls(world.config.seed, post, parent)):
            rows.append(
                {
                    "submission_id": int(world.submission_ids[row]),
                    "position": position,
                    "url": url,
                    "month": month,
                    "form": post.form.value,
                }
            )
    return rows


def _factors(factors: Factors) -> dict[str, str | None]:
    return {facet: factors.get(facet) for facet in FACETS}
