"""GRAPH_STORE and the features of stage 2 -> CHECKPOINT, TRAINING_CURVES, LINK_METRICS. Ray Train.

The driver prepares what training may see, as mapped arrays; workers train all variants one after
another and report a checkpoint at every logged epoch; the driver evaluates and writes. A killed
run finds Ray Train's state in its staging folder and goes on from the last checkpoint.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed
from torch import Tensor

from graph.config import GraphResources, TrainConfig
from graph.evaluate import ALL_DEGREES, Held
from graph.features import load_features
from graph.prepare import make_splits
from graph.results import (
    STATE_FILE,
    evaluate,
    trained_models,
    write_checkpoint,
    write_curves,
    write_metrics,
)
from graph.store import GraphStore
from graph.tables import CHECKPOINT, GRAPH_STORE, LINK_METRICS, TRAINING_CURVES
from graph.training import Plan, sharing_workers
from graph.variants import Job, Place, State, prepare, train_variants, variant_configs
from pipelines.contract import Counts, Run


def train_gat(config: TrainConfig, resources: GraphResources, run: Run) -> Counts:
    """Step: GRAPH_STORE, SUBREDDIT_FEATURES, USER_IMAGES, IMAGE_EMBEDDINGS -> CHECKPOINT,
    TRAINING_CURVES, LINK_METRICS."""
    graph = GraphStore.open(GRAPH_STORE.path(run))
    work = run.staged(CHECKPOINT).parent / "train_work"
    features = load_features(run, graph, work / "features")
    held = Held.of(graph, make_splits(graph, config), features, work / "views")
    prepare(work / "prepared", held)
    prepared = str((work / "prepared").resolve())
    seeds = int((held.training.graph.by_user.degrees() > 0).sum())
    workers = sharing_workers(Plan.of(config, seeds).chunks_per_step, resources.workers)
    resources = replace(resources, workers=workers)
    state = fit(Job(config=config, resources=resources, prepared=prepared), work / "ray")
    total = config.epochs * len(variant_configs(config))
    run.progress(total, total, "epochs")
    models = trained_models(config, held, state)
    results = evaluate(held, models, config.seed)
    write_checkpoint(run.staged(CHECKPOINT), models, held, features, state, work=work / "whole")
    write_curves(run.staged(TRAINING_CURVES), state)
    rows = write_metrics(run.staged(LINK_METRICS), results)
    inductive = int(held.splits.inductive.sum())
    return Counts(
        rows_in=graph.num_users,
        rows_out=graph.num_users - inductive,
        dropped={"inductive": inductive},
        written={"models": len(models), LINK_METRICS.name: rows},
        metrics={
            f"mrr_{r.model}": r.metrics["mrr"]
            for r in results
            if (r.split, r.degree) == ("transductive", ALL_DEGREES)
        },
    ).assert_balanced()


def fit(job: Job, storage: Path) -> State:
    """Train all variants on Ray Train; the state after the last epoch."""
    resources = job.resources
    per_worker = {"CPU": float(resources.threads_per_worker)}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    trainer = ray.train.torch.TorchTrainer(
        train_worker,
        train_loop_config=asdict(job),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=per_worker,
        ),
        run_config=ray.train.RunConfig(
            name="train",
            storage_path=str(storage.resolve()),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures),
        ),
    )
    with trainer.fit().checkpoint.as_directory() as folder:
        return read_state(Path(folder))


def train_worker(values: dict[str, Any]) -> None:
    """Loop of one Ray Train worker."""
    job = Job.from_dict(values)
    torch.set_num_threads(job.resources.threads_per_worker)
    context = ray.train.get_context()
    world_size = context.get_world_size()
    place = Place(
        rank=context.get_world_rank(),
        world_size=world_size,
        device=ray.train.torch.get_device(),
        gather=all_gather if world_size > 1 else Place.gather,
    )
    for state in train_variants(job, _last_state(), place):
        report(state, place.rank)


def all_gather(tensor: Tensor) -> list[Tensor]:
    """Every rank's tensor, by rank."""
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, tensor)
    return parts


def report(state: State, rank: int) -> None:
    """Hand the state to Ray Train: one rank brings the checkpoint, all take part."""
    metrics = dict(state["curves"][-1])
    if rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / STATE_FILE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def read_state(folder: Path) -> State:
    """The state in a checkpoint's folder: tensors and plain values, no code."""
    state: State = torch.load(folder / STATE_FILE, weights_only=True, map_location="cpu")
    return state


def _last_state() -> State | None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return read_state(Path(folder))
