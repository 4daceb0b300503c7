"""Steps of training as plain functions: no Ray, no files, any number of workers.

The unit is the chunk: `chunk_users` seeds with their own block, candidates and losses. A global
batch is a fixed number of chunks, and its gradient is the mean of theirs, summed in a fixed order
by pairs. Whoever computes which chunk, the numbers are the same to the last bit; so a run with
four workers equals the run with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graph.ahead import ahead
from graph.batches import Batch, TrainingGraph, make_batch
from graph.config import TrainConfig
from graph.contents import Contents
from graph.counter_random import Stream, torch_seed, uniform
from graph.model import TasteEncoder, temperature, unit
from graph.objective import image_loss, link_loss
from pipelines.contract import ConfigError

WARMUP_STEPS = 20
FINAL_LR_SHARE = 0.03
TABLE_LR_FACTOR = 2.0  # A row of the table learns from few steps; the rest learns slower than it.
MAX_GRADIENT_NORM = 5.0
NUM_LOSSES = 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the seeds of an epoch become steps and chunks.

    Args:
        num_users: Seeds.
        chunk_users, chunks_per_step: Sizes.
        steps_per_epoch: So many that every seed is met at least once.
    """

    num_users: int
    chunk_users: int
    chunks_per_step: int
    steps_per_epoch: int

    @staticmethod
    def of(config: TrainConfig, num_users: int) -> Plan:
        """The plan for so many seeds; a graph smaller than a chunk is one chunk a step.

        Raises:
            ConfigError: There is nobody to train on.
        """
        if num_users < 2:
            raise ConfigError(
                f"{num_users} training users: expected at least 2; lower train.inductive_share or "
                "graph.min_subreddits"
            )
        if num_users < config.batch_users:
            return Plan(
                num_users=num_users, chunk_users=num_users, chunks_per_step=1, steps_per_epoch=1
            )
        chunks = config.batch_users // config.chunk_users
        steps = math.ceil(num_users / config.batch_users)
        return Plan(
            num_users=num_users,
            chunk_users=config.chunk_users,
            chunks_per_step=chunks,
            steps_per_epoch=steps,
        )

    def order(
        self, users: Tensor, seed: int, epoch: int, partition: Tensor | None = None
    ) -> Tensor:
        """int64 [steps, chunks, chunk_users]: the seeds of an epoch, shuffled; the last step is
        filled up from the start of the order.

        With the partition of each of the users (int64), those of one partition share chunks, and
        chunks are shuffled: their blocks overlap more, so fewer nodes are sampled and gathered.
        """
        place = _stable_order(uniform(Stream.EPOCH_ORDER, seed, epoch, users))
        if partition is not None:
            place = place[partition[place].argsort(stable=True)]
        shape = (self.steps_per_epoch, self.chunks_per_step, self.chunk_users)
        order = users.new_empty(math.prod(shape))
        order[: len(users)] = users[place]
        order[len(users) :] = order[: len(order) - len(users)]
        order = order.view(-1, self.chunk_users)
        if partition is not None:
            order = order[
                uniform(Stream.EPOCH_ORDER, seed, epoch, -1, order[:, 0]).argsort(stable=True)
            ]
        return order.view(shape)


def _stable_order(values: Tensor) -> Tensor:
    """int64, as `argsort(stable=True)`; on CPUs by numpy, for torch would copy the values twice."""
    if values.device.type != "cpu":
        return values.argsort(stable=True)
    return torch.from_numpy(values.numpy().argsort(kind="stable"))


@dataclass(frozen=True, kw_only=True)
class StepLosses:
    """Means over what they are losses of; nats."""

    link: float
    image: float


def mixed_precision(device: torch.device) -> torch.autocast:
    """bf16 for the encoder on GPUs; losses, weights and their gradients stay fp32, as all is on
    CPUs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def chunk_loss(model: TasteEncoder, batch: Batch, image_weight: float) -> tuple[Tensor, Tensor]:
    """(total, [link, image]) of one chunk. Without weight the image loss is NaN, not computed."""
    inputs, slot = len(batch.below.slot_RF), batch.candidate_slot
    with mixed_precision(model.device):
        x_Md = model.describe(batch.subreddits)
        h_Nd = model.gather_users(x_Md[:inputs], batch.users_below, batch.below)
        read = (batch.subreddits.rows(slice(inputs)), batch.seeds, batch.near)
        hidden_Bd, attention_BF = model.mix(h_Nd, *read)
        answers = model.item_vectors(x_Md.index_select(0, slot), batch.subreddits.rows(slot))
        if image_weight:
            direction_BD = model.direct(hidden_Bd, attention_BF, *read)
    query_Bd = unit(hidden_Bd.float()) / temperature(model.log_link_temperature)
    prior = model.item_prior(batch.subreddits).index_select(0, slot)
    link = link_loss(query_Bd, answers.float(), prior, batch.candidates)
    if not image_weight:
        return link, torch.stack([link.detach(), torch.tensor(math.nan, device=link.device)])
    tau = temperature(model.log_image_temperature)
    image = image_loss(direction_BD.float(), batch.image_target_BD, batch.image_present_B, tau)
    return link + image_weight * image, torch.stack([link.detach(), image.detach()])


def chunk_gradient(
    model: TasteEncoder, batch: Batch, image_weight: float, dropout_seed: int
) -> Tensor:
    """float32 [P + 2]: gradient of the chunk's loss over all parameters, then its two losses."""
    torch.manual_seed(dropout_seed)
    model.zero_grad(set_to_none=True)
    total, losses = chunk_loss(model, batch, image_weight)
    total.backward()
    sizes = [*(p.numel() for p in model.parameters()), NUM_LOSSES]
    flat = losses.new_zeros(sum(sizes))
    *parts, last = flat.split(sizes)
    last.copy_(losses)
    for parameter, part in zip(model.parameters(), parts, strict=True):
        gradient, into = parameter.grad, part.view_as(parameter)
        if gradient is not None and gradient.is_sparse:  # rows of a table
            rows = gradient.coalesce()
            into.index_copy_(0, rows.indices()[0], rows.values())
        elif gradient is not None:
            into.copy_(gradient)
    return flat


def clip(gradient: Tensor) -> None:
    """Shorten a gradient in place to `MAX_GRADIENT_NORM`, if it is longer."""
    norm = float(gradient.norm())
    if norm > MAX_GRADIENT_NORM:
        gradient.mul_(MAX_GRADIENT_NORM / norm)


def pairwise_sum(parts: Sequence[Tensor]) -> Tensor:
    """Sum by pairs of neighbours. Summing aligned power-of-two groups first changes no bit."""
    level = list(parts)
    while len(level) > 1:
        pairs = [a + b for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def sharing_workers(chunks: int, workers: int) -> int:
    """As many of the workers as can share the chunks of a step equally; changes no result."""
    return max(number for number in range(1, workers + 1) if chunks % number == 0)


def chunks_of_rank(chunks: int, rank: int, world_size: int) -> range:
    """The contiguous chunks of one worker; the same number for each.

    Raises:
        ConfigError: They cannot be shared equally.
    """
    if chunks % world_size:
        raise ConfigError(
            f"workers={world_size} cannot share the {chunks} chunks of a step equally; choose a "
            "number that divides batch_users / chunk_users"
        )
    share = chunks // world_size
    return range(rank * share, (rank + 1) * share)


class Trainer:
    """A model, its optimizer and the counters that make a run resumable.

    Args:
        config: What to train.
        model: Initialised.
        graph, contents: What it reads.
        image_weight: lambda of this variant.
        rank, world_size: Which chunks are computed here.
        gather: Makes the list of all ranks' tensors from this rank's; identity for one worker.
        device: Where the model is.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: TasteEncoder,
        graph: TrainingGraph,
        contents: Contents,
        *,
        image_weight: float,
        rank: int = 0,
        world_size: int = 1,
        gather: Callable[[Tensor], list[Tensor]] = lambda tensor: [tensor],
        device: torch.device | None = None,
    ) -> None:
        self.config, self.model, self.graph, self.contents = config, model, graph, contents
        self.image_weight, self.gather = image_weight, gather
        self.device = device or torch.device("cpu")
        self.plan = Plan.of(config, len(graph.users))
        self.chunks = chunks_of_rank(self.plan.chunks_per_step, rank, world_size)
        table = {id(p) for p in model.table.parameters()}
        rest = [p for p in model.parameters() if id(p) not in table]
        self.peak_lr = (config.lr, config.lr / TABLE_LR_FACTOR)
        groups = [{"params": list(model.table.parameters())}, {"params": rest}]
        self.optimizer = torch.optim.Adam(groups, lr=config.lr, betas=(0.9, 0.99), fused=True)
        self.epoch = 0

    def run_epoch(self) -> StepLosses:
        """One pass over the training users; all ranks take the same steps."""
        self.model.train()
        graph = self.graph
        order = self.plan.order(graph.users, self.config.seed, self.epoch, graph.partition)
        losses = [self.step(step, batches) for step, batches in enumerate(self.batches(order))]
        self.epoch += 1
        link, image = torch.stack(losses).double().nanmean(dim=0).tolist()
        return StepLosses(link=link, image=image)

    def state(self) -> dict[str, object]:
        """All that a run needs to go on as if it had not stopped; draws need only the counters.

        Tensors are those in use: save or copy them before the next step.
        """
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, object]) -> None:
        """Go on from `state()`."""
        self.epoch = int(state["epoch"])  # type: ignore[call-overload]
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]

    def batches(self, order: Tensor) -> Iterator[list[Batch]]:
        """The batches of this rank's chunks of each step of the epoch, each step's while the one
        before is trained on.

        Args:
            order: int64 [steps, chunks, chunk_users], seeds.
        """
        epoch = self.epoch
        return ahead(
            lambda step: [self._batch(epoch, step, c, order[step, c]) for c in self.chunks],
            len(order),
        )

    def step(self, step: int, batches: Sequence[Batch]) -> Tensor:
        """Train on the batches of this rank's chunks of one step; its two losses."""
        gradients = [
            self._gradient(step, chunk, batch)
            for chunk, batch in zip(self.chunks, batches, strict=True)
        ]
        total = pairwise_sum(self.gather(pairwise_sum(gradients)))
        if self.plan.chunks_per_step > 1:
            total = total / self.plan.chunks_per_step
        sizes = [*(p.numel() for p in self.model.parameters()), NUM_LOSSES]
        *gradients, losses = total.split(sizes)
        for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = gradient.view_as(parameter)
        clip(total[:-NUM_LOSSES])
        share = self._lr_share(self.epoch * self.plan.steps_per_epoch + step)
        for group, peak in zip(self.optimizer.param_groups, self.peak_lr, strict=True):
            group["lr"] = peak * share
        self.optimizer.step()
        return losses.clone()  # Not the gradients, too, for as long as the losses are kept.

    def _batch(self, epoch: int, step: int, chunk: int, seeds: Tensor) -> Batch:
        return make_batch(
            self.graph,
            self.contents,
            seeds,
            epoch=epoch,
            step=self._number(step, chunk),
            num_uniform=self.config.uniform_negatives,
        ).to(self.device)

    def _gradient(self, step: int, chunk: int, batch: Batch) -> Tensor:
        number = self._number(step, chunk)
        dropout = torch_seed(Stream.DROPOUT, self.config.seed, self.epoch, number)
        return chunk_gradient(self.model, batch, self.image_weight, dropout)

    def _number(self, step: int, chunk: int) -> int:
        """Of a chunk in its epoch."""
        return step * self.plan.chunks_per_step + chunk

    def _lr_share(self, step: int) -> float:
        total = max(self.config.epochs * self.plan.steps_per_epoch, WARMUP_STEPS + 1)
        if step < WARMUP_STEPS:
            return (step + 1) / WARMUP_STEPS
        progress = min(1.0, (step - WARMUP_STEPS) / (total - WARMUP_STEPS))
        return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * (1 + math.cos(math.pi * progress)) / 2
