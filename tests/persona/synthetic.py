"""A literal small world for stage 4: the tables that earlier stages would have published.

Users come in two tastes, neon cats and pastel mountains, in a CLIP space of four named axes:
palette neon/pastel and subject cat/mountains. Every number is written here or follows from an
index, so expectations can be worked out by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from embed.tables import IMAGE_EMBEDDINGS, TAG_EMBEDDINGS, USER_IMAGES
from graph.tables import SALIENT_SUBREDDITS, USER_EMBEDDINGS
from pipelines.contract import Artifact, Run, Table
from pipelines.tables import INTERACTIONS, MEDIA, SNIPPETS

DIM, CLIP_DIM = 3, 4
TAGS = (
    ("palette", "neon", (1.0, 0.0, 0.0, 0.0)),
    ("palette", "pastel", (0.0, 1.0, 0.0, 0.0)),
    ("subject", "cat", (0.0, 0.0, 1.0, 0.0)),
    ("subject", "mountains", (0.0, 0.0, 0.0, 1.0)),
)
NEON_CATS = (0.6, 0.2, 0.7, 0.2)
PASTEL_MOUNTAINS = (0.2, 0.7, 0.2, 0.6)

NEON_TEXTS = (
    "The camera and the lens caught that glow, amazing photo!!",
    "Why does this one look so good? I wonder which lens it was.",
    "Thanks, I love how the photo came out, lovely work.",
)
HUB_TEXTS = ("Happy with my new desk, anyone else rearranging a room?",)


@dataclass
class User:
    """One user of the world; `attention` in order of rank."""

    user_id: str
    clip: Sequence[float] = NEON_CATS
    attention: dict[str, float] = field(default_factory=dict)
    snippets: dict[str, Sequence[str]] = field(default_factory=dict)
    images: Mapping[str, Sequence[float]] = field(default_factory=dict)
    heldout: Sequence[str] = ()
    has_images: bool = False
    comments: int = 5  # in each subreddit
    copies: dict[str, str] = field(default_factory=dict)  # image -> the image it looks like


def unit(vector: Sequence[float]) -> np.ndarray:
    """The vector at length 1, float32."""
    array = np.asarray(vector, np.float64)
    return (array / np.linalg.norm(array)).astype(np.float32)


def user_id(index: int) -> str:
    """A well-formed pseudonym, 16 characters of base 32; sorts as the index does."""
    return f"u{index:015d}".translate(str.maketrans("0123456789", "abcdefghij"))


def world(num_users: int = 6) -> list[User]:
    """Users by turns of neon cats (with images) and pastel mountains (without)."""
    users = []
    for index in range(num_users):
        name = user_id(index)
        if index % 2 == 0:
            users.append(
                User(
                    name,
                    NEON_CATS,
                    {"neonnights": 0.5, "analogcats": 0.3, "askeveryone": 0.2},
                    {"neonnights": NEON_TEXTS, "askeveryone": HUB_TEXTS},
                    {f"img{index}a": (0.6, 0.1, 0.7, 0.1), f"img{index}b": (0.1, 0.9, 0.1, 0.1)},
                    has_images=True,
                )
            )
        else:
            users.append(
                User(
                    name,
                    PASTEL_MOUNTAINS,
                    {"pastelpeaks": 0.7, "askscience": 0.3},
                    {"pastelpeaks": ("A quiet mountain above the fog and the lake.",)},
                )
            )
    return sorted(users, key=lambda user: user.user_id)


def publish_world(run: Run, users: Sequence[User]) -> None:
    """Write all input tables of stage 4 where a run publishes them."""
    _publish(run, USER_EMBEDDINGS, _embeddings(users))
    _publish(run, SALIENT_SUBREDDITS, _salient(users))
    _publish(run, INTERACTIONS, _interactions(users))
    _publish(run, SNIPPETS, _snippets(users))
    _publish(run, TAG_EMBEDDINGS, _tags())
    names = sorted({image for user in users for image in user.images})
    _publish(run, IMAGE_EMBEDDINGS, _images(users, names))
    _publish(run, USER_IMAGES, _user_images(users))
    _publish(run, MEDIA, _media(users))


def publish_staged(run: Run, *tables: Table | Artifact) -> None:
    """Move staged tables to where readers look, as the runner does."""
    for table in tables:
        table.path(run).parent.mkdir(parents=True, exist_ok=True)
        run.staged(table).rename(table.path(run))


def make_run(root: Path) -> Run:
    """A run with a staging folder."""
    return Run(root=root / "run", staging=root / "staging")


def image_id(name: str) -> str:
    """A well-formed image id that begins with the name's bytes."""
    return name.encode().hex().ljust(32, "0")[:32]


def _publish(run: Run, table: Table, rows: pa.Table) -> None:
    folder = table.path(run)
    folder.mkdir(parents=True, exist_ok=True)
    table.write(folder, rows)


def _vectors(vectors: Sequence[Sequence[float]], dim: int, type_: pa.DataType) -> pa.Array:
    dtype = np.float16 if type_ == pa.float16() else np.float32
    units = [unit(vector).astype(dtype) for vector in vectors]
    flat = np.concatenate(units) if units else np.zeros(0, dtype)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, type_), dim)


def _embeddings(users: Sequence[User]) -> pa.Table:
    size = len(users)
    z = [(1.0, (index % 7) / 7, 0.2) for index in range(size)]
    return pa.table(
        {
            "user_id": pa.array([user.user_id for user in users], pa.string()),
            "embedding": _vectors(z, DIM, pa.float32()),
            "clip_embedding": _vectors([user.clip for user in users], CLIP_DIM, pa.float32()),
            "num_subreddits": pa.array([len(user.attention) for user in users], pa.int32()),
            "has_images": pa.array([user.has_images for user in users], pa.bool_()),
            "inductive": pa.array([False] * size, pa.bool_()),
        }
    )


def _salient(users: Sequence[User]) -> pa.Table:
    rows = [
        {
            "user_id": user.user_id,
            "subreddit": name,
            "rank": rank,
            "attention": attention,
            "num_actions": 5,
        }
        for user in users
        for rank, (name, attention) in enumerate(user.attention.items())
    ]
    return pa.Table.from_pylist(rows, schema=SALIENT_SUBREDDITS.schema)


def _interactions(users: Sequence[User]) -> pa.Table:
    rows = [
        {
            "user_id": user.user_id,
            "subreddit": name,
            "active_month": "2019-10",
            "num_submissions": 0,
            "num_comments": user.comments,
            "score": 10,
            "first_utc": 1_570_000_000,
            "last_utc": 1_570_000_100,
        }
        for user in users
        for name in user.attention
    ]
    return pa.Table.from_pylist(rows, schema=INTERACTIONS.schema)


def _snippets(users: Sequence[User]) -> pa.Table:
    rows = [
        {
            "snippet_id": f"t1_{user.user_id[-4:]}{name[:4]}{place}",
            "user_id": user.user_id,
            "subreddit": name,
            "text": text,
            "score": 10 - place,
            "created_utc": 1_570_000_000 + place,
        }
        for user in users
        for name, texts in user.snippets.items()
        for place, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, schema=SNIPPETS.schema)


def _tags() -> pa.Table:
    return pa.table(
        {
            "facet": pa.array([facet for facet, _, _ in TAGS], pa.string()),
            "tag": pa.array([tag for _, tag, _ in TAGS], pa.string()),
            "embedding": _vectors([vector for _, _, vector in TAGS], CLIP_DIM, pa.float32()),
        }
    )


def _images(users: Sequence[User], names: Sequence[str]) -> pa.Table:
    vectors = {name: vector for user in users for name, vector in user.images.items()}
    copies = {name: original for user in users for name, original in user.copies.items()}
    size = len(names)
    return pa.table(
        {
            "image_id": pa.array([image_id(name) for name in names], pa.string()),
            "status": pa.array(["ok"] * size, pa.string()),
            "phash": pa.array([names.index(copies.get(n, n)) for n in names], pa.uint64()),
            "colours": pa.array([0] * size, pa.uint64()),
            "width": pa.array([64] * size, pa.int32()),
            "height": pa.array([64] * size, pa.int32()),
            "shared_with": pa.nulls(size, pa.string()),
            "embedding": _vectors([vectors[name] for name in names], CLIP_DIM, pa.float16()),
        }
    )


def _user_images(users: Sequence[User]) -> pa.Table:
    rows = [
        {
            "user_id": user.user_id,
            "image_id": image_id(name),
            "subreddit": next(iter(user.attention)),
            "heldout": name in user.heldout,
        }
        for user in users
        for name in user.images
    ]
    return pa.Table.from_pylist(rows, schema=USER_IMAGES.schema)


def _media(users: Sequence[User]) -> pa.Table:
    rows = [
        {
            "submission_id": index,
            "position": 0,
            "image_id": image_id(name),
            "url": f"https://i.example.net/{name}.jpg",
            "source": "direct",
            "user_id": user.user_id,
            "subreddit": next(iter(user.attention)),
            "created_utc": 1_570_000_000,
        }
        for index, (user, name) in enumerate((u, n) for u in users for n in u.images)
    ]
    return pa.Table.from_pylist(rows, schema=MEDIA.schema)
