from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from embed.clip import clip_identity
from embed.config import ClipConfig
from orchestration import profiles
from orchestration.flow import FLOW
from orchestration.manifests import (
    changes,
    content,
    depends,
    describe,
    fingerprint,
    identity,
    lineage,
)
from pipelines.config import IngestConfig
from pipelines.contract import Run
from pipelines.dumps import Dump
from tests.orchestration.steps import STEP, NumbersConfig


@dataclass(frozen=True, kw_only=True)
class PlacedConfig:
    """A config with a place in it."""

    archive: str = field(metadata={"location": True})
    inputs: tuple[str, ...] = field(default=(), metadata={"location": "external"})
    seed: int = 0


def test_a_place_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shard").write_text("same")
    here, there = (
        PlacedConfig(archive=str(tmp_path / "a")),
        PlacedConfig(archive=str(tmp_path / "b"), inputs=("elsewhere",)),
    )
    assert describe(here) == describe(there)
    (tmp_path / "b" / "shard").write_text("changed")
    assert describe(here) != describe(there)


def test_a_key_counts_by_itself_whatever_its_file_is_called(tmp_path: Path) -> None:
    spellings = {"key": "0123456789abcdef", "renamed": "0123456789abcdef\n", "other": "f" * 16}
    described = {}
    for name, text in spellings.items():
        (tmp_path / name).write_text(text)
        described[name] = describe(IngestConfig(inputs=("x",), key_file=str(tmp_path / name)))
    assert described["key"] == described["renamed"] != described["other"]
    assert "renamed" not in str(described["renamed"]) and "0123456789" not in str(described)
    absent = describe(IngestConfig(inputs=("x",), key_file=str(tmp_path / "absent")))
    assert absent["key_file"] == ["absent"]


def test_what_is_absent_differs_from_what_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert identity(tmp_path / "empty")[1:] != identity(tmp_path / "absent")[1:]


def mark(run: Run, config: NumbersConfig, dumps: Sequence[Dump] = ()) -> str:
    return fingerprint(STEP, run.month, depends(STEP, config, run, dumps))


def dump(path: Path, text: str) -> Dump:
    path.write_text(text)
    return Dump(month="2019-08", kind="RC", label=path.name, path=str(path), size_bytes=len(text))


def test_a_fingerprint_changes_with_config_month_and_input_files(tmp_path: Path) -> None:
    run, config = Run(root=tmp_path), NumbersConfig()
    marks = {
        mark(run, config),
        mark(run, replace(config, count=4)),
        mark(replace(run, month="2019-08"), config),
        mark(run, config, [dump(tmp_path / "RC", "1")]),
    }
    assert len(marks) == 4
    assert mark(Run(root=tmp_path / "other"), NumbersConfig()) in marks


def test_changes_are_told_by_name(tmp_path: Path) -> None:
    run, config = Run(root=tmp_path), NumbersConfig()
    before = depends(STEP, config, run, [dump(tmp_path / n, "1") for n in ("RC", "RS")])
    now = depends(
        replace(STEP, version=2),
        replace(config, count=4),
        run,
        [dump(tmp_path / "RS", "2"), dump(tmp_path / "RX", "1")],
    )
    now = {**now, "contracts": {"numbers": "another"}, "inputs": {"rows": {"2019-08": "b"}}}
    assert changes({**before, "inputs": {"rows": {"2019-08": "a"}}}, now, "numbers") == [
        "changed code: version 1 -> 2",
        "changed contract: numbers",
        "changed setting: numbers.count (3 -> 4)",
        "gone dump RC",
        "changed dump RS",
        "new dump RX",
        "changed input: rows 2019-08",
    ]
    assert changes(before, before, "numbers") == []
    assert changes({}, before, "numbers") == ["made by an earlier version of tastegraph"]


def test_content_counts_bytes_and_names_and_not_places(tmp_path: Path) -> None:
    hashes = []
    for folder, name, text in (("a", "x", "1"), ("b", "x", "1"), ("c", "x", "2"), ("d", "y", "1")):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / name).write_text(text)
        hashes.append(content(tmp_path / folder))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_the_lineage_follows_settings_before_a_step_but_no_data(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    profile = profiles.dumps(tmp_path / "run", ("x",), tmp_path / "key")
    profile = replace(profile, embed=replace(profile.embed, archive=str(tmp_path / "images")))
    train = next(step for step in FLOW if step.name == "train_gat")

    def of(changed: profiles.Profile) -> dict[str, str]:
        return lineage(train, {step.name: changed.settings(step.name)[0] for step in FLOW})

    before = of(profile)
    (tmp_path / "images" / "shard").write_text("more images")
    assert of(profile) == before
    for word, changes_it in (
        ("ingest.over_18=keep", True),
        ("train.epochs=3", True),
        ("embed.max_pixels=9", True),
        ("evidence.max_images=1", False),
    ):
        assert (of(profiles.override(profile, [word])) != before) == changes_it, word


def test_a_model_counts_by_its_weights_and_not_by_its_name_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "open_clip_model.safetensors").write_bytes(b"first")
    mine = ClipConfig(model=f"local-dir:{folder}")
    before = describe(mine)
    assert before == describe(mine)
    (folder / "open_clip_model.safetensors").write_bytes(b"other")
    assert before != describe(mine)
    shipped = dict(describe(ClipConfig())["model_files"])
    digest = clip_identity("tiny").weights_sha256
    assert shipped["open_clip_model.safetensors"] == digest
    assert "model_files" not in describe(ClipConfig(model="ViT-B-32", pretrained="openai"))
