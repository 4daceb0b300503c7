"""`make bench-graph-quality`: the encoder beside linear models on public bipartite graphs.

Each graph is split as it came: `transductive` trains on all users, `inductive` withholds the users
of `<graph>_new_users_20pct.txt` from training and scores them by their training edges. Whatever is
chosen is chosen on validation edges cut from the training edges; then all is trained again on all
of them. Results: runs/bench/graph_quality.json.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from graph.config import NO_ATTENTION, NO_SPECTRUM, EncoderConfig, TrainConfig
from graph.evaluate import ALL_DEGREES, Held, Result
from graph.experiment import Choices, choose, rank_baselines, rank_encoder, train_encoder
from graph.features import load_features
from graph.imports import Columns, import_graph
from graph.prepare import make_splits
from graph.store import GraphStore
from graph.tables import GRAPH_STORE
from graph.tuning import left_out
from graph.variants import MAIN_VARIANT
from pipelines.contract import Run

BENCH = Path("runs/bench")
DATA = Path("../shared/data/graphs")
SHOWN = ("recall_at_20", "ndcg_at_20")
SLOW = ("tfidf_items", "tfidf_users")  # Behind the others here, and as slow as all of them.
VALIDATION_SHARE = 0.1
INDUCTIVE_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A public graph: how the encoder is trained on it, and what is aimed at.

    Args:
        config: Of training.
        goals: Recall@20 and NDCG@20, transductive; inductive within 3% of them.
    """

    config: TrainConfig
    goals: tuple[float, float]


# These graphs have neither contents nor times, so attention reads degrees alone.
# Dense: users have a hundred subreddits, so many are read and many predicted.
DENSE = TrainConfig(
    encoder=EncoderConfig(
        dim=128, fanouts=(96, 0), dropout=0.3, content_attention=False, spectral=True
    ),
    image_weight=0.0,
    epochs=5,
    chunk_users=256,
    lr=3e-3,
    uniform_negatives=8192,
    max_targets=20,
    inductive_share=0.0,
    ablations=(NO_ATTENTION, NO_SPECTRUM),
)
SPARSE = replace(
    DENSE,
    encoder=replace(DENSE.encoder, dim=64, fanouts=(32, 0), dropout=0.2),
    epochs=3,
    uniform_negatives=4096,
)
DATASETS = {
    "ml-1m": Dataset(config=DENSE, goals=(0.275, 0.265)),
    "amazoncds": Dataset(config=SPARSE, goals=(0.154, 0.097)),
}


def main(
    *,
    data: Annotated[Path, typer.Option(help="Folder with <graph>/train.txt and test.txt.")] = DATA,
    only: Annotated[list[str] | None, typer.Option(help="This graph alone (repeatable).")] = None,
    seeds: Annotated[str, typer.Option(help="Of training, separated by commas.")] = "0",
    epochs: Annotated[int, typer.Option(help="Of training; 0: as is best for the graph.")] = 0,
    ablate: Annotated[bool, typer.Option(help="Train the ablations, too.")] = True,
    quick: Annotated[bool, typer.Option(help="ml-1m, one epoch: under three minutes.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for graphs and results.")] = BENCH,
) -> None:
    """Train and rank on every graph, print one table, write graph_quality.json."""
    console = Console()
    torch.set_num_threads(1)
    target = out / "graph_quality.json"
    figures: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    for name in only or (["ml-1m"] if quick else DATASETS):
        if not (data / name / "train.txt").is_file():
            console.print(
                f"{name}: skipped, no {data / name / 'train.txt'}; name the folder: --data"
            )
            continue
        dataset = DATASETS[name]
        config = replace(dataset.config, epochs=epochs or dataset.config.epochs)
        config = config if ablate else replace(config, ablations=())
        config = replace(config, epochs=1, ablations=()) if quick else config
        bench = Bench(name, imported(data, name, out / "graphs" / name), config, console)
        bench.run([int(seed) for seed in seeds.split(",")], figures, target)
        figures[name]["quick"] = quick
        target.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
        console.print(_table(name, figures[name], dataset.goals))


def imported(data: Path, name: str, root: Path) -> Run:
    """The graph as a run of its own; made once."""
    if not GRAPH_STORE.path(Run(root=root)).is_dir():
        shutil.rmtree(root, ignore_errors=True)
        import_graph(
            root,
            data / name / "train.txt",
            Columns(),
            test=data / name / "test.txt",
            new_users=data / f"{name}_new_users_20pct.txt",
        )
    return Run(root=root)


class Bench:
    """One graph, from its splits to figures."""

    def __init__(self, name: str, run: Run, config: TrainConfig, console: Console) -> None:
        self.name, self.config, self.console = name, config, console
        self.graph = GraphStore.open(GRAPH_STORE.path(run))
        self.features = load_features(run, self.graph)

    def run(self, seeds: list[int], figures: dict[str, Any], target: Path) -> None:
        """Fill `figures[name]`, and write all of them after every model."""
        held = self.held(VALIDATION_SHARE, 0.0)
        choices = choose(held, self.config, SLOW, self.watch("chosen on validation"))
        found = figures[self.name] = {
            "config": asdict(self.config),
            "left_out": left_out(self.graph),
            "choices": asdict(choices),
            "seeds": seeds,
            "training_s": {},
        }
        for split, share in (("transductive", 0.0), ("inductive", INDUCTIVE_SHARE)):
            held = self.held(0.0, share)
            results = rank_baselines(held, choices, 0, (split,))
            for seed in seeds:
                results += self.trained(held, choices, seed, found["training_s"], split)
                found[split] = _figures(results, split)
                found["peak_rss_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")

    def held(self, validation_share: float, inductive_share: float) -> Held:
        """The split with so much of the training edges for validation."""
        config = replace(
            self.config, validation_share=validation_share, inductive_share=inductive_share
        )
        return Held.of(self.graph, make_splits(self.graph, config), self.features)

    def trained(
        self, held: Held, choices: Choices, seed: int, seconds: dict[str, float], split: str
    ) -> list[Result]:
        """The encoder of this seed; of the first seed also its ablations, on all users."""
        config = replace(self.config, seed=seed)
        variants = {MAIN_VARIANT: config}
        if seed == 0 and split == "transductive":
            variants |= {name: config.ablated(name) for name in config.ablations}
        results = []
        for name, variant in variants.items():
            made = train_encoder(held, variant, self.watch(f"{split} {name} seed {seed}"))
            seconds[f"{split}.{name}.{seed}"] = made.seconds
            results += rank_encoder(
                held, made.model, choices, seed=seed, name=name, splits=(split,)
            )
        return results

    def watch(self, label: str) -> Any:
        """Says how training goes, every fifth epoch."""
        started = time.perf_counter()

        def say(epoch: int, loss: float) -> None:
            if epoch == 1 or epoch % 5 == 0:
                passed = time.perf_counter() - started
                self.console.print(
                    f"{self.name}, {label}: epoch {epoch}, loss {loss:.4f}, {passed:.0f} s"
                )

        return say


def _figures(results: list[Result], split: str) -> dict[str, Any]:
    """Mean over seeds of every model and metric; `by_degree` and each seed beside."""
    seen: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if result.split == split:
            seen[result.model][result.degree].append(result)
    figures: dict[str, Any] = {}
    for model, by_degree in seen.items():
        means = {degree: _mean(same) for degree, same in by_degree.items()}
        figures[model] = means.pop(ALL_DEGREES) | {"by_degree": means}
        figures[model]["seeds"] = [dict(r.metrics) for r in by_degree[ALL_DEGREES]]
    return figures


def _mean(results: list[Result]) -> dict[str, Any]:
    metrics = {
        metric: statistics.fmean(r.metrics[metric] for r in results)
        for metric in results[0].metrics
    }
    return metrics | {"num_users": results[0].num_users}


def _table(name: str, found: dict[str, Any], goals: tuple[float, float]) -> Table:
    table = Table("model", title=f"{name}: recall@20 / ndcg@20, peak {found['peak_rss_gb']:.1f} GB")
    splits = [split for split in ("transductive", "inductive") if split in found]
    for split in splits:
        table.add_column(split, justify="right")
    for model in found[splits[0]]:
        cells = [_cell(found[split].get(model)) for split in splits]
        table.add_row(model, *cells)
    for model, reason in found["left_out"].items():
        table.add_row(model, reason, style="dim")
    aims = [f"{goals[0]:.4f} / {goals[1]:.4f}", f"{0.97 * goals[0]:.4f} / {0.97 * goals[1]:.4f}"]
    table.add_row("goal", *aims[: len(splits)], style="bold")
    return table


def _cell(figures: dict[str, Any] | None) -> str:
    return "" if figures is None else " / ".join(f"{figures[metric]:.4f}" for metric in SHOWN)


if __name__ == "__main__":
    typer.run(main)
