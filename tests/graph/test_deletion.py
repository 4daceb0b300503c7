"""What attention ranks first must be what an embedding rests on, once the encoder has learned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from graph.config import EncoderConfig
from graph.deletion import RANKINGS, deletion_shift
from graph.experiment import train_encoder
from tests.graph.conftest import SMALL, Small


@pytest.mark.slow
def test_salient_subreddits_move_a_user_more_than_random_ones(small: Small) -> None:
    encoder = EncoderConfig(dim=32, heads=4, fanouts=(16, 8), dropout=0.1)
    config = replace(SMALL, encoder=encoder, epochs=40)
    model = train_encoder(small.held, config).model
    shifts = deletion_shift(model, small.held.inputs, removed=2, seed=0)
    assert tuple(shifts) == RANKINGS
    assert shifts["attention"]["taste"] > 1.2 * shifts["random"]["taste"]
    assert shifts["attention"]["z"] > shifts["random"]["z"]


def test_without_users_rich_enough_there_is_no_figure(small: Small) -> None:
    model = train_encoder(small.held, replace(SMALL, epochs=1)).model
    shifts = deletion_shift(model, small.held.inputs, removed=1000, seed=0)
    assert all(math.isnan(value) for shift in shifts.values() for value in shift.values())
