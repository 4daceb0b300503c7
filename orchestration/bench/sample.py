"""`make bench-sample`: the sample run on several seeds, averaged, beside its goals.

Each seed has a world, a training and an evaluation of its own.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from orchestration import profiles
from orchestration.engines import quiet_engines
from orchestration.progress import Reporter
from orchestration.report import write_report
from orchestration.runner import run_profile
from orchestration.sample.config import WorldConfig
from orchestration.worlds import ensure_world

BENCH = Path("runs/bench")
# (figure, relation, what it is measured against: a number or another figure)
GOALS: tuple[tuple[str, str, float | str], ...] = (
    ("clip.palette", ">=", 0.95),
    ("clip.subject", ">=", 0.80),
    ("clip.treatment", ">=", 0.88),
    ("clip.composition", ">=", 0.82),
    ("taste.with_images_top1", ">=", 0.90),
    ("taste.without_images_top1", ">=", 0.82),
    ("taste.without_images_top1", ">", "taste.activity_top1"),
    ("taste.without_images_top1", ">", "taste.uniform_top1"),
    ("taste.without_images_top1", ">", "taste.idf_top1"),
    ("taste.activity_top1", "<", 0.40),
    ("taste.idf_top1", "<", 0.80),
    ("salience.attention_p3", ">=", 0.80),
    ("salience.activity_p3", "<", 0.50),
    ("link.mrr", ">", "link.popularity_mrr"),
    ("link.mrr", ">", "link.tfidf_mrr"),
    ("link.mrr", ">", "link.mf_mrr"),
    ("persona.grounded_claim_share", ">=", 1.0),
    ("persona.own_vs_other", ">=", 0.80),
    ("persona.permutation_p", "<", 0.001),
)
RELATIONS = {
    ">=": lambda value, goal: value >= goal,
    ">": lambda value, goal: value > goal,
    "<": lambda value, goal: value < goal,
}


def main(
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    users: Annotated[int, typer.Option(help="Users of each sample world.")] = 2000,
) -> None:
    """Run the sample on every seed, print each figure beside its goal, write sample.json."""
    quiet_engines()
    console = Console()
    runs = [measure(int(seed), users, console) for seed in seeds.split(",")]
    mean = average(runs)
    console.print(goal_table(mean, runs))
    BENCH.mkdir(parents=True, exist_ok=True)
    (BENCH / "sample.json").write_text(
        json.dumps({"mean": mean, "seeds": runs}, indent=2, sort_keys=True) + "\n"
    )


def measure(seed: int, users: int, console: Console) -> dict[str, Any]:
    """The metrics of one seed's run; what is done already is not run again."""
    root = BENCH / f"sample_seed{seed}"
    world = root.with_name(root.name + "_world")
    ensure_world(WorldConfig(users=users, seed=seed), world)
    profile = profiles.local_sample(root, world, seed)
    run_profile(profile, Reporter(console))
    write_report(profile)
    metrics: dict[str, Any] = json.loads((root / "metrics.json").read_text())
    return metrics


def average(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of every number that all runs have, under the same keys."""
    mean: dict[str, Any] = {}
    for key, value in runs[0].items():
        values = [run[key] for run in runs if key in run]
        if isinstance(value, dict):
            mean[key] = average([v for v in values if isinstance(v, dict)])
        elif isinstance(value, int | float):
            mean[key] = statistics.fmean(v for v in values if v is not None)
    return mean


def goal_table(mean: dict[str, Any], runs: list[dict[str, Any]]) -> Table:
    """One row a goal: the mean over seeds, each seed, and whether the mean meets it."""
    table = Table("figure", "goal", "mean", "by seed", "met")
    for name, relation, goal in GOALS:
        target = figure(mean, goal) if isinstance(goal, str) else goal
        value = figure(mean, name)
        label = f"{relation} {goal}" + (f" ({target:.3f})" if isinstance(goal, str) else "")
        by_seed = " ".join(f"{figure(run, name):.3f}" for run in runs)
        met = "[green]yes[/]" if RELATIONS[relation](value, target) else "[red]no[/]"
        table.add_row(name, label, f"{value:.4f}", by_seed, met)
    return table


def figure(metrics: dict[str, Any], name: str) -> float:
    """The number at a dotted path."""
    value: Any = metrics
    for key in name.split("."):
        value = value[key]
    return float(value)


if __name__ == "__main__":
    typer.run(main)
