"""Phases of `make bench-graph-scale`, each run in a process of its own, so that its memory is its.

Every phase reads what the one before published under one root, and prints one line of JSON.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
import typer
from torch import Tensor

from embed.tables import SUBREDDIT_FEATURES, VISUAL_TARGETS
from graph.batches import Batch, TrainingGraph, make_batch
from graph.build import build_graph
from graph.checkpoint import TrainedEncoder, save_encoder
from graph.config import EncoderConfig, GraphConfig, GraphResources, InferConfig, TrainConfig
from graph.contents import Contents, user_inputs
from graph.encode import encode_subreddits, encode_users
from graph.features import load_subreddit_features
from graph.infer import infer_users
from graph.model import TasteEncoder
from graph.prepare import View, make_sampler, make_splits, new_encoder, sampler_config
from graph.prepare import training_graph as reader
from graph.store import GraphStore
from graph.tables import CHECKPOINT, GRAPH_STORE, SALIENT_SUBREDDITS, USER_EMBEDDINGS
from graph.training import Plan, Trainer, chunk_gradient
from orchestration.bench.graph_reference import ReferenceLoop
from orchestration.bench.made_up_graph import GraphSize, write_interactions
from pipelines.contract import Artifact, Run, Table

CLIP_DIM = 64
SHARE_WITH_IMAGES = 0.02
TRAINING = "training_view"
WARMUP_STEPS = 3

app = typer.Typer()
Root = Annotated[Path, typer.Option(help="Of the run.")]
Threads = Annotated[int, typer.Option(help="Of torch.")]
Seconds = Annotated[float, typer.Option(help="To measure for.")]


def config_of(seed: int = 0) -> TrainConfig:
    """What is trained: 1,024 users a step."""
    return TrainConfig(
        encoder=EncoderConfig(dim=64, heads=4, fanouts=(16, 8)),
        image_weight=0.0,
        batch_users=1024,
        chunk_users=1024,
        inductive_share=0.05,
        seed=seed,
    )


@app.command()
def generate(root: Root, scale: float = 1.0, seed: int = 0, threads: Threads = 2) -> None:
    """INTERACTIONS."""
    size = GraphSize.of_scale(scale, seed)
    started = time.perf_counter()
    made = write_interactions(size, Run(root=root), threads)
    say(seconds=time.perf_counter() - started, bytes=made)


@app.command()
def build(root: Root) -> None:
    """INTERACTIONS -> GRAPH_STORE, and features for its subreddits."""
    run = Run(root=root, staging=root / "staging")
    started = time.perf_counter()
    counts = build_graph(GraphConfig(), GraphResources(), run)
    seconds = time.perf_counter() - started
    publish(run, GRAPH_STORE)
    _write_features(run)
    say(seconds=seconds, rows=counts.rows_in, **counts.written)


@app.command()
def train(root: Root, seconds: Seconds = 60.0, threads: Threads = 2, plain: bool = False) -> None:
    """Seeds a second of our trainer; the encoder is published.

    `plain` leaves out what the reference has not: how contents of neighbours agree.
    """
    torch.set_num_threads(max(1, threads - 1))  # One makes the batches.
    started = time.perf_counter()
    config, graph, contents = _prepared(root)
    config = replace(config, encoder=replace(config.encoder, content_attention=not plain))
    prepared_s = time.perf_counter() - started
    model = new_encoder(config, graph, contents)
    trainer = Trainer(config, model, graph, contents, image_weight=0.0)
    trainer.model.train()
    order = trainer.plan.order(graph.users, config.seed, 0)
    losses: list[float] = []
    batches = _endless(trainer, order)

    def step(i: int) -> None:
        losses.append(float(trainer.step(i, next(batches))[0]))

    rate = seeds_per_s(step, config, seconds)
    if not plain:
        _save(root, trainer.model)
    say(seeds_per_s=rate, prepare_s=prepared_s, users=len(graph.users), losses=_ends(losses))


@app.command()
def reference(root: Root, seconds: Seconds = 60.0, threads: Threads = 2) -> None:
    """Seeds a second of the reference loop, with one thread of torch or all, whichever is faster:
    beside other work, threads that wait for each other are many times slower than one."""
    config, graph, contents = _prepared(root)
    model = new_encoder(config, graph, contents)
    loop = ReferenceLoop(config, graph, contents, model, sampler_config(config))
    order = Plan.of(config, len(graph.users)).order(graph.users, config.seed, 0).flatten(1)
    losses: list[float] = []

    def step(i: int) -> None:
        losses.append(loop.step(i, order[i % len(order)]))

    rates = {}
    for number in sorted({1, threads}):
        torch.set_num_threads(number)
        rates[number] = seeds_per_s(step, config, seconds / 2)
    best = max(rates, key=lambda number: rates[number])
    say(seeds_per_s=rates[best], threads=best, losses=_ends(losses))


@app.command()
def infer(root: Root, workers: int = 2) -> None:
    """All users through the published encoder, on Ray Data."""
    import ray

    run = Run(root=root, staging=root / "staging")
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False,
             object_store_memory=200_000_000)  # fmt: skip
    resources = GraphResources(workers=workers, threads_per_worker=1)
    started = time.perf_counter()
    counts = infer_users(InferConfig(), resources, run)
    seconds = time.perf_counter() - started
    ray.shutdown()
    written = sum(
        path.stat().st_size
        for table in (USER_EMBEDDINGS, SALIENT_SUBREDDITS)
        for path in run.staged(table).rglob("*.parquet")
    )
    for table in (USER_EMBEDDINGS, SALIENT_SUBREDDITS):
        shutil.rmtree(run.staged(table))
    say(seconds=seconds, users=counts.rows_out, bytes=written)


@app.command()
def gpu(root: Root, seconds: Seconds = 60.0) -> None:
    """Graph and features in device memory: seeds a second, where time goes, and all users."""
    device = torch.device("cuda")
    config, graph, contents = _prepared(root)
    config = replace(config, batch_users=16_384, chunk_users=8_192)
    model = new_encoder(config, graph, contents).to(device)
    graph, contents = graph.to(device), contents.to(device)
    trainer = Trainer(config, model, graph, contents, image_weight=0.0, device=device)
    trainer.model.train()
    order = trainer.plan.order(graph.users, config.seed, 0)

    batches = _endless(trainer, order)

    def step(i: int) -> None:
        trainer.step(i, next(batches))
        torch.cuda.synchronize()

    rate = seeds_per_s(step, config, seconds)
    shares = _gpu_shares(config, graph, contents, trainer, order)
    say(seeds_per_s=rate, **shares, infer_s=_gpu_infer(trainer.model, graph, contents))


def _endless(trainer: Trainer, order: Tensor) -> Iterator[list[Batch]]:
    """Batches of the trainer's first epoch, again and again."""
    while True:
        yield from trainer.batches(order)


def _gpu_shares(
    config: TrainConfig, graph: TrainingGraph, contents: Contents, trainer: Trainer, order: Tensor
) -> dict[str, float]:
    """Share of a chunk's time in sampling, gathering and compute."""
    spent = dict.fromkeys(("sampling", "gathering", "compute"), 0.0)
    for i in range(WARMUP_STEPS, WARMUP_STEPS + 10):
        seeds = order[i % len(order), 0]
        marks = [_now()]
        graph.sampler.sample(seeds, 0)
        marks.append(_now())
        batch = make_batch(
            graph, contents, seeds, epoch=0, step=i, num_uniform=config.uniform_negatives
        )
        marks.append(_now())
        chunk_gradient(trainer.model, batch, 0.0, i)
        marks.append(_now())
        sampled, made, computed = np.diff(marks)
        spent["sampling"] += sampled
        spent["gathering"] += made - sampled
        spent["compute"] += computed
    total = sum(spent.values())
    return {f"share_{name}": value / total for name, value in spent.items()}


def _gpu_infer(model: TasteEncoder, graph: TrainingGraph, contents: Contents) -> float:
    """Seconds to encode every user from arrays on the device."""
    model.eval()
    rows = torch.arange(graph.by_subreddit.num_rows, device=model.device) + 1
    started = _now()
    states = encode_subreddits(
        model, graph.by_subreddit, graph.features, contents, rows=rows, seed=0
    )
    users = torch.arange(graph.by_user.num_rows, device=model.device)
    for part in users.split(1 << 16):
        inputs = user_inputs(contents, part)
        encode_users(model, states, graph.by_user, inputs=inputs, users=part, seed=0)
    return _now() - started


def _now() -> float:
    """Seconds, when the device has done all that it was given."""
    torch.cuda.synchronize()
    return time.perf_counter()


def say(**values: Any) -> None:
    """Print the result of a phase."""
    print(json.dumps(values))


def publish(run: Run, output: Table | Artifact) -> None:
    """Move what was staged to where readers look."""
    target = output.path(run)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    run.staged(output).rename(target)


def seeds_per_s(step: Callable[[int], None], config: TrainConfig, seconds: float) -> float:
    """Seeds a second of `step`, after some steps to warm up."""
    for i in range(WARMUP_STEPS):
        step(i)
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        step(WARMUP_STEPS + done)
        done += 1
    return done * config.batch_users / elapsed


def _ends(losses: list[float]) -> list[float]:
    """Mean loss of the first and of the last tenth of the steps."""
    tenth = max(1, len(losses) // 10)
    return [float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))]


def _prepared(root: Path) -> tuple[TrainConfig, TrainingGraph, Contents]:
    """Config, graph of the training edges, and contents, all mapped."""
    config, run = config_of(), Run(root=root)
    store = GraphStore.open(GRAPH_STORE.path(run))
    folder = root / TRAINING
    if not folder.is_dir():
        making = root / f"{TRAINING}.making"
        shutil.rmtree(making, ignore_errors=True)
        keep = make_splits(store, config).training_edges(store.by_user)
        store.subset(keep, making)
        making.rename(folder)
    graph = GraphStore.map(folder)
    view = View.of(graph, load_subreddit_features(run, store))
    sampler = make_sampler("torch", graph.by_user, graph.by_subreddit, sampler_config(config))
    return config, reader(view, sampler, config.seed), view.contents


def _save(root: Path, model: TasteEncoder) -> None:
    run = Run(root=root, staging=root / "staging")
    store = GraphStore.open(GRAPH_STORE.path(run))
    trained = TrainedEncoder(
        model=model.eval(),
        subreddits=store.subreddits(),
        seen_users=torch.from_numpy(np.sort(store.user_keys.numpy())),
        clock=store.clock(),
    )
    save_encoder(run.staged(CHECKPOINT), trained)
    publish(run, CHECKPOINT)


def _write_features(run: Run) -> None:
    """Random contents of all subreddits, and images of some users."""
    store, rng = GraphStore.open(GRAPH_STORE.path(run)), np.random.default_rng(0)
    names = store.subreddits()
    counts = rng.integers(1, 50, len(names)).astype(np.int32)
    table = {
        "subreddit": pa.array(names),
        "text_embedding": _vectors(_units(rng, len(names))),
        "image_sum": _vectors(_units(rng, len(names)) * counts[:, None] ** 0.7),
        "num_images": pa.array(counts),
        "num_users": pa.array(np.minimum(counts, 5).astype(np.int32)),
    }
    _replace(run, SUBREDDIT_FEATURES, pa.table(table))
    users = pl.scan_parquet(store.folder / "user_index.parquet")
    every = int(1 / SHARE_WITH_IMAGES)
    chosen = users.gather_every(every).collect()["user_id"].to_list()
    posted = {
        "user_id": pa.array(chosen),
        "embedding": _vectors(_units(rng, len(chosen))),
        "num_images": pa.array(rng.integers(1, 9, len(chosen)).astype(np.int32)),
    }
    _replace(run, VISUAL_TARGETS, pa.table(posted))


def _units(rng: np.random.Generator, rows: int) -> np.ndarray:
    x = rng.standard_normal((rows, CLIP_DIM), dtype=np.float32)
    x[:, 0] += 8.0  # as CLIP's, they share a large common part
    units: np.ndarray = x / np.linalg.norm(x, axis=1, keepdims=True)
    return units


def _vectors(x_ND: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(x_ND.astype(np.float32).ravel(), x_ND.shape[1])


def _replace(run: Run, table: Table, rows: pa.Table) -> None:
    folder = table.path(run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table.write(folder, rows)


if __name__ == "__main__":
    app()
