"""Trains the tiny CLIP: `python -m embed.tiny_clip.train --minutes 25 --seed 0 --out DIR`.

One thread throughout: the same seed and number of steps give the same weights on one machine.
`--minutes` is processor time; it fixes the number of steps after a short timing, and the log names
that number so that `--steps` can repeat the run.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional

from embed.tiny_clip.bank import MODEL_SIZE, Bank, picture_of, training_bank
from embed.tiny_clip.captions import describe, every_word, mentioned_facets
from embed.tiny_clip.evaluate import Accuracies, zero_shot_accuracy
from embed.tiny_clip.package import (
    CONTEXT_LENGTH,
    MERGES,
    learn_merges,
    model_config,
    write_merges,
    write_package,
)
from embed.tiny_clip.pictures import FACETS

BATCH_SIZE = 256
# Hard negatives: this many groups a batch, each of one palette and one treatment.
NUM_GROUPS = 8
GROUPS_ONLY_SHARE = 0.2
PEAK_RATE = 2e-3
WARMUP_STEPS = 60
WEIGHT_DECAY = 0.05
PARTIAL_SHARE = 0.5
SHIFT_PX = 4
CURVE_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that changes the weights; without `num_steps`, `minutes` of processor time decide."""

    seed: int
    minutes: float
    num_steps: int | None
    num_pictures: int

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise ValueError(f"minutes is {self.minutes}: expected a positive number")
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}: expected at least 1")
        if self.num_pictures < BATCH_SIZE:
            raise ValueError(f"num_pictures is {self.num_pictures}: expected at least {BATCH_SIZE}")


class Batches:
    """Batches of picture indices; grouped ones force subject and composition to be told apart."""

    def __init__(self, values_NF: NDArray[np.int64], rng: np.random.Generator) -> None:
        self._rng = rng
        self._num_pictures = len(values_NF)
        cell_N = values_NF[:, 0] * len(FACETS["treatment"]) + values_NF[:, 2]
        self._cells = [np.flatnonzero(cell_N == cell) for cell in np.unique(cell_N)]

    def random(self) -> NDArray[np.int64]:
        """A batch drawn evenly from all pictures."""
        return self._rng.integers(self._num_pictures, size=BATCH_SIZE)

    def grouped(self) -> NDArray[np.int64]:
        """`NUM_GROUPS` groups, the pictures of each sharing palette and treatment."""
        cells = self._rng.choice(len(self._cells), size=NUM_GROUPS, replace=False)
        size = BATCH_SIZE // NUM_GROUPS
        return np.concatenate([self._rng.choice(self._cells[cell], size=size) for cell in cells])


def contrastive_loss(image_ND: Tensor, text_ND: Tensor, scale: Tensor, match_NN: Tensor) -> Tensor:
    """Symmetric InfoNCE in which a caption that fits another picture as well is no negative for it.

    Args:
        image_ND: Unit image embeddings.
        text_ND: Unit caption embeddings; row n captions picture n.
        scale: Inverse temperature.
        match_NN: bool, [picture, caption], the caption is true of the picture.

    Source: Radford et al. 2021, figure 3, arXiv:2103.00020; the mask is this project's.
    """
    own = torch.arange(len(image_ND))
    logits_NN = scale * image_ND @ text_ND.T
    others_NN = match_NN.clone()
    others_NN[own, own] = False
    logits_NN = logits_NN.masked_fill(others_NN, -torch.inf)
    return (
        functional.cross_entropy(logits_NN, own) + functional.cross_entropy(logits_NN.T, own)
    ) / 2


def caption_batch(
    values_BF: NDArray[np.int64], rng: np.random.Generator
) -> tuple[list[str], NDArray[np.bool_]]:
    """One caption a picture, and what each caption is true of, bool [picture, caption]."""
    captions: list[str] = []
    named_BF = np.zeros(values_BF.shape, dtype=np.bool_)
    for row, values_F in enumerate(values_BF):
        facets = mentioned_facets(rng, PARTIAL_SHARE)
        named_BF[row] = [facet in facets for facet in FACETS]
        captions.append(describe(picture_of(values_F), facets, rng))
    equal_BBF = values_BF[:, None, :] == values_BF[None, :, :]
    match_BB = (equal_BBF | ~named_BF[None, :, :]).all(axis=2)
    return captions, match_BB


def augment(pixels_BYXC: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """float32 [B, 3, 64, 64], normalised as the package's preprocess does, shifted and mirrored."""
    shifted = np.pad(
        pixels_BYXC, ((0, 0), (SHIFT_PX, SHIFT_PX), (SHIFT_PX, SHIFT_PX), (0, 0)), mode="edge"
    )
    batch = np.empty_like(pixels_BYXC)
    side = pixels_BYXC.shape[1]
    for row, (y, x) in enumerate(rng.integers(0, 2 * SHIFT_PX + 1, size=(len(batch), 2))):
        view = shifted[row, y : y + side, x : x + side]
        batch[row] = view[:, ::-1] if rng.random() < 0.5 else view
    light_B = rng.uniform(0.95, 1.05, size=(len(batch), 1, 1, 1)).astype(np.float32)
    scaled = (batch.astype(np.float32) / 255.0 * light_B - 0.5) / 0.25
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)


def learning_rate(step: int, num_steps: int) -> float:
    """Linear warm-up, then a half cosine down to zero."""
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    share = (step - WARMUP_STEPS) / max(1, num_steps - WARMUP_STEPS)
    return PEAK_RATE * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def batch_indices(batches: Batches, num_steps: int) -> Iterator[NDArray[np.int64]]:
    """Grouped batches only at first, then grouped and random ones by turns."""
    for step in range(num_steps):
        grouped = step < GROUPS_ONLY_SHARE * num_steps or step % 2 == 0
        yield batches.grouped() if grouped else batches.random()


class Trainer:
    """Model, optimizer and one step."""

    def __init__(
        self, model: CLIP, tokenizer: SimpleTokenizer, bank: Bank, rng: np.random.Generator
    ) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._bank = bank
        self._rng = rng
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": others, "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))

    def step(self, index_B: NDArray[np.int64], rate: float) -> float:
        """One update on the pictures at `index_B`; the loss before it."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        captions, match_BB = caption_batch(self._bank.values[index_B], self._rng)
        images = augment(self._bank.pixels[index_B], self._rng)
        image_BD = self.model.encode_image(
            images.contiguous(memory_format=torch.channels_last), normalize=True
        )
        text_BD = self.model.encode_text(self._tokenizer(captions), normalize=True)
        scale = self.model.logit_scale.exp()
        loss = contrastive_loss(image_BD, text_BD, scale, torch.from_numpy(match_BB))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0.0, math.log(50.0))
        return float(loss.detach())


def train(
    config: TrainConfig,
    out: Path,
    evaluate: Callable[[Path, int, int], Accuracies] = zero_shot_accuracy,
) -> dict[str, Any]:
    """Train, write the package into `out` and return the log that is written beside it.

    Args:
        config: What decides the weights.
        out: Folder of the package.
        evaluate: Accuracies of a package by (folder, copies, picture size).
    """
    started = time.process_time()
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(every_word())
    write_merges(out, merges)
    tokenizer = SimpleTokenizer(bpe_path=str(out / MERGES), context_length=CONTEXT_LENGTH)
    shape = model_config(len(merges))
    model = CLIP(**shape).to(memory_format=torch.channels_last)
    bank = training_bank(config.num_pictures, config.seed)
    _say({"drawn": config.num_pictures, "cpu_s": round(time.process_time() - started, 1)})

    rng = np.random.default_rng((config.seed, 2))
    trainer = Trainer(model, tokenizer, bank, rng)
    num_steps = config.num_steps or _steps_within(config, shape, tokenizer, bank, started)
    curve: list[dict[str, Any]] = []
    losses: list[float] = []
    for step, index_B in enumerate(batch_indices(Batches(bank.values, rng), num_steps)):
        losses.append(trainer.step(index_B, learning_rate(step, num_steps)))
        if (step + 1) % CURVE_STEPS == 0 or step + 1 == num_steps:
            write_package(out, model, shape)
            accuracies = evaluate(out, 2, MODEL_SIZE)
            curve.append(_point(step + 1, losses, accuracies, started))
            _say(curve[-1])
            losses = []
    final = {str(size): evaluate(out, 4, size) for size in (MODEL_SIZE, 160)}
    log = {
        "seed": config.seed,
        "num_steps": num_steps,
        "num_pictures": config.num_pictures,
        "batch_size": BATCH_SIZE,
        "cpu_s": round(time.process_time() - started, 1),
        "zero_shot_top1_by_picture_size": final,
        "curve": curve,
    }
    (out / "training_log.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    return log


def _steps_within(
    config: TrainConfig,
    shape: dict[str, Any],
    tokenizer: SimpleTokenizer,
    bank: Bank,
    started: float,
) -> int:
    """Steps that fit what is left of the minutes, from timing a few on a throw-away model."""
    state = torch.random.get_rng_state()
    rng = np.random.default_rng(0)
    trainer = Trainer(CLIP(**shape).to(memory_format=torch.channels_last), tokenizer, bank, rng)
    batches = Batches(bank.values, rng)
    trainer.step(batches.random(), 0.0)
    begun = time.process_time()
    num_timed = 8
    for _ in range(num_timed):
        trainer.step(batches.random(), 0.0)
    step_s = (time.process_time() - begun) / num_timed
    torch.random.set_rng_state(state)
    left_s = config.minutes * 60.0 - (time.process_time() - started)
    # The evaluations along the way cost about a fiftieth.
    return max(1, int(0.97 * left_s / step_s))


def _point(
    step: int, losses: Sequence[float], accuracies: Accuracies, started: float
) -> dict[str, Any]:
    return {
        "step": step,
        "cpu_s": round(time.process_time() - started, 1),
        "loss": round(sum(losses) / len(losses), 4),
        "zero_shot_top1": accuracies,
    }


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25.0, help="processor minutes in all")
    parser.add_argument(
        "--steps", type=int, default=None, help="number of steps, instead of --minutes"
    )
    parser.add_argument(
        "--pictures", type=int, default=50_000, help="pictures drawn once and drawn from"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = TrainConfig(
        seed=arguments.seed,
        minutes=arguments.minutes,
        num_steps=arguments.steps,
        num_pictures=arguments.pictures,
    )
    train(config, arguments.out)


if __name__ == "__main__":
    main()
