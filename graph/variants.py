"""Training of all variants from prepared arrays, resumable at every yield. Knows no engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graph.config import EncoderConfig, GraphResources, TrainConfig
from graph.csr import map_array
from graph.evaluate import Held
from graph.features import Features
from graph.prepare import View, make_sampler, new_encoder, sampler_config, training_graph
from graph.splits import Split
from graph.store import GraphStore
from graph.training import Trainer
from graph.validation import Curve, Validation

MAIN_VARIANT = "gat"
LAMBDA0 = "lambda0"

State = dict[str, Any]
"""`variant` under way, its `trainer` state, models of `finished` variants, `curves` so far."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is told; travels as a dictionary of plain values.

    Args:
        config, resources: Of the step.
        prepared: Folder of `prepare`.
    """

    config: TrainConfig
    resources: GraphResources
    prepared: str

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Job:
        """The job that `asdict` took apart."""
        config = values["config"]
        encoder = config["encoder"] | {"fanouts": tuple(config["encoder"]["fanouts"])}
        return Job(
            config=TrainConfig(**config | {"encoder": EncoderConfig(**encoder)}),
            resources=GraphResources(**values["resources"]),
            prepared=values["prepared"],
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which worker this is and how it meets the others.

    Args:
        rank, world_size: Of all workers.
        gather: This rank's tensor -> every rank's, by rank.
        device: Where the model lives.
    """

    rank: int = 0
    world_size: int = 1
    gather: Callable[[Tensor], list[Tensor]] = lambda tensor: [tensor]
    device: torch.device = torch.device("cpu")


def image_weights(config: TrainConfig) -> dict[str, float]:
    """lambda by variant, in the order of training."""
    ablated = {LAMBDA0: 0.0}
    return {MAIN_VARIANT: config.image_weight} | {name: ablated[name] for name in config.ablations}


def prepare(folder: Path, held: Held) -> None:
    """Write what training may see, and the validation edges of users it knows."""
    held.training.graph.save(folder / "graph")
    held.training.features.save(folder / "features")
    by_user = held.graph.by_user
    owner = by_user.rows_of_edges()
    chosen = (held.splits.edge == Split.VALIDATION) & ~held.splits.inductive[owner]
    np.save(folder / "validation_user.npy", owner[chosen].numpy())
    np.save(folder / "validation_subreddit.npy", by_user.neighbours[chosen].long().numpy())


def train_variants(job: Job, state: State | None, place: Place) -> Iterator[State]:
    """Train every variant that `state` lacks; yield a state after each logged epoch.

    Exactly the same states follow a state whether or not the process was a new one.

    Args:
        job: What to train on what.
        state: An earlier state to go on from; None starts.
        place: Of this worker. All workers must run this.
    """
    config, prepared = job.config, Path(job.prepared)
    view = View.of(GraphStore.map(prepared / "graph"), Features.open(prepared / "features"))
    sampler = make_sampler(
        job.resources.sampler, view.graph.by_user, view.graph.by_subreddit, sampler_config(config)
    )
    graph = training_graph(view, sampler, config.seed)
    validation = Validation(
        view=view,
        user=map_array(prepared / "validation_user.npy"),
        subreddit=map_array(prepared / "validation_subreddit.npy"),
        seed=config.seed,
    )
    state = state or {"variant": MAIN_VARIANT, "trainer": None, "finished": {}, "curves": []}
    for variant, weight in image_weights(config).items():
        if variant in state["finished"]:
            continue
        model = new_encoder(config, graph, view.contents).to(place.device)
        trainer = Trainer(
            config,
            model,
            graph,
            view.contents,
            image_weight=weight,
            rank=place.rank,
            world_size=place.world_size,
            gather=place.gather,
            device=place.device,
        )
        if state["variant"] == variant and state["trainer"] is not None:
            trainer.restore(state["trainer"])
        for curve in _epochs(trainer, variant, validation):
            state = _advance(state, variant, trainer, curve)
            yield state


def _epochs(trainer: Trainer, variant: str, validation: Validation) -> Iterator[Curve]:
    """Run the epochs that are left; a curve row at the first, every `log_every`th and the last."""
    config = trainer.config
    while trainer.epoch < config.epochs:
        started = time.perf_counter()
        losses = trainer.run_epoch()
        seconds = time.perf_counter() - started
        epoch = trainer.epoch
        if epoch in (1, config.epochs) or epoch % config.log_every == 0:
            plan = trainer.plan
            seeds = plan.steps_per_epoch * plan.chunks_per_step * plan.chunk_users
            yield Curve(
                variant=variant,
                epoch=epoch,
                loss_link=losses.link,
                loss_image=losses.image,
                seeds_per_s=seeds / seconds,
                **validation.measure(trainer.model),
            )


def _advance(state: State, variant: str, trainer: Trainer, curve: Curve) -> State:
    finished = dict(state["finished"])
    if trainer.epoch == trainer.config.epochs:
        finished[variant] = trainer.model.state_dict()
    return {
        "variant": variant,
        "trainer": trainer.state(),
        "finished": finished,
        "curves": [*state["curves"], asdict(curve)],
    }
