"""The sample world on disk: config -> dumps, image archive, truth, pseudonym key."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from orchestration.sample import truth
from orchestration.sample.activity import Image
from orchestration.sample.archive import Shard, write_shard
from orchestration.sample.config import WorldConfig
from orchestration.sample.dumps import write_dumps
from orchestration.sample.hosting import image_url
from orchestration.sample.parallel import Mapper, processes
from orchestration.sample.plan import World, plan_world

Progress = Callable[[float, float | None, str], None]


def write_world(
    config: WorldConfig, folder: Path, progress: Progress | None = None, workers: int = 2
) -> None:
    """Write a sample world to `folder`, whole or not at all.

    Args:
        config: What the world is; equal configs give equal bytes.
        folder: Must not exist. Gets `dumps/`, `images/`, `truth/` and `key`.
        progress: Called with (done, total, unit).
        workers: Processes that draw pictures and write lines; 1 works in this process.

    Raises:
        FileExistsError: `folder` exists.
    """
    if folder.exists():
        raise FileExistsError(f"folder {folder} exists; remove it or choose another one")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    dumps, images, facts = (temporary / name for name in ("dumps", "images", "truth"))
    for path in (dumps, images, facts):
        path.mkdir(parents=True)
    world = plan_world(config)
    report = _Report(world, progress)
    with processes(workers) as map_in_order:
        files = write_dumps(world, dumps, map_in_order, report.rows)
        _write_images(world, images, map_in_order, report)
    truth.write_tables(facts, world)
    truth.write_lines(facts, files)
    _write_key(temporary / "key", config.seed)
    temporary.rename(folder)


class _Report:
    """Progress over lines, then images."""

    def __init__(self, world: World, progress: Progress | None) -> None:
        self._progress = progress
        self._totals = {
            "lines": len(world.submissions) + len(world.comments),
            "images": sum(len(post.images) for post in world.posts if post.parent < 0),
        }
        self._done = {"lines": 0, "images": 0}

    def rows(self, number: int) -> None:
        self._add("lines", number)

    def images(self, number: int) -> None:
        self._add("images", number)

    def _add(self, unit: str, number: int) -> None:
        self._done[unit] += number
        if self._progress is not None:
            self._progress(self._done[unit], self._totals[unit], unit)


def _write_images(world: World, folder: Path, map_in_order: Mapper, report: _Report) -> None:
    for number in map_in_order(write_shard, _shards(world, folder)):
        report.images(number)


def _shards(world: World, folder: Path) -> Iterator[Shard]:
    config, images = world.config, _images(world)
    part = 0
    while rows := list(islice(images, config.shard_images)):
        yield Shard(
            seed=config.seed,
            size=config.image_size,
            quality=config.image_quality,
            images=rows,
            part=f"part-{part:05d}",
            folder=folder,
        )
        part += 1


def _images(world: World) -> Iterator[tuple[str, Image]]:
    for post in world.posts:
        if post.parent < 0:
            for image in post.images:
                yield image_url(world.config.seed, image, post.form), image


def _write_key(path: Path, seed: int) -> None:
    """The key of the pseudonyms. That it follows from the seed is safe: nobody here is real."""
    path.write_text(hashlib.sha256(f"tastegraph sample key {seed}".encode()).hexdigest() + "\n")
    path.chmod(0o600)
