from __future__ import annotations

from pathlib import Path

import pytest

from orchestration import profiles
from orchestration.flow import FLOW
from orchestration.manifests import describe
from pipelines.contract import ConfigError

PROFILE = profiles.local_sample(Path("root"), Path("world"))


def test_every_step_has_settings() -> None:
    assert set(profiles.SETTINGS) == {step.name for step in FLOW}
    assert all(len(PROFILE.settings(step.name)) == 2 for step in FLOW)


def test_every_table_is_read_after_the_step_that_writes_it() -> None:
    written: set[str] = set()
    for step in FLOW:
        assert {table.name for table in step.reads} <= written, step.name
        written |= {table.name for table in step.writes}


def test_only_the_evaluation_is_told_where_the_truth_lies() -> None:
    told = [
        step.name
        for step in FLOW
        if any("truth" in str(setting) for setting in PROFILE.settings(step.name))
    ]
    assert told == ["evaluate"]


@pytest.mark.parametrize(
    ("assignment", "section", "field", "value"),
    [
        ("train.epochs=3", "train", "epochs", 3),
        ("train.lr=0.1", "train", "lr", 0.1),
        ("embed.fetch=true", "embed", "fetch", True),
        ("train.ablations=", "train", "ablations", ()),
        ("ingest.bots=a,b", "ingest", "bots", ("a", "b")),
        ("verbalize.model=tiny", "verbalize", "model", "tiny"),
    ],
)
def test_settings_are_overridden(assignment: str, section: str, field: str, value: object) -> None:
    changed = profiles.override(PROFILE, [assignment])
    assert getattr(getattr(changed, section), field) == value


def test_nested_settings_are_overridden() -> None:
    changed = profiles.override(PROFILE, ["train.encoder.dim=32", "train.encoder.fanouts=4,2"])
    assert changed.train.encoder.dim == 32
    assert changed.train.encoder.fanouts == (4, 2)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.epochs", "expected section.field=value"),
        ("train.epoch=3", "no 'epoch' here; there are encoder, image_weight, epochs"),
        ("train.epochs=many", "expected a value of type int"),
        ("train.epochs.x=1", "'epochs' has no fields"),
        ("embed.fetch=yes", "expected true or false"),
        ("embed.shard_images=0", "shard_images=0: expected at least 1"),
    ],
)
def test_wrong_settings_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        profiles.override(PROFILE, [assignment])


def test_a_real_clip_reads_the_default_vocabulary() -> None:
    profile = profiles.with_clip(PROFILE, "ViT-B-32", "openai")
    assert profile.products.vocabulary == "default"
    assert {profile.embed.clip, profile.products.clip, profile.evaluate.clip} == {
        profile.embed.clip
    }


def test_gpus_change_resources_and_no_result() -> None:
    profile = profiles.with_images(PROFILE, archive="images", fetch=False, gpus=2)
    assert profile.training.workers == 2
    assert profile.embedding.threads_per_actor == 0  # all of a GPU's share of the machine
    assert profile.train == PROFILE.train


def test_failures_to_retry_change_no_setting_that_a_later_run_must_repeat() -> None:
    retrying = profiles.retrying(PROFILE, ["timeout", "not_found"])
    assert retrying.embed.retry_failed == ("timeout", "not_found")
    assert describe(retrying.embed) == describe(PROFILE.embed)


def test_the_folder_to_keep_images_in_is_no_archive_at_the_same_time() -> None:
    profile = profiles.with_images(PROFILE, archive="", fetch=True, gpus=0, keep_archive="kept")
    assert profile.embedding.keep_archive == "kept"
    with pytest.raises(ConfigError, match="--keep-archive 'kept' is --archive, too"):
        profiles.with_images(PROFILE, archive="./kept", fetch=True, gpus=0, keep_archive="kept")
