"""A small world that many tests read, and readers of what it wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from embed.tiny_clip.pictures import Picture
from orchestration.sample.activity import Form, Image, Post, State
from orchestration.sample.config import WorldConfig

SMALL = WorldConfig(users=80, subreddits=40, image_size=48, shard_images=64)

PICTURE = Picture(palette="neon", subject="cat", treatment="flat", composition="centered")
IMAGES = tuple(Image(number, PICTURE, State.OK, number) for number in (3, 4, 5))


def image_post(form: Form, images: int = 1) -> Post:
    """A post of the first of `IMAGES`."""
    return Post(7, 2, 1_570_000_000, form, IMAGES[:images])


def raw_lines(dump: Path) -> list[bytes]:
    """Lines of a dump, without line breaks."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
    with dump.open("rb") as file:
        data: bytes = decompressor.stream_reader(file).read()
    assert data.endswith(b"\n")
    return data[:-1].split(b"\n")


def objects(dump: Path) -> Iterator[dict[str, Any]]:
    """The lines of a dump that are objects with an id."""
    for line in raw_lines(dump):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and "id" in value:
            yield value


def dumps(folder: Path, kind: str) -> list[Path]:
    """Dumps of submissions ("RS") or comments ("RC") of a world, by month."""
    return sorted((folder / "dumps").glob(f"{kind}_*.zst"))
