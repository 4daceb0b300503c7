"""Both objectives against sums written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from graph.objective import Candidates, image_loss, inclusion_log_q, link_loss


def candidates(
    positive: list[list[int]], known: list[list[int]], log_q: list[float] | None = None
) -> Candidates:
    positive_BC = torch.tensor(positive).bool()
    count = positive_BC.shape[1]
    return Candidates(
        subreddits=torch.arange(count),
        positive_BC=positive_BC,
        known_BC=torch.tensor(known).bool(),
        log_q_C=torch.zeros(count) if log_q is None else torch.tensor(log_q),
    )


def nll(positive: float, *negatives: float) -> float:
    """-log softmax of the positive among the negatives."""
    total = math.exp(positive) + sum(math.exp(x) for x in negatives)
    return -math.log(math.exp(positive) / total)


LOGITS = torch.tensor([[2.0, 1.0, 0.5, -1.0]])


def test_a_positive_is_contrasted_with_what_the_user_has_no_edge_to() -> None:
    loss = link_loss(LOGITS, candidates([[1, 0, 0, 0]], [[0, 0, 0, 0]]))
    assert float(loss) == pytest.approx(nll(2.0, 1.0, 0.5, -1.0))


def test_accidental_hits_are_no_negatives() -> None:
    loss = link_loss(LOGITS, candidates([[1, 0, 0, 0]], [[0, 1, 0, 0]]))
    assert float(loss) == pytest.approx(nll(2.0, 0.5, -1.0))


def test_positives_of_a_user_are_not_each_others_negatives() -> None:
    loss = link_loss(LOGITS, candidates([[1, 1, 0, 0]], [[0, 0, 0, 0]]))
    assert float(loss) == pytest.approx((nll(2.0, 0.5, -1.0) + nll(1.0, 0.5, -1.0)) / 2)


def test_negatives_alone_are_corrected_for_how_likely_they_were_drawn() -> None:
    log_q = [-3.0, -0.5, -2.0, 0.0]
    loss = link_loss(LOGITS, candidates([[1, 0, 0, 0]], [[0, 0, 0, 0]], log_q))
    assert float(loss) == pytest.approx(nll(2.0, 1.5, 2.5, -1.0))


def test_users_count_equally_and_those_without_positives_not_at_all() -> None:
    logits = LOGITS.expand(3, 4)
    some = candidates([[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], [[0] * 4] * 3)
    first = (nll(2.0, 0.5, -1.0) + nll(1.0, 0.5, -1.0)) / 2
    second = nll(-1.0, 2.0, 1.0, 0.5)
    assert float(link_loss(logits, some)) == pytest.approx((first + second) / 2)


def test_losses_without_anything_to_predict_are_zero_with_gradients() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = link_loss(logits, candidates([[0] * 4], [[0] * 4]))
    everything_known = link_loss(logits, candidates([[1, 0, 0, 0]], [[0, 1, 1, 1]]))
    direction = torch.eye(2).requires_grad_()
    alone = image_loss(direction, torch.eye(2), torch.tensor([True, False]), torch.tensor(0.1))
    (loss + everything_known + alone).backward()
    assert [x.item() for x in (loss, everything_known, alone)] == [0, 0, 0]
    assert logits.grad is not None
    assert direction.grad is not None
    assert not logits.grad.any()
    assert not direction.grad.any()


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
