"""Both objectives against sums written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from graph import objective
from graph.objective import Candidates, image_loss, inclusion_log_q, link_loss
from orchestration.bench.graph_reference import dense_link_loss


def candidates(
    positive: list[list[int]], known: list[list[int]], log_q: list[float] | None = None
) -> Candidates:
    positive_BC, known_BC = torch.tensor(positive).bool(), torch.tensor(known).bool()
    count = positive_BC.shape[1]
    return Candidates(
        subreddits=torch.arange(count),
        positive_2P=positive_BC.nonzero().T,
        edge_2K=(positive_BC | known_BC).nonzero().T,
        log_q_C=torch.zeros(count) if log_q is None else torch.tensor(log_q),
    )


def loss_of(logits: torch.Tensor, of: Candidates) -> torch.Tensor:
    """`link_loss` of these logits: of queries whose answers are the unit vectors."""
    count = logits.shape[1]
    return link_loss(logits, torch.eye(count), torch.zeros(count), of)


def nll(positive: float, *negatives: float) -> float:
    """-log softmax of the positive among the negatives."""
    total = math.exp(positive) + sum(math.exp(x) for x in negatives)
    return -math.log(math.exp(positive) / total)


LOGITS = torch.tensor([[2.0, 1.0, 0.5, -1.0]])


def test_a_positive_is_contrasted_with_what_the_user_has_no_edge_to() -> None:
    loss = loss_of(LOGITS, candidates([[1, 0, 0, 0]], [[0, 0, 0, 0]]))
    assert float(loss) == pytest.approx(nll(2.0, 1.0, 0.5, -1.0))


def test_accidental_hits_are_no_negatives() -> None:
    loss = loss_of(LOGITS, candidates([[1, 0, 0, 0]], [[0, 1, 0, 0]]))
    assert float(loss) == pytest.approx(nll(2.0, 0.5, -1.0))


def test_positives_of_a_user_are_not_each_others_negatives() -> None:
    loss = loss_of(LOGITS, candidates([[1, 1, 0, 0]], [[0, 0, 0, 0]]))
    assert float(loss) == pytest.approx((nll(2.0, 0.5, -1.0) + nll(1.0, 0.5, -1.0)) / 2)


def test_negatives_alone_are_corrected_for_how_likely_they_were_drawn() -> None:
    log_q = [-3.0, -0.5, -2.0, 0.0]
    loss = loss_of(LOGITS, candidates([[1, 0, 0, 0]], [[0, 0, 0, 0]], log_q))
    assert float(loss) == pytest.approx(nll(2.0, 1.5, 2.5, -1.0))


def test_users_count_equally_and_those_without_positives_not_at_all() -> None:
    logits = LOGITS.expand(3, 4)
    some = candidates([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], [[0] * 4] * 3)
    first = (nll(2.0, 0.5, -1.0) + nll(1.0, 0.5, -1.0)) / 2
    second = nll(-1.0, 2.0, 1.0, 0.5)
    assert float(loss_of(logits, some)) == pytest.approx((first + second) / 2)


def test_losses_without_anything_to_predict_are_zero_with_gradients() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = loss_of(logits, candidates([[0] * 4], [[0] * 4]))
    everything_known = loss_of(logits, candidates([[1, 0, 0, 0]], [[0, 1, 1, 1]]))
    direction = torch.eye(2).requires_grad_()
    alone = image_loss(direction, torch.eye(2), torch.tensor([True, False]), torch.tensor(0.1))
    (loss + everything_known + alone).backward()
    assert [x.item() for x in (loss, everything_known, alone)] == [0, 0, 0]
    assert logits.grad is not None
    assert direction.grad is not None
    assert not logits.grad.any()
    assert not direction.grad.any()


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_link_loss_and_gradients_are_those_of_the_formula(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, count, dim = 14, 9, 4
    monkeypatch.setitem(objective.SCORES_AT_ONCE, "cpu", rows * count)
    torch.manual_seed(0)
    edge_BC = torch.rand(users, count) < 0.4
    edge_BC[3], edge_BC[5] = True, False
    positive_BC = edge_BC & (torch.rand(users, count) < 0.4)
    positive_BC[8:10] = False
    positive_BC[3, 2] = True
    of = candidates(positive_BC.tolist(), edge_BC.tolist(), (-3 * torch.rand(count)).tolist())
    query, answer, prior = torch.randn(users, dim), torch.randn(count, dim), torch.randn(count)
    inputs = [x.requires_grad_() for x in (query, answer, prior)]
    found = link_loss(query, answer, prior, of)
    expected = dense_link_loss(query @ answer.T + prior, of)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(3 * found, inputs),
        torch.autograd.grad(3 * expected, inputs),
        strict=True,
    ):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_log_q_is_that_of_being_drawn_at_least_once() -> None:
    found = inclusion_log_q(torch.tensor([0.5, 1e-6, 50.0]))
    expected = [math.log(1 - math.exp(-0.5)), math.log(1e-6), 0.0]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_image_loss_is_the_mean_of_both_directions() -> None:
    direction = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    target = torch.tensor([[0.8, 0.6], [9.0, 9.0], [0.0, 1.0]])
    loss = image_loss(direction, target, torch.tensor([True, False, True]), torch.tensor(0.5))
    there = nll(1.6, 0.0) + nll(2.0, 1.2)  # each user among the images
    back = nll(1.6, 1.2) + nll(2.0, 0.0)  # each image among the users
    assert float(loss) == pytest.approx((there + back) / 4, rel=1e-5)
