"""Evidence of single users, as verbalizers see it: EVIDENCE rows in, `UserEvidence` out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

import numpy as np
import polars as pl
import pyarrow as pa

from persona.tables import EVIDENCE
from pipelines.contract import ContractError

SUBREDDIT = "subreddit"
SNIPPET = "snippet"
TAG = "tag"
IMAGE = "image"
NEIGHBOUR = "neighbour"
DEMOGRAPHIC = "demographic"  # shown to no model

_HASHED = ("evidence_id", "kind", "subreddit", "facet", "text", "weight", "inferred")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Item:
    """One row of EVIDENCE, without the user."""

    evidence_id: str
    kind: str
    subreddit: str | None
    facet: str | None
    text: str
    weight: float
    tokens: int
    inferred: bool


@dataclass(frozen=True)
class UserEvidence:
    """All that may be said about one user rests on these items.

    Args:
        user_id: Pseudonym.
        items: In the order of EVIDENCE.
        pictures: JPEG bytes by evidence id, of the images whose bytes are at hand.
    """

    user_id: str
    items: tuple[Item, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    def of(self, kind: str) -> list[Item]:
        """Items of one kind, in order."""
        return [item for item in self.items if item.kind == kind]

    @cached_property
    def ids(self) -> frozenset[str]:
        """Evidence ids that claims may cite."""
        return frozenset(item.evidence_id for item in self.items)

    @cached_property
    def hash(self) -> str:
        """Content address of the evidence: 32 hexadecimal digits, the same for the same items."""
        digest = blake2b(digest_size=16)
        for item in self.items:
            fields = (
                item.evidence_id,
                item.kind,
                item.subreddit or "",
                item.facet or "",
                item.text,
                f"{item.weight:.3f}",
                "1" if item.inferred else "0",
            )
            digest.update("\x1f".join(fields).encode() + b"\x1e")
        return digest.hexdigest()


def evidence_hashes(table: pa.Table) -> dict[str, str]:
    """`UserEvidence.hash` of every user of EVIDENCE rows; takes a quarter of the time.

    Args:
        table: The rows of a user are in the order of EVIDENCE.
    """
    weights = table.column("weight").to_numpy()
    bits, place = np.unique(weights.view(np.int32), return_inverse=True)  # tells -0.0 from 0.0
    texts = np.array([f"{weight:.3f}" for weight in bits.view(np.float32).tolist()], object)
    frame = pl.DataFrame(pl.from_arrow(table)).with_columns(
        weight=pl.Series(texts[place].tolist(), dtype=pl.String),
        inferred=pl.col("inferred").cast(pl.Int8),
    )
    item = pl.concat_str([pl.col(name).fill_null("") for name in _HASHED], separator="\x1f")
    users = frame.group_by("user_id", maintain_order=True).agg((item + "\x1e").str.join())
    return {
        user: blake2b(items.encode(), digest_size=16).hexdigest()
        for user, items in users.iter_rows()
    }


def slug(text: str) -> str:
    """Lower case words joined by hyphens: "Golden hour" -> "golden-hour"."""
    return _NOT_SLUG.sub("-", text.lower()).strip("-")


def tag_id(facet: str, tag: str) -> str:
    """Evidence id of a tag: `g:palette:neon`. Both parts, as facets may share a word."""
    return f"g:{slug(facet)}:{slug(tag)}"


def group_users(table: pa.Table) -> Iterator[UserEvidence]:
    """Users of EVIDENCE rows, in order.

    Raises:
        ContractError: The rows of one user are not together.
    """
    names = [name for name in EVIDENCE.schema.names if name != "user_id"]
    columns = [table.column(name).to_pylist() for name in names]
    user_ids = table.column("user_id").to_pylist()
    items = [Item(*row) for row in zip(*columns, strict=True)]
    seen: set[str] = set()
    start = 0
    for stop in range(1, len(user_ids) + 1):
        if stop < len(user_ids) and user_ids[stop] == user_ids[start]:
            continue
        user_id = user_ids[start]
        if user_id in seen:
            raise ContractError(
                f"evidence: rows of user {user_id!r} are not together; sort by user_id"
            )
        seen.add(user_id)
        yield UserEvidence(user_id, tuple(items[start:stop]))
        start = stop


def evidence_table(users: list[UserEvidence]) -> pa.Table:
    """The inverse of `group_users`."""
    rows = [
        {"user_id": user.user_id, **{name: getattr(item, name) for name in Item.__slots__}}
        for user in users
        for item in user.items
    ]
    return EVIDENCE.check(pa.Table.from_pylist(rows, schema=EVIDENCE.schema))
