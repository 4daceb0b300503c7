from __future__ import annotations

import math

import pytest
import torch

from graph.diagnostics import alignment, effective_rank, uniformity


def test_alignment_is_zero_for_equal_and_two_for_orthogonal_pairs() -> None:
    axes = torch.eye(3)
    assert alignment(axes, axes) == 0.0
    assert alignment(axes, axes.roll(1, 0)) == 2.0


def test_effective_rank_counts_equal_directions() -> None:
    assert effective_rank(torch.eye(5)) == pytest.approx(5.0)
    assert effective_rank(torch.ones(5, 5)) == pytest.approx(1.0)


def test_uniformity_is_zero_in_collapse_and_falls_with_spread() -> None:
    assert uniformity(torch.ones(4, 2) / math.sqrt(2)) == pytest.approx(0.0)
    assert uniformity(torch.eye(4)) == pytest.approx(-4.0)


def test_too_few_rows_are_nan() -> None:
    assert math.isnan(uniformity(torch.ones(1, 2)))
    assert math.isnan(alignment(torch.ones(0, 2), torch.ones(0, 2)))
