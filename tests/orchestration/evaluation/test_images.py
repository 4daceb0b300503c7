from __future__ import annotations

import numpy as np
import pytest

from orchestration.evaluation.images import image_recall


def test_recall_counts_users_whose_own_images_are_near() -> None:
    target = np.eye(4)
    query = np.array([[1.0, 0, 0, 0], [0.9, 0.5, 0, 0], [0.9, 0.8, 0.1, 0], [0, 0, 0, 1.0]])
    found = image_recall(query, target, (1, 2, 3))
    assert found == {1: 0.5, 2: 0.75, 3: 1.0}


def test_who_says_the_same_of_everybody_finds_nobody_but_by_chance() -> None:
    found = image_recall(np.ones((9, 3)), np.ones((9, 3)), (1, 5))
    assert found == {1: 0.0, 5: 1.0}  # all tie at the middle rank


def test_nobody_is_nan() -> None:
    assert image_recall(np.zeros((0, 3)), np.zeros((0, 3)), (1,))[1] == pytest.approx(
        float("nan"), nan_ok=True
    )
