import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from embed.tiny_clip.package import WEIGHTS
from embed.tiny_clip.pictures import FACETS
from embed.tiny_clip.train import (
    PEAK_RATE,
    Batches,
    TrainConfig,
    caption_batch,
    contrastive_loss,
    learning_rate,
    train,
)


def test_a_caption_is_true_of_every_picture_with_all_it_names() -> None:
    values = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        _, match = caption_batch(values, rng)
        assert match.diagonal().all()
        assert match[2, 0] and match[0, 2]
        seen.add(bool(match[1, 0]))
    assert seen == {True, False}


def test_a_true_caption_of_another_picture_is_no_negative() -> None:
    image = torch.eye(2)
    text = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    scale = torch.tensor(10.0)
    apart = contrastive_loss(image, text, scale, torch.eye(2, dtype=torch.bool))
    shared = contrastive_loss(image, text, scale, torch.ones(2, 2, dtype=torch.bool))
    assert float(shared) == 0.0
    # By hand: rows give log 2 twice; columns log(1 + e^-10) and 10 + log(1 + e^-10).
    by_hand = (math.log(2) + (10 + 2 * math.log1p(math.exp(-10))) / 2) / 2
    assert float(apart) == pytest.approx(by_hand, rel=1e-5)


def test_a_group_shares_palette_and_treatment() -> None:
    values = np.array(list(itertools.product(*(range(len(v)) for v in FACETS.values()))))
    batch = Batches(values, np.random.default_rng(0)).grouped().reshape(8, 32)
    for group in batch:
        assert len(np.unique(values[group][:, [0, 2]], axis=0)) == 1
        assert len(np.unique(values[group][:, 1])) > 3


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    rates = [learning_rate(step, 500) for step in range(500)]
    assert max(rates) == PEAK_RATE
    assert rates[0] < rates[30] < rates[59] and rates[-1] < PEAK_RATE / 1000


def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    config = TrainConfig(seed=3, minutes=1, num_steps=2, num_pictures=256)
    logs = [
        train(config, tmp_path / name, evaluate=lambda folder, copies, size: {}) for name in "ab"
    ]
    first, again = ((tmp_path / name / WEIGHTS).read_bytes() for name in "ab")
    assert first == again
    assert logs[0]["curve"][-1]["loss"] == logs[1]["curve"][-1]["loss"]
    written = json.loads((tmp_path / "a" / "training_log.json").read_text())
    assert (written["seed"], written["num_steps"]) == (3, 2)


@pytest.mark.parametrize("field", ["minutes", "num_steps", "num_pictures"])
def test_a_nonsensical_setting_is_refused_by_name(field: str) -> None:
    sound = {"seed": 0, "minutes": 1.0, "num_steps": 1, "num_pictures": 256}
    with pytest.raises(ValueError, match=field):
        TrainConfig(**{**sound, field: 0})  # type: ignore[arg-type]
