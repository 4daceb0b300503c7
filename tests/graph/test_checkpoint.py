from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from graph.checkpoint import (
    STATES_FILE,
    TrainedEncoder,
    load_encoder,
    load_states,
    save_encoder,
    save_states,
)
from graph.encode import encode_subreddits
from graph.prepare import new_encoder
from pipelines.contract import ContractError, MissingInputError
from tests.graph.conftest import SMALL, Small


@pytest.fixture(scope="module")
def trained(small: Small) -> TrainedEncoder:
    model = new_encoder(SMALL, small.training_graph(), small.contents).eval()
    seen = small.graph.user_keys[:50].sort().values
    return TrainedEncoder(
        model=model,
        subreddits=small.graph.subreddits(),
        seen_users=seen,
        clock=small.graph.clock(),
    )


def test_an_encoder_comes_back_as_it_was(trained: TrainedEncoder, tmp_path: Path) -> None:
    save_encoder(tmp_path, trained)
    back = load_encoder(tmp_path)
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], tensor), name
    assert back.model.config == SMALL.encoder
    assert back.subreddits == trained.subreddits
    assert back.clock == trained.clock
    assert not back.model.training


def test_rows_follow_names_whatever_the_index_of_the_graph(trained: TrainedEncoder) -> None:
    last, first = trained.subreddits[-1], trained.subreddits[0]
    assert trained.rows_of([last, "never_seen", first]).tolist() == [
        len(trained.subreddits),
        0,
        1,
    ]


def test_users_are_known_by_name_and_not_by_index(trained: TrainedEncoder, small: Small) -> None:
    seen = trained.has_seen(small.graph.user_keys)
    assert seen.tolist() == [True] * 50 + [False] * 150


def test_states_come_back_as_they_were(
    trained: TrainedEncoder, small: Small, tmp_path: Path
) -> None:
    view = small.held.training
    rows = trained.rows_of(small.graph.subreddits())
    states = encode_subreddits(
        trained.model, view.graph.by_subreddit, view.features, view.contents, rows=rows, seed=0
    )
    save_states(tmp_path / STATES_FILE, states)
    back = load_states(tmp_path / STATES_FILE)
    assert torch.equal(back.h_Sd, states.h_Sd)
    assert torch.equal(back.item_Sd, states.item_Sd)
    assert torch.equal(back.prior_S, states.prior_S)
    for field in fields(states.inputs):
        assert torch.equal(getattr(back.inputs, field.name), getattr(states.inputs, field.name))


def test_missing_and_incompatible_checkpoints_say_what_to_run(
    trained: TrainedEncoder, tmp_path: Path
) -> None:
    with pytest.raises(MissingInputError, match="run train_gat first"):
        load_encoder(tmp_path)
    with pytest.raises(MissingInputError, match="run train_gat first"):
        load_states(tmp_path / STATES_FILE)
    save_encoder(tmp_path, trained)
    shape = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps(shape | {"edge_features": ["mood"]}))
    with pytest.raises(ContractError, match=r"mood.*train again"):
        load_encoder(tmp_path)
