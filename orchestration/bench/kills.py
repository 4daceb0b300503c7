"""The step embed_images, killed with all its processes at random moments and started again."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from embed.clip import Clip, load_clip
from embed.config import EmbedConfig, EmbedResources
from embed.images import embed_images
from embed.tables import IMAGE_EMBEDDINGS
from orchestration.bench.embedding import write_archive, write_media
from pipelines.contract import Run

SHARD, BATCH, ACTORS = 64, 16, 2
WAIT_S = 300.0
POLL_S = 0.01
COUNTS = "encoded"


@dataclass(frozen=True, kw_only=True)
class Kills:
    """What became of a run that was killed again and again.

    Args:
        kills: Times that it was killed.
        equal_tables: Whether its table is that of a run left alone.
        num_images: Images of the world.
        num_encoded: Images encoded in all, with those of shards that a kill cut short.
        reworked: Those encoded more than once.
        most_reworked: Bound on them: one shard an actor and kill.
    """

    kills: int
    equal_tables: bool
    num_images: int
    num_encoded: int
    reworked: int
    most_reworked: int


def kill_again_and_again(
    bodies: Sequence[bytes], num_kills: int, seed: int, work: Path
) -> dict[str, Any]:
    """`Kills` as plain data, of a world of `bodies` below `work`.

    Raises:
        AssertionError: A run ended before it could be killed, or failed.
    """
    archive = work / "archive"
    write_archive(bodies, archive)
    alone, killed = (work / name for name in ("alone", "killed"))
    for root in (alone, killed):
        write_media(len(bodies), root)
    _finish(_start(alone, archive))
    times = [time_s for time_s, _ in _encoded(alone)]
    span_s = (max(times) - min(times)) / max(1, num_kills)
    rng = random.Random(seed)
    for _ in range(num_kills):
        _kill(_start(killed, archive), killed, rng.uniform(0, span_s))
    _finish(_start(killed, archive))
    num_encoded = sum(num for _, num in _encoded(killed))
    found = Kills(
        kills=num_kills,
        equal_tables=_rows(killed) == _rows(alone),
        num_images=len(bodies),
        num_encoded=num_encoded,
        reworked=num_encoded - len(bodies),
        most_reworked=num_kills * ACTORS * SHARD,
    )
    return asdict(found)


def counting(folder: Path, **told: Any) -> Clip:
    """`load_clip`, writing down every batch that it encodes: the time and the number of images."""
    clip = load_clip(**told)
    launch = clip.launch
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / f"{os.getpid()}-{time.time_ns()}.txt").open("a", encoding="utf-8", buffering=1)

    def counted(pixels_NYXC: Tensor) -> Tensor:
        log.write(f"{time.time()} {len(pixels_NYXC)}\n")
        return launch(pixels_NYXC)

    clip.launch = counted  # type: ignore[method-assign]
    return clip


def run_step(root: Path, archive: Path) -> None:
    """The step, counting, in this process and the actors of a Ray of its own."""
    import ray

    ray.init(num_cpus=ACTORS, include_dashboard=False, log_to_driver=False)
    # The same photo comes again under other urls: all are to be encoded.
    config = EmbedConfig(archive=str(archive), shard_images=SHARD, near_duplicate_bits=-1)
    resources = EmbedResources(actors=ACTORS, batch_images=BATCH)
    run = Run(root=root, staging=root / "staging")
    embed_images(config, resources, run, load=partial(counting, root / COUNTS))


def _start(root: Path, archive: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestration.bench.kills", str(root), str(archive)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _finish(process: subprocess.Popen[bytes]) -> None:
    if status := process.wait():
        raise AssertionError(f"the step ended with status {status}")


def _kill(process: subprocess.Popen[bytes], root: Path, after_s: float) -> None:
    """SIGKILL to the step, Ray and its actors, `after_s` after it began to encode."""
    before, deadline = len(_encoded(root)), time.monotonic() + WAIT_S
    while len(_encoded(root)) == before:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the step did not encode: its status is {process.poll()}")
        time.sleep(POLL_S)
    time.sleep(after_s)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def _encoded(root: Path) -> list[tuple[float, int]]:
    lines = [line for file in (root / COUNTS).glob("*.txt") for line in _lines(file)]
    return [(float(line.split()[0]), int(line.split()[1])) for line in lines]


def _lines(file: Path) -> list[str]:
    """Whole lines: the last may be half written."""
    return [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _rows(root: Path) -> list[dict[str, Any]]:
    """The table that the step left, by image."""
    files = sorted((root / "staging" / IMAGE_EMBEDDINGS.name).glob("*.parquet"))
    rows: list[dict[str, Any]] = pa.concat_tables(pq.read_table(file) for file in files).to_pylist()
    return sorted(rows, key=lambda row: str(row["image_id"]))


if __name__ == "__main__":
    run_step(Path(sys.argv[1]), Path(sys.argv[2]))
