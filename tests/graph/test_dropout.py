from __future__ import annotations

import pytest
import torch

from graph.dropout import Dropout


def draw(dropout: Dropout, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    dropped: torch.Tensor = dropout(x)
    return dropped


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_the_share_dropped_is_p_and_the_rest_makes_up_for_it(p: float) -> None:
    dropped = draw(Dropout(p), torch.ones(301, 333))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
    for axis in (0, 1):  # No row and no column is favoured: five standard errors.
        share = (dropped == 0).double().mean(dim=axis)
        assert (share - p).abs().max() < 5 * (p * (1 - p) / 301) ** 0.5
    neighbours = (dropped[:, 1:] == 0) == (dropped[:, :-1] == 0)
    assert float(neighbours.double().mean()) == pytest.approx(p * p + (1 - p) ** 2, abs=0.01)


def test_draws_follow_the_seed_and_differ_from_each_other() -> None:
    x, dropout = torch.ones(50, 7), Dropout(0.5)
    first = draw(dropout, x)
    second: torch.Tensor = dropout(x)
    assert torch.equal(draw(dropout, x), first)
    assert not torch.equal(second, first)
    assert not torch.equal(draw(dropout, x, seed=1), first)


def test_gradients_pass_where_values_do() -> None:
    x = torch.randn(5, 3, requires_grad=True)
    dropped = draw(Dropout(0.5), x)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, dropped)


def test_nothing_is_dropped_in_evaluation_or_with_probability_zero() -> None:
    x = torch.randn(4, 4)
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)
