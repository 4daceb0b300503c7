"""`make bench-graph-scale`: the graph of 22 million users, built, trained on and inferred.

Generated interactions with power laws on both sides go through the real steps. Each phase runs in
a process of its own, whose tree's memory is measured. Training is beside the loop that others would
write (dgl's NeighborSampler, torch-geometric's GATv2Conv) on the same graph, and both measure in
turns, so that what else the machine does hits both.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from orchestration.bench.measure import measure

BENCH = Path("runs/bench")
QUICK_SCALE = 1 / 32
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
GB = 1e9
GOALS: Mapping[str, tuple[float, bool]] = {  # bound, and whether more is better; at scale 1
    "build.seconds": (900.0, False),
    "build.peak_rss_bytes": (8 * GB, False),
    "train.ratio": (1.5, True),
    "train.peak_rss_bytes": (8 * GB, False),
    "infer.seconds": (1800.0, False),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the bench runs.

    Args:
        scale: Share of the users and edges of the whole.
        seed: Of the graph.
        threads: Of torch, of polars and of the generator; workers of inference.
        seconds: Measured of each turn of training.
        turns: Of ours and of the reference.
        work: Folder of all graphs; removed at the end.
    """

    scale: float
    seed: int
    threads: int
    seconds: float
    turns: int
    work: Path


def main(
    *,
    quick: Annotated[bool, typer.Option(help="1/32 of the whole, under three minutes.")] = False,
    scale: Annotated[float, typer.Option(help="Share of 22M users; 0: 1, or 1/32 if quick.")] = 0.0,
    only_whole: Annotated[bool, typer.Option(help="No smaller graphs for the scaling.")] = False,
    threads: Annotated[int, typer.Option(help="CPUs to use.")] = os.cpu_count() or 1,
    seed: Annotated[int, typer.Option(help="Of the generated graph.")] = 0,
    work: Annotated[Path, typer.Option(help="Folder for graphs; the whole takes 40 GB.")] = (
        BENCH / "graph_scale_work"
    ),
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = BENCH,
) -> None:
    """Build, train and infer; print one table and write graph_scale.json."""
    console = Console()
    plan = Plan(
        scale=scale or (QUICK_SCALE if quick else 1.0),
        seed=seed,
        threads=threads,
        seconds=6.0 if quick else 60.0,
        turns=1 if quick else 3,
        work=work,
    )
    shares = SHARES[-1:] if only_whole else SHARES
    scaling = []
    for share in shares[:-1]:
        with console.status(f"build at {share:g} of the scale"):
            scaling.append(build_once(plan, share) | {"share": share})
            shutil.rmtree(plan.work, ignore_errors=True)
    result = whole(plan, console)
    scaling.append(_point(result["build"]) | {"share": 1.0})
    result |= {"scaling": scaling, "seed": seed, "quick": quick, "threads": threads}
    result["scale"] = plan.scale
    result["machine"] = {"cpus": os.cpu_count(), "platform": platform.platform()}
    shutil.rmtree(plan.work, ignore_errors=True)
    console.print(result_table(result), scaling_table(scaling))
    out.mkdir(parents=True, exist_ok=True)
    (out / "graph_scale.json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")


def whole(plan: Plan, console: Console) -> dict[str, Any]:
    """All phases at the scale of the plan."""
    with console.status("interactions are generated"):
        made = phase("generate", plan, scale=plan.scale, seed=plan.seed, threads=plan.threads)
    with console.status("build"):
        built = phase("build", plan)
    turns = []
    for turn in range(plan.turns):
        with console.status(f"training, turn {turn + 1} of {plan.turns}"):
            told = {"seconds": plan.seconds, "threads": plan.threads}
            full, plain = phase("train", plan, **told), phase("train", plan, "--plain", **told)
            turns.append((full, plain, phase("reference", plan, **told)))
    with console.status("inference"):
        inferred = phase("infer", plan, workers=plan.threads)
    result = {
        "generate": made,
        "build": built,
        "train": training(turns),
        "infer": inferred | {"users_per_s": inferred["users"] / inferred["seconds"]},
    }
    result["extrapolated_epoch_s"] = result["train"]["users"] / result["train"]["seeds_per_s"]
    if torch.cuda.is_available():
        with console.status("GPU"):
            result["gpu"] = phase("gpu", plan, seconds=plan.seconds)
    return result


def training(turns: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the turns of ours, ours without content attention (which the reference has not)
    and the reference; memory of the worst."""
    ours, _, theirs = zip(*turns, strict=True)
    speed, plain, reference = (
        statistics.median(turn["seeds_per_s"] for turn in side) for side in zip(*turns, strict=True)
    )
    ratios, plain_ratios = (
        [turn[i]["seeds_per_s"] / turn[2]["seeds_per_s"] for turn in turns] for i in (0, 1)
    )
    return ours[-1] | {
        "seeds_per_s": speed,
        "plain_seeds_per_s": plain,
        "reference_seeds_per_s": reference,
        "ratio": statistics.median(ratios),
        "plain_ratio": statistics.median(plain_ratios),
        "ratios": ratios,
        "plain_ratios": plain_ratios,
        "peak_rss_bytes": max(turn["peak_rss_bytes"] for turn in ours),
        "reference_peak_rss_bytes": max(turn["peak_rss_bytes"] for turn in theirs),
        "reference_losses": theirs[-1]["losses"],
    }


def build_once(plan: Plan, share: float) -> dict[str, float]:
    """Build a graph of this share of the scale: edges, seconds, memory."""
    scale = plan.scale * share
    phase("generate", plan, scale=scale, seed=plan.seed, threads=plan.threads)
    return _point(phase("build", plan))


def _point(built: Mapping[str, float]) -> dict[str, float]:
    return {name: built[name] for name in ("edges", "seconds", "peak_rss_bytes")}


def phase(name: str, plan: Plan, *flags: str, **options: float) -> dict[str, Any]:
    """Run one of `graph_phases` in a process of its own: what it says, and its peak memory."""
    words = [sys.executable, "-m", "orchestration.bench.graph_phases", name, *flags]
    words += ["--root", str(plan.work.resolve())]
    words += [word for key, value in options.items() for word in (f"--{key}", str(value))]
    measured = measure(words)
    said: dict[str, Any] = json.loads(measured.output.splitlines()[-1])
    return said | {"peak_rss_bytes": measured.peak_rss_bytes}


def result_table(result: Mapping[str, Any]) -> Table:
    """One row a phase; goals are of the whole scale, on two cores."""
    table = Table("phase", "seconds", "peak GB", "speed", "goal", title=_title(result))
    build, train, infer = result["build"], result["train"], result["infer"]
    made = result["generate"]
    table.add_row(
        "generate", f"{made['seconds']:,.0f}", _gb(made), f"{made['bytes'] / GB:.1f} GB", ""
    )
    table.add_row(
        "build",
        f"{build['seconds']:,.0f}",
        _gb(build),
        f"{build['rows'] / build['seconds']:,.0f} rows/s",
        _goals(result, "build.seconds", "build.peak_rss_bytes"),
    )
    table.add_row(
        "train, an epoch",
        f"{result['extrapolated_epoch_s']:,.0f}",
        _gb(train),
        f"{train['seeds_per_s']:,.0f} seeds/s",
        _goals(result, "train.peak_rss_bytes"),
    )
    table.add_row(
        "train, dgl and PyG",
        f"{train['users'] / train['reference_seeds_per_s']:,.0f}",
        f"{train['reference_peak_rss_bytes'] / GB:.2f}",
        f"{train['reference_seeds_per_s']:,.0f} seeds/s; ours {train['ratio']:.2f}x, without "
        f"content attention {train['plain_ratio']:.2f}x",
        _goals(result, "train.ratio"),
    )
    table.add_row(
        "infer",
        f"{infer['seconds']:,.0f}",
        _gb(infer),
        f"{infer['users_per_s']:,.0f} users/s",
        _goals(result, "infer.seconds"),
    )
    for name, value in result.get("gpu", {}).items():
        table.add_row("gpu", "", "", f"{name} {value:,.3g}", "")
    return table


def _title(result: Mapping[str, Any]) -> str:
    build = result["build"]
    return f"{build['users']:,} users, {build['subreddits']:,} subreddits, {build['edges']:,} edges"


def _gb(phase: Mapping[str, Any]) -> str:
    return f"{phase['peak_rss_bytes'] / GB:.2f}"


def _goals(result: Mapping[str, Any], *names: str) -> str:
    """The bounds, green where they are met; a smaller graph has none."""
    if result["scale"] != 1:
        return ""
    words = []
    for name in names:
        bound, more = GOALS[name]
        section, field = name.split(".")
        value = result[section][field]
        met = value >= bound if more else value <= bound
        shown = f"{bound / GB:g} GB" if field.endswith("bytes") else f"{bound:g}"
        words.append(f"[{'green' if met else 'red'}]{shown}[/]")
    return ", ".join(words)


def scaling_table(points: Sequence[Mapping[str, float]]) -> Table:
    """One row a size of the build."""
    table = Table("build", "edges", "seconds", "seconds per million edges", "peak GB")
    for point in points:
        per_million = point["seconds"] / point["edges"] * 1e6
        table.add_row(
            f"{point['share']:g}",
            f"{point['edges']:,.0f}",
            f"{point['seconds']:.1f}",
            f"{per_million:.2f}",
            f"{point['peak_rss_bytes'] / GB:.2f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
