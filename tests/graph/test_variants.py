"""A run may stop at any checkpoint, in any variant, and no number changes."""

from __future__ import annotations

import io
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from graph.config import LAMBDA0, GraphResources, TrainConfig
from graph.validation import Curve
from graph.variants import MAIN_VARIANT, Job, Place, Session, State, prepare, train_variants
from pipelines.contract import ConfigError
from tests.graph.conftest import SMALL, Small


@pytest.fixture(scope="module")
def job(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, small.held)
    resources = GraphResources(checkpoint_epochs=1)
    return Job(config=SMALL, resources=resources, prepared=str(folder))


def stored(state: State) -> bytes:
    """The state as a checkpoint holds it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def loaded(content: bytes) -> State:
    state: State = torch.load(io.BytesIO(content), weights_only=True)
    return state


@pytest.fixture(scope="module")
def undisturbed(job: Job) -> list[bytes]:
    return [stored(state) for state in train_variants(job, None, Place())]


def without_speed(state: State) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k != "seeds_per_s"} for row in state["curves"]]


def test_a_checkpoint_an_epoch_for_every_variant(undisturbed: list[bytes]) -> None:
    states = [loaded(content) for content in undisturbed]
    met = [(state["variant"], state["trainer"]["epoch"]) for state in states]
    assert met == [(v, e) for v in (MAIN_VARIANT, LAMBDA0) for e in (1, 2, 3)]
    assert [sorted(state["finished"]) for state in states] == [
        *([[]] * 2),
        *([[MAIN_VARIANT]] * 3),
        [MAIN_VARIANT, LAMBDA0],
    ]
    rows = [(row["variant"], row["epoch"]) for row in states[-1]["curves"]]
    assert rows == met


@pytest.mark.parametrize("stop", range(6))
def test_going_on_from_any_checkpoint_changes_no_bit(
    job: Job, undisturbed: list[bytes], stop: int
) -> None:
    end = loaded(undisturbed[-1])
    state = loaded(undisturbed[stop])
    for following in train_variants(job, state, Place()):
        state = loaded(stored(following))
    assert str(without_speed(state)) == str(without_speed(end))  # As text: NaN equals NaN.
    for variant, weights in end["finished"].items():
        for name, tensor in weights.items():
            assert torch.equal(state["finished"][variant][name], tensor), (variant, name)


def test_a_finished_state_has_nothing_left_to_train(job: Job, undisturbed: list[bytes]) -> None:
    assert list(train_variants(job, loaded(undisturbed[-1]), Place())) == []


def test_checkpoints_need_not_be_every_epoch(job: Job, undisturbed: list[bytes]) -> None:
    rarely = replace(job, resources=GraphResources(checkpoint_epochs=10))
    states = [stored(state) for state in train_variants(rarely, None, Place())]
    assert len(states) == 2
    end, same = loaded(undisturbed[-1]), loaded(states[-1])
    assert str(without_speed(same)) == str(without_speed(end))


@pytest.fixture(scope="module")
def impatient(job: Job) -> list[bytes]:
    """Checkpoints of a long training that is to stop early."""
    config = replace(job.config, epochs=40, patience=2, ablations=())
    return [stored(s) for s in train_variants(replace(job, config=config), None, Place())]


def test_training_stops_when_validation_no_longer_improves(impatient: list[bytes]) -> None:
    end = loaded(impatient[-1])
    mrrs = [row["validation_mrr"] for row in end["curves"]]
    best = mrrs.index(max(mrrs))
    assert best + 1 + 2 == len(mrrs) < 40
    at_best = loaded(impatient[best])["trainer"]["model"]
    assert end["finished"].keys() == {MAIN_VARIANT}
    for name, tensor in end["finished"][MAIN_VARIANT].items():
        assert torch.equal(tensor, at_best[name]), name
    assert any(not torch.equal(x, at_best[name]) for name, x in end["trainer"]["model"].items())


def test_workers_agree_on_the_best_epoch_on_their_own_devices(job: Job) -> None:
    met = []

    def gather(tensor: torch.Tensor) -> list[torch.Tensor]:
        met.append(tensor.device.type)
        return [torch.tensor([0.5])]

    session = Session.open(job, Place(gather=gather, device=torch.device("meta")))
    names = [f.name for f in fields(Curve) if f.name != "variant"]
    curve = Curve(variant=MAIN_VARIANT, **dict.fromkeys(names, 1))
    trainer = SimpleNamespace(epoch=1, model=torch.nn.Linear(1, 1))
    best = session._better(None, curve, trainer)  # type: ignore[arg-type]
    assert best is not None
    assert (best["mrr"], met) == (0.5, ["meta"])


def test_patience_outlasts_the_next_row_of_the_curves() -> None:
    with pytest.raises(ConfigError, match="patience=3, log_every=5"):
        TrainConfig(patience=3, log_every=5)
    assert TrainConfig(patience=5, log_every=5).patience == 5


def test_a_training_that_stops_early_goes_on_from_any_checkpoint(
    job: Job, impatient: list[bytes]
) -> None:
    config = replace(job.config, epochs=40, patience=2, ablations=())
    end = loaded(impatient[-1])
    for stop in (0, len(impatient) - 2):
        state = loaded(impatient[stop])
        for following in train_variants(replace(job, config=config), state, Place()):
            state = following
        assert str(without_speed(state)) == str(without_speed(end))
        for name, tensor in end["finished"][MAIN_VARIANT].items():
            assert torch.equal(state["finished"][MAIN_VARIANT][name], tensor), name


def test_the_ablation_learns_links_and_no_images(undisturbed: list[bytes]) -> None:
    curves = loaded(undisturbed[-1])["curves"]
    for row in curves:
        assert (row["loss_image"] != row["loss_image"]) == (row["variant"] == LAMBDA0)


def test_a_job_travels_as_plain_values(job: Job) -> None:
    assert Job.from_dict(asdict(job)) == job
    assert Path(job.prepared, "graph").is_dir()
