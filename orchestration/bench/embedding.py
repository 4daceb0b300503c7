"""What `embed` measures in processes of their own: the step, the encoder alone; and their world."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

from embed.clip import load_clip
from embed.config import ClipConfig, EmbedConfig, EmbedResources
from embed.images import embed_images
from embed.tables import IMAGE_ARCHIVE
from pipelines.contract import Run
from pipelines.tables import MEDIA

MONTH = "2019-01"
ARCHIVE_SHARD, ROW_GROUP = 512, 64
ENCODE_WARM_UP = 2

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Which model, and how it runs.

    Args:
        model: Name for open_clip, or `tiny`.
        weights: File of its weights; empty for `tiny`.
        batch: Images encoded at once.
        gpu: On a GPU in bf16, compiled; else on the CPU in fp32.
    """

    model: str
    weights: str = ""
    batch: int = 64
    gpu: bool = False

    def words(self) -> list[str]:
        """As options of the commands here."""
        words = [f"--model={self.model}", f"--weights={self.weights}", f"--batch={self.batch}"]
        return [*words, "--gpu"] if self.gpu else words


def random_weights(model: str, folder: Path) -> str:
    """A file of random weights, the same for ever; the path of the file made before, if any."""
    import open_clip

    path = folder / f"{model}.pt"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.save(open_clip.create_model(model).state_dict(), path)
    return str(path)


def url_of(index: int) -> str:
    """Where image `index` of the world was had from."""
    return f"https://i.example/{index}.jpg"


def write_archive(bodies: Iterable[bytes], folder: Path) -> int:
    """Write bodies as an image archive, a few at once in memory; their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    stream, start, num_bytes = iter(bodies), 0, 0
    while part := list(islice(stream, ARCHIVE_SHARD)):
        columns = {
            "url": pa.array([url_of(start + row) for row in range(len(part))], pa.string()),
            "http_status": pa.array([200] * len(part), pa.int16()),
            "content": pa.array(part, pa.binary()),
        }
        table = IMAGE_ARCHIVE.check(pa.table(columns))
        file = folder / f"shard-{start:08d}.parquet"
        pq.write_table(table, file, row_group_size=ROW_GROUP, compression="none")
        start, num_bytes = start + len(part), num_bytes + sum(len(body) for body in part)
    return num_bytes


def write_media(num: int, root: Path) -> Run:
    """Publish MEDIA of the first `num` images of the world below `root`."""
    columns = {
        "submission_id": pa.array(range(1, num + 1), pa.uint64()),
        "position": pa.array([0] * num, pa.int16()),
        "image_id": pa.array([f"{index:032x}" for index in range(num)], pa.string()),
        "url": pa.array([url_of(index) for index in range(num)], pa.string()),
        "source": pa.array(["direct"] * num, pa.string()),
        "user_id": pa.array([f"user-{index % 997}" for index in range(num)], pa.string()),
        "subreddit": pa.array(["pics"] * num, pa.string()),
        "created_utc": pa.array(range(num), pa.int64()),
    }
    folder = root / "tables" / MEDIA.name / f"month={MONTH}"
    folder.mkdir(parents=True, exist_ok=True)
    MEDIA.write(folder, pa.table(columns))
    return Run(root=root, staging=root / "staging")


Model = Annotated[str, typer.Option()]


@app.command()
def encode(  # noqa: PLR0917  # a command's parameters are its options
    model: Model,
    weights: str = "",
    batch: int = 64,
    gpu: bool = False,
    threads: int = 0,
    seconds: float = 5.0,
) -> None:
    """Print images a second of the encoder alone, over tensors that are ready, what an image takes
    of processors, and FLOPs."""
    device, precision = ("cuda", "bf16") if gpu else ("cpu", "fp32")
    torch.set_num_threads(threads or os.cpu_count() or 1)
    clip = load_clip(model, weights, device, precision, compile_batch=batch if gpu else 0)
    generator = torch.Generator().manual_seed(0)
    shape = (batch, clip.image_px, clip.image_px, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
    per_s, cpu_s = per_second(lambda: clip.launch(pixels), seconds, device)
    result = {"per_s": per_s * batch, "cpu_s_per_image": cpu_s / batch}
    if gpu:
        from torch.utils.flop_counter import FlopCounterMode

        eager = load_clip(model, weights, device, precision)
        with FlopCounterMode(display=False) as counter:
            eager.launch(pixels)
        a_NN = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
        rate = per_second(lambda: a_NN @ a_NN, seconds, device)[0] * 2 * 8192**3
        flops = counter.get_total_flops() / batch
        result |= {"flops_per_image": flops, "matmul_flops_per_s": rate}
        result["share_of_matmul"] = result["per_s"] * flops / rate
    print(json.dumps(result))


def per_second(work: Callable[[], Any], seconds: float, device: str) -> tuple[float, float]:
    """Times a second that `work` is done, over at least `seconds`, after a warm-up; and the seconds
    of processors that one time takes."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    for _ in range(ENCODE_WARM_UP):
        work()
    wait()
    start, cpu_start, times = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        work()
        times += 1
        if times % 8 == 0:
            wait()
    wait()
    return times / (time.perf_counter() - start), (time.process_time() - cpu_start) / times


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """How far a step was at a time: images done, and seconds of processors of all its processes."""

    at_s: float
    done: float
    cpu_s: float


def steady(stamps: Sequence[Stamp], actors: int) -> tuple[float, float] | None:
    """(images a second, seconds of processors an image) while every actor is at work.

    From when each has finished a shard, so without its start and the loading of the model, until
    the first finds no further shard. None if that is no time.

    Args:
        stamps: The first when nothing was done, then one a shard.
        actors: That made the shards.
    """
    if len(stamps) < 2 * actors + 1:
        return None
    since, until = stamps[actors], stamps[-actors]
    num = until.done - since.done
    return num / (until.at_s - since.at_s), (until.cpu_s - since.cpu_s) / num


def tree_cpu_s() -> float:
    """Seconds of processors that this process and all below it took so far."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


@app.command()
def step(  # noqa: PLR0917  # a command's parameters are its options
    model: Model,
    root: Path,
    archive: Path,
    weights: str = "",
    batch: int = 64,
    gpu: bool = False,
    shard: int = 512,
) -> None:
    """Run the step embed_images below `root` as the runner would; print how fast, as JSON."""
    import ray

    cpus = os.cpu_count() or 1
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
    stamps: list[Stamp] = []
    run = Run(
        root=root,
        staging=root / "staging",
        on_progress=lambda done, *_: stamps.append(
            Stamp(at_s=time.perf_counter(), done=done, cpu_s=tree_cpu_s())
        ),
    )
    # The same photos come again and again under other urls: all are to be encoded.
    config = EmbedConfig(
        clip=ClipConfig(model=model, pretrained=weights),
        archive=str(archive),
        shard_images=shard,
        near_duplicate_bits=-1,
    )
    gpus = torch.cuda.device_count() if gpu else 0
    resources = EmbedResources(
        actors=gpus or cpus,
        threads_per_actor=max(1, cpus // (gpus or cpus)),
        gpus_per_actor=1.0 if gpu else 0.0,
        precision="bf16" if gpu else "fp32",
        compile=gpu,
        batch_images=batch,
    )
    start = time.perf_counter()
    counts = embed_images(config, resources, run)
    seconds = time.perf_counter() - start
    found = steady(stamps, resources.actors)
    print(
        json.dumps(
            {
                "per_s": found and found[0],
                "cpu_s_per_image": found and found[1],
                "whole_step_per_s": counts.rows_out / seconds,
                "seconds": seconds,
                "num_images": counts.rows_out,
                "num_ok": counts.metrics.get("num_ok", 0.0),
            }
        )
    )


if __name__ == "__main__":
    sys.exit(app())
