"""Tombstones: users who were erased, and whom no later ingest takes in again.

They lie beside the key of the pseudonyms, outside the data, as the pseudonyms that this key gives:
without the key nobody can tell whose they are, and every ingest under the key honours them.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import polars as pl

from pipelines.pseudonym import Pseudonyms


def tombstones(key_file: Path | str) -> Path:
    """The file with the tombstones of a key, one user_id a line."""
    return Path(f"{key_file}.forgotten")


def forgotten_ids(key_file: Path | str) -> frozenset[str]:
    """Users who are to be left out; none where nobody was ever erased."""
    path = tombstones(key_file)
    return frozenset(path.read_text("ascii").split()) if path.exists() else frozenset()


def add_tombstone(key_file: Path | str, user_id: str) -> None:
    """Leave a user out of every later ingest; once is enough."""
    if user_id in forgotten_ids(key_file):
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(os.open(tombstones(key_file), flags, 0o600), "a") as file:
        file.write(f"{user_id}\n")
        file.flush()
        os.fsync(file.fileno())


def is_forgotten(author: pl.Expr, key_file: str) -> pl.Expr | None:
    """Whether an author was erased; None where nobody was, so that it costs nothing."""
    gone = forgotten_ids(key_file)
    if not gone:
        return None

    def matches(authors: pl.Series) -> pl.Series:
        names = authors.unique().drop_nulls().to_list()
        ids = _pseudonyms(key_file).user_ids(names)
        return authors.is_in([n for n, id_ in zip(names, ids, strict=True) if id_ in gone])

    return author.map_batches(matches, return_dtype=pl.Boolean)


@lru_cache(maxsize=4)
def _pseudonyms(key_file: str) -> Pseudonyms:
    return Pseudonyms.from_file(key_file)
