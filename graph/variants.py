"""Training of all variants from prepared arrays, resumable at every yield. Knows no engine."""

from __future__ import annotations

import math
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
from graph.prepare import View, make_sampler, new_encoder, sampler_config, training_graph
from graph.splits import Split
from graph.training import Trainer
from graph.validation import Curve, Validation

MAIN_VARIANT = "gat"

State = dict[str, Any]
"""`variant` under way, its `trainer` state and `best` row so far with its `model` (None if training
is not to stop early), models of `finished` variants, `curves` so far."""


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


def variant_configs(config: TrainConfig) -> dict[str, TrainConfig]:
    """What to train by variant, in the order of training."""
    return {MAIN_VARIANT: config} | {name: config.ablated(name) for name in config.ablations}


def prepare(folder: Path, held: Held) -> None:
    """Write what training may see, and the validation edges of users it knows."""
    held.training.save(folder)
    by_user = held.graph.by_user
    edge = torch.nonzero(held.splits.edge == Split.VALIDATION)[:, 0]
    owner = by_user.rows_of_edges(edge)
    known = ~held.splits.inductive[owner]
    np.save(folder / "validation_user.npy", owner[known].numpy())
    np.save(folder / "validation_subreddit.npy", by_user.neighbours[edge[known]].long().numpy())


def train_variants(job: Job, state: State | None, place: Place) -> Iterator[State]:
    """Train every variant that `state` lacks; yield a state at every checkpoint.

    Exactly the same states follow a state whether or not the process was a new one.

    Args:
        job: What to train on what.
        state: An earlier state to go on from; None starts.
        place: Of this worker. All workers must run this.
    """
    session = Session.open(job, place)
    state = state or {
        "variant": MAIN_VARIANT,
        "trainer": None,
        "best": None,
        "finished": {},
        "curves": [],
    }
    for variant, config in variant_configs(job.config).items():
        if variant not in state["finished"]:
            for new_state in session.train(variant, config, state):
                state = new_state
                yield state


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the variants of one worker share.

    Args:
        job, place: See there.
        view: The prepared training graph and features.
        validation: Edges to watch.
    """

    job: Job
    place: Place
    view: View
    validation: Validation

    @staticmethod
    def open(job: Job, place: Place) -> Session:
        """Map what `prepare` wrote."""
        config, prepared = job.config, Path(job.prepared)
        view = View.open(prepared)
        return Session(
            job=job,
            place=place,
            view=view,
            validation=Validation(
                view=view,
                user=map_array(prepared / "validation_user.npy"),
                subreddit=map_array(prepared / "validation_subreddit.npy"),
                seed=config.seed,
            ),
        )

    def train(self, variant: str, config: TrainConfig, state: State) -> Iterator[State]:
        """Train one variant from `state` on; yield a state at every checkpoint and at the end."""
        trainer, best = self._trainer(config), None
        if state["variant"] == variant and state["trainer"] is not None:
            trainer.restore(state["trainer"])
            best = state["best"]
        curves, is_last = list(state["curves"]), False
        while not is_last:
            curve = self._epoch(trainer, variant)
            if curve is not None:
                curves.append(asdict(curve))
                best = self._better(best, curve, trainer) if config.patience else None
            is_last = trainer.epoch == config.epochs or (
                best is not None and trainer.epoch - best["epoch"] >= config.patience
            )
            if is_last or trainer.epoch % self.job.resources.checkpoint_epochs == 0:
                model = best["model"] if best else trainer.model.state_dict()
                yield {
                    "variant": variant,
                    "trainer": trainer.state(),
                    "best": best,
                    "finished": state["finished"] | ({variant: model} if is_last else {}),
                    "curves": list(curves),
                }

    def _better(self, best: State | None, curve: Curve, trainer: Trainer) -> State | None:
        """The better of `best` and this epoch; of equal ones the earlier."""
        # Rank 0 decides for all: on GPUs the last digits differ, and all must stop together.
        own = torch.tensor([curve.validation_mrr], device=self.place.device)
        mrr = float(self.place.gather(own)[0])
        if math.isnan(mrr) or (best is not None and mrr <= best["mrr"]):
            return best
        weights = {name: x.detach().clone() for name, x in trainer.model.state_dict().items()}
        return {"epoch": trainer.epoch, "mrr": mrr, "model": weights}

    def _trainer(self, config: TrainConfig) -> Trainer:
        contents, device = self.view.contents, self.place.device
        rows = (self.view.graph.by_user, self.view.graph.by_subreddit)
        sampler = make_sampler(self.job.resources.sampler, *rows, sampler_config(config))
        graph = training_graph(self.view, sampler, config.seed, config.partitions)
        return Trainer(
            config,
            new_encoder(config, graph, contents).to(device),
            graph.to(device),
            contents.to(device),
            image_weight=config.image_weight,
            rank=self.place.rank,
            world_size=self.place.world_size,
            gather=self.place.gather,
            device=self.place.device,
        )

    def _epoch(self, trainer: Trainer, variant: str) -> Curve | None:
        """Run an epoch; its row of the curves if it is the first, a `log_every`th or the last."""
        config, plan = self.job.config, trainer.plan
        started = time.perf_counter()
        losses = trainer.run_epoch()
        seconds = time.perf_counter() - started
        if trainer.epoch not in (1, config.epochs) and trainer.epoch % config.log_every:
            return None
        seeds = plan.steps_per_epoch * plan.chunks_per_step * plan.chunk_users
        return Curve(
            variant=variant,
            epoch=trainer.epoch,
            loss_link=losses.link,
            loss_image=losses.image,
            seeds_per_s=seeds / seconds,
            **self.validation.measure(trainer.model),
        )
