from __future__ import annotations

import numpy as np
import pytest

from orchestration.evaluation.own_versus_other import own_versus_other


def unit_rows(rng: np.random.Generator, num: int) -> np.ndarray:
    x = rng.normal(size=(num, 16)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_personas_that_fit_win_and_chance_does_not() -> None:
    rng = np.random.default_rng(0)
    images = unit_rows(rng, 60)
    won, p_value = own_versus_other(images, images, permutations=500, seed=0)
    assert won == pytest.approx(1.0)
    assert p_value == pytest.approx(1 / 501)


def test_personas_of_others_win_half_the_time() -> None:
    rng = np.random.default_rng(0)
    won, p_value = own_versus_other(unit_rows(rng, 300), unit_rows(rng, 300), 200, seed=0)
    assert won == pytest.approx(0.5, abs=0.06)
    assert p_value > 0.01


def test_equal_personas_tie() -> None:
    same = np.tile(np.eye(1, 4, dtype=np.float32), (10, 1))
    won, p_value = own_versus_other(same, unit_rows(np.random.default_rng(0), 10)[:, :4], 50, 0)
    assert won == 0.5
    assert p_value == 1.0


def test_one_user_cannot_be_tested() -> None:
    one = np.ones((1, 4), np.float32)
    assert np.isnan(own_versus_other(one, one, 10, 0)).all()
