"""The driver of embed_images by itself: time and memory of planning, sharing and counting.

`python -m orchestration.bench.embed_driver --images 1000000` prints a line of JSON. Shards are made
up in place of what actors write: of every ten images one is an exact and one a near-duplicate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from embed import images
from embed.config import EmbedConfig, EmbedResources
from embed.shards import Plan, ShardManifest
from embed.tables import IMAGE_EMBEDDINGS
from pipelines.contract import Run
from pipelines.tables import MEDIA

DIM = 8
NUM_COPIED = 1 << 17
FILE_ROWS = 500_000
POSTED_AGAIN = 5  # Of so many rows of MEDIA one shows an image that another shows, too.


def write_media(num: int, root: Path, seed: int) -> None:
    """Publish `num` rows of MEDIA below `root`, in files of `FILE_ROWS`."""
    rng = np.random.default_rng(seed)
    for start in range(0, num, FILE_ROWS):
        rows = np.arange(start, min(num, start + FILE_ROWS))
        again = rows % POSTED_AGAIN == 0
        numbers = np.where(again, rng.integers(0, num, len(rows)), rows).astype(np.uint64)
        ids = [f"{int(n) * 0x9E3779B97F4A7C15 % 2**64:016x}{int(n):016x}" for n in numbers]
        columns = {
            "submission_id": pa.array(rows, pa.uint64()),
            "position": pa.array(np.zeros(len(rows)), pa.int16()),
            "image_id": pa.array(ids, pa.string()),
            "url": pa.array([f"https://i.redd.it/{i[:13]}.jpg" for i in ids], pa.string()),
            "source": pa.array(["direct"] * len(rows), pa.string()),
            "user_id": pa.array([f"user-{n % 997}" for n in numbers], pa.string()),
            "subreddit": pa.array(["pics"] * len(rows), pa.string()),
            "created_utc": pa.array(
                rng.integers(1_500_000_000, 1_600_000_000, len(rows)), pa.int64()
            ),
        }
        folder = root / "tables" / MEDIA.name / "month=2019-01"
        folder.mkdir(parents=True, exist_ok=True)
        MEDIA.write(folder, pa.table(columns), f"part-{start:09d}")


def made_up_shards(
    plans: Mapping[str, Plan],
    folder: Path,
    resources: EmbedResources,
    worker: Mapping[str, Any],
) -> Iterator[int]:
    """In place of `embed.images.embed_shards`: rows with hashes and vectors drawn from the ids."""
    for part, plan in plans.items():
        ids = pl.read_parquet(plan.path, columns=["image_id"])["image_id"]
        own, kind = ids.hash(1), ids.hash(2).to_numpy() % np.uint64(10)
        # Copies have the hash of one of a few; near ones differ from it in one bit.
        drawn = pl.select(pl.when(pl.Series(kind < 2)).then(own % NUM_COPIED).otherwise(own))
        hashes = drawn.to_series().hash(3).to_numpy()
        phash = hashes ^ np.where(
            kind == 0, np.uint64(1) << (hashes >> np.uint64(58)), np.uint64(0)
        )
        x_ND = np.repeat((hashes % np.uint64(1000)).astype(np.float16)[:, None], DIM, axis=1)
        columns = {
            "image_id": ids.to_arrow().cast(pa.string()),
            "status": pa.array(["ok"] * len(ids), pa.string()),
            "phash": pa.array(phash, pa.uint64()),
            "colours": pa.array(hashes >> np.uint64(4), pa.uint64()),
            "width": pa.array(np.full(len(ids), 9), pa.int32()),
            "height": pa.array(np.full(len(ids), 9), pa.int32()),
            "shared_with": pa.nulls(len(ids), pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), DIM),
        }
        IMAGE_EMBEDDINGS.write(folder, pa.table(columns), part, worker["metadata"])
        ShardManifest(
            part=part,
            made_from=plan.made_from,
            num_images=len(ids),
            num_by_status={"ok": len(ids)},
        ).write(folder)
        yield len(ids)


def main() -> None:
    """Run the driver over made-up media; print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # In a process of its own: what that takes is not the driver's.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(write_media, options.images, root, options.seed).result()
        print(json.dumps(measured(root)))


def measured(root: Path) -> dict[str, Any]:
    """What the driver does and takes: its own memory alone, and the most scratch disk."""
    images.embed_shards = made_up_shards
    stamps: list[float] = []
    run = Run(
        root=root,
        staging=root / "staging",
        on_progress=lambda *_: stamps.append(time.perf_counter()),
    )
    before_bytes = peak_rss_bytes()
    start, cpu_start = time.perf_counter(), time.process_time()
    with Scratch(root / "staging" / "plans") as scratch:
        counts = images.embed_images(EmbedConfig(), EmbedResources(), run)
    end = time.perf_counter()
    return {
        "num_media": counts.rows_in,
        "num_images": counts.rows_out,
        "num_shared": counts.metrics["num_shared"],
        "planning_s": round(stamps[0] - start, 1),
        "sharing_s": round(end - stamps[-1], 1),
        "cpu_s": round(time.process_time() - cpu_start, 1),
        "peak_rss_bytes_before": before_bytes,
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_scratch_bytes": scratch.peak_bytes,
    }


class Scratch:
    """Samples how much a folder holds while the context is open."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.peak_bytes = folder, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Scratch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            held = 0
            for file in self._folder.rglob("*"):
                with contextlib.suppress(FileNotFoundError):
                    held += file.stat().st_size
            self.peak_bytes = max(self.peak_bytes, held)


def peak_rss_bytes() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
