"""`make bench-embed`: the step embed_images beside what its parts can do alone.

Photos are generated (`photos`), large encoders have random weights: neither changes a speed. The
step runs as in the flow, through Ray Data from an archive to the table, on all processors; the
encoder alone runs over tensors that are ready, on the same processors, in the same minutes.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from orchestration.bench.decoding import decode_speeds, mixed_per_second
from orchestration.bench.embed_http import run as bench_http
from orchestration.bench.embedding import Encoder, random_weights, write_archive, write_media
from orchestration.bench.kills import kill_again_and_again
from orchestration.bench.measure import measure
from orchestration.bench.photos import SIZE_CLASSES, mixed, photos

BENCH = Path("runs/bench")
NUM_IMAGES, QUICK_IMAGES = 20_000, 2_000
NUM_DISTINCT, QUICK_DISTINCT = 300, 60
NUM_KILLS, QUICK_KILLS = 10, 2
NUM_HTTP, QUICK_HTTP = 20_000, 2_000
# The slow model sees as many of the images as fit into this time, at the speed of its encoder.
LIMIT_S, QUICK_LIMIT_S = 240.0, 60.0
DECODE_S, QUICK_DECODE_S = 2.0, 0.3
KILL_IMAGES = 2_560
REFERENCE = "1080"
CPU_MODELS = {"tiny": 64, "ViT-B-32": 224}  # px of what they take
GPU_MODEL, GPU_BATCH = "ViT-L-14", 256
SHARD, BATCH, QUICK_BATCH = 512, 64, 16
ROUNDS = 6  # Shards an actor: the first holds its start, in the last others may have no work.
GOAL_RATIO, GOAL_DECODE, GOAL_HTTP = 0.9, 3.0, 0.999


def main(
    *,
    quick: Annotated[bool, typer.Option(help="Few images, under three minutes.")] = False,
    images: Annotated[int, typer.Option(help="Of the world; 0: 20000, or 2000 if quick.")] = 0,
    seed: Annotated[int, typer.Option(help="Of photos, weights and kills.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = BENCH,
    only: Annotated[str, typer.Option(help="decode, cpu, kills, http, gpu; several by comma.")] = (
        "decode,cpu,kills,http,gpu"
    ),
) -> None:
    """Measure decode, step, kills, HTTP and the GPU; print one table, write embed.json."""
    console = Console()
    parts = only.split(",")
    work = out / "embed_work"
    shutil.rmtree(work, ignore_errors=True)
    result: dict[str, Any] = {"quick": quick, "seed": seed, "machine": _machine()}
    with console.status("making photos"):
        made = photos(QUICK_DISTINCT if quick else NUM_DISTINCT, seed)
    if "decode" in parts:
        with console.status("decode"):
            result["decode"] = decode_part(made, QUICK_DECODE_S if quick else DECODE_S)
    _save(result, out)
    if {"cpu", "gpu"} & set(parts):
        num = images or (QUICK_IMAGES if quick else NUM_IMAGES)
        with console.status(f"writing an archive of {num:,} images"):
            num_bytes = write_archive(mixed(made, num, seed), work / "archive")
        result["world"] = {"num_images": num, "bytes": num_bytes, "shares": _shares()}
        if "cpu" in parts:
            result["cpu"] = cpu_part(num, quick, made, work, console)
        if "gpu" in parts and torch.cuda.is_available():
            result["gpu"] = gpu_part(num, work, console)
        _save(result, out)
    if "kills" in parts:
        with console.status("killing the step"):
            bodies = list(mixed(made, KILL_IMAGES, seed, ("640",)))
            num_kills = QUICK_KILLS if quick else NUM_KILLS
            result["kills"] = kill_again_and_again(bodies, num_kills, seed, work / "kills")
        _save(result, out)
    if "http" in parts:
        with console.status("HTTP"):
            result["http"] = bench_http(QUICK_HTTP if quick else NUM_HTTP, quick)
        _save(result, out)
    console.print(result_table(result))
    shutil.rmtree(work, ignore_errors=True)


def _save(result: Mapping[str, Any], out: Path) -> None:
    """What is measured so far: a later part may fail."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "embed.json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")


def decode_part(made: Mapping[str, Sequence[bytes]], seconds: float) -> dict[str, Any]:
    """Images a second of one core, ours and plain Pillow's, at 1080 x 1350, by size and mixed."""
    by_size = decode_speeds(made, seconds)
    mixed_s = sum(c.share / by_size[c.name]["ours_per_s"] for c in SIZE_CLASSES)
    return {**by_size[REFERENCE], "mixed_per_s": 1 / mixed_s, "by_size": by_size}


def cpu_part(
    num: int, quick: bool, made: Mapping[str, Sequence[bytes]], work: Path, console: Console
) -> dict[str, Any]:
    """End to end and encoder alone, of each model, on all processors of this machine.

    Both use the same processors, so the encoder alone is out of reach by what decoding takes;
    `bound_per_s` is what they could do without any other loss. The encoder alone is measured before
    and after, for speeds of a machine that others use drift; `cpu_ratio` does not: it is the share
    of the encoder in what an image takes of processors.
    """
    found = {}
    num_cpus = os.cpu_count() or 1
    for model, image_px in CPU_MODELS.items():
        weights = "" if model == "tiny" else random_weights(model, work / "weights")
        encoder = Encoder(model=model, weights=weights, batch=QUICK_BATCH if quick else BATCH)
        with console.status(f"{model}: decoder and encoder alone"):
            decode_per_s = num_cpus * mixed_per_second(
                made, image_px, QUICK_DECODE_S if quick else DECODE_S
            )
            before = encode_alone(encoder, num_cpus)
        limit_s = QUICK_LIMIT_S if quick else LIMIT_S
        batches = max(1, min(num, int(limit_s * before["per_s"])) // encoder.batch)
        batches_a_shard = max(1, batches // (ROUNDS * num_cpus))
        shard = min(SHARD, batches_a_shard * encoder.batch)
        with console.status(f"{model}: end to end"):
            ours = end_to_end(encoder, min(num, batches * encoder.batch), shard, work)
        with console.status(f"{model}: encoder alone, again"):
            after = encode_alone(encoder, num_cpus)
        encode_only = (before["per_s"] + after["per_s"]) / 2
        encode_cpu_s = (before["cpu_s_per_image"] + after["cpu_s_per_image"]) / 2
        bound = 1 / (1 / encode_only + 1 / decode_per_s)
        found[model] = {
            **ours,
            **against(ours, encode_only),
            "decode_per_s": decode_per_s,
            "bound_per_s": bound,
            "share_of_bound": ours["end_to_end_per_s"] / bound,
            "encode_cpu_s_per_image": encode_cpu_s,
            "cpu_ratio": encode_cpu_s / ours["cpu_s_per_image"],
        }
    return found


def encode_alone(encoder: Encoder, num_cpus: int) -> dict[str, float]:
    """Images a second of the encoder over tensors that are ready, and seconds of processors an
    image: in one process or in one for each processor, whichever is faster."""
    together = _measured("encode", *encoder.words())
    with ThreadPoolExecutor(num_cpus) as pool:
        words = ("encode", *encoder.words(), "--threads=1")
        apart = list(pool.map(lambda _: _measured(*words), range(num_cpus)))
    per_s = sum(each["per_s"] for each in apart)
    cpu_s = sum(each["per_s"] * each["cpu_s_per_image"] for each in apart) / per_s
    return max(together, {"per_s": per_s, "cpu_s_per_image": cpu_s}, key=lambda it: it["per_s"])


def gpu_part(num: int, work: Path, console: Console) -> dict[str, Any]:
    """Forward alone, its share of the matmul rate, and end to end from JPEG, on all GPUs."""
    weights = random_weights(GPU_MODEL, work / "weights")
    encoder = Encoder(model=GPU_MODEL, weights=weights, batch=GPU_BATCH, gpu=True)
    with console.status(f"{GPU_MODEL}: forward alone"):
        forward = _measured("encode", *encoder.words())
    with console.status(f"{GPU_MODEL}: end to end"):
        limit = forward["per_s"] * torch.cuda.device_count()
        ours = end_to_end(encoder, num, SHARD, work)
        found = {**ours, **against(ours, limit)}
    return {"model": GPU_MODEL, "num_gpus": torch.cuda.device_count(), **forward, **found}


def end_to_end(encoder: Encoder, num: int, shard: int, work: Path) -> dict[str, Any]:
    """The step on the first `num` images of the archive: steady, and with its start and end."""
    root = work / f"run-{encoder.model}"
    write_media(num, root)
    archive = str(work / "archive")
    told = ["step", *encoder.words(), f"--shard={shard}", str(root), archive]
    read, peak_rss_bytes = _read(told)
    if read["num_ok"] != num:
        raise AssertionError(f"{encoder.model}: {read['num_ok']:.0f} of {num} images were embedded")
    shutil.rmtree(root)
    return {
        "end_to_end_per_s": read["per_s"],
        "whole_step_per_s": read["whole_step_per_s"],
        "cpu_s_per_image": read["cpu_s_per_image"],
        "num_images": num,
        "shard_images": shard,
        "peak_rss_bytes": peak_rss_bytes,
    }


def against(ours: Mapping[str, Any], encode_only: float) -> dict[str, float]:
    """Ratios to the encoder alone: of the steady speed, and of that of the whole step."""
    return {
        "encode_only_per_s": encode_only,
        "ratio": ours["end_to_end_per_s"] / encode_only,
        "whole_step_ratio": ours["whole_step_per_s"] / encode_only,
    }


def _measured(*told: str) -> dict[str, Any]:
    return _read(told)[0]


def _read(told: Sequence[str]) -> tuple[dict[str, Any], int]:
    python = f"{shlex.quote(sys.executable)} -m orchestration.bench.embedding"
    measured = measure(f"{python} {shlex.join(told)}")
    return json.loads(measured.output.splitlines()[-1]), measured.peak_rss_bytes


def result_table(result: Mapping[str, Any]) -> Table:
    """One row a measurement: ours, what it is measured against, their ratio and its goal."""
    table = Table("measured", "ours", "against", "ratio", "goal")
    for name, size in result.get("decode", {}).get("by_size", {}).items():
        goal = GOAL_DECODE if name == REFERENCE else None
        plain = f"Pillow {size['pil_per_s']:,.0f}"
        row = (f"decode {name} px, a core", f"{size['ours_per_s']:,.0f}/s", plain)
        table.add_row(*row, *_judged(size["ratio"], goal))
    models = dict(result.get("cpu", {}))
    if "gpu" in result:
        models[f"{result['gpu']['model']} (GPU)"] = result["gpu"]
    for model, found in models.items():
        alone = f"encoder alone {found['encode_only_per_s']:,.1f}"
        speed = (f"{model}, {found['num_images']:,} images", f"{found['end_to_end_per_s']:,.1f}/s")
        table.add_row(*speed, alone, *_judged(found["ratio"], GOAL_RATIO))
        if "bound_per_s" in found:
            bound = f"encoder and decoder {found['bound_per_s']:,.1f}"
            share = f"{found['share_of_bound']:.2f}"
            table.add_row("  where decoding shares", "", bound, share, "")
            took, alone = found["cpu_s_per_image"], found["encode_cpu_s_per_image"]
            cpu = (f"{took * 1e3:,.1f} ms", f"encoder alone {alone * 1e3:,.1f} ms")
            table.add_row("  processors an image", *cpu, f"{found['cpu_ratio']:.2f}", "")
        whole, peak = found["whole_step_per_s"], found["peak_rss_bytes"] / 1e9
        row = ("  with its start", f"{whole:,.1f}/s", f"peak {peak:.2f} GB")
        table.add_row(*row, f"{found['whole_step_ratio']:.2f}", "")
    if "share_of_matmul" in result.get("gpu", {}):
        rate = f"matmul {result['gpu']['matmul_flops_per_s'] / 1e12:,.0f} TFLOP/s"
        share = f"{result['gpu']['share_of_matmul']:.2f}"
        table.add_row("  forward, of matmul", f"{result['gpu']['per_s']:,.0f}/s", rate, share, "")
    if kills := result.get("kills"):
        equal = "[green]equal[/]" if kills["equal_tables"] else "[red]not equal[/]"
        reworked = f"{kills['reworked']:,} of {kills['num_images']:,} again"
        most = f"at most {kills['most_reworked']:,}"
        table.add_row(f"{kills['kills']} kill -9", reworked, most, equal, "equal")
    if http := result.get("http"):
        sent, accounted = http["sent"], http["accounted"]
        reached = f"{http['private_reached']} private reached"
        row = (f"HTTP, {sent:,} images", f"{accounted:,} accounted", reached)
        table.add_row(*row, *_judged(accounted / sent, GOAL_HTTP))
    return table


def _judged(ratio: float, goal: float | None) -> tuple[str, str]:
    if goal is None:
        return f"{ratio:.2f}", ""
    return f"[{'green' if ratio >= goal else 'red'}]{ratio:.2f}[/]", str(goal)


def _shares() -> dict[str, float]:
    return {size_class.name: size_class.share for size_class in SIZE_CLASSES}


def _machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "platform": platform.platform(), "torch": torch.__version__}


if __name__ == "__main__":
    typer.run(main)
