"""The commands of the graph on a small world."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from embed.tables import HELDOUT_TARGETS, TAG_EMBEDDINGS, VISUAL_TARGETS
from graph.experiment import train_encoder
from graph.results import write_checkpoint
from graph.tables import CHECKPOINT, USER_EMBEDDINGS
from graph.variants import MAIN_VARIANT
from orchestration import command_line
from orchestration.commands.graph import _image_figures
from pipelines.contract import ConfigError, ContractError, MissingInputError, Run
from tests.graph.conftest import SMALL, Small, one_thread, small

__all__ = ["one_thread", "small"]


def invoke(*words: str) -> str:
    result = CliRunner().invoke(command_line.app, list(words), catch_exceptions=False)
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def root(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world with a trained encoder."""
    root = tmp_path_factory.mktemp("commands") / "run"
    shutil.copytree(small.run.root, root)
    model = train_encoder(small.held, replace(SMALL, epochs=2)).model
    write_checkpoint(
        CHECKPOINT.path(Run(root=root)), {MAIN_VARIANT: model}, small.held, small.features, {}
    )
    return root


def test_embed_user_names_neighbours_tags_and_what_it_does_not_know(root: Path) -> None:
    said = invoke("embed-user", "--subreddits", "r/taste00_0, HUB01,nosuch", "--root", str(root))
    assert "unknown, not used: nosuch" in said
    assert "hub01" in said.split("nearest")[0]
    nearest = said.split("nearest subreddits: ")[1].split(" latency")[0]
    assert "hub01" not in nearest
    assert "taste00_0" not in nearest
    assert len(nearest.split(" composition:")[0].split(",")) == 10
    assert TAG_EMBEDDINGS.files(Run(root=root))
    assert "palette:" in said
    assert said.endswith("ms")


def test_embed_user_refuses_what_it_cannot_embed(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="none of the 1 subreddits of the new user is known"):
        invoke("embed-user", "--subreddits", "nosuch", "--root", str(root))
    with pytest.raises(ConfigError, match="--subreddits ' , ': expected names"):
        invoke("embed-user", "--subreddits", " , ", "--root", str(root))
    with pytest.raises(MissingInputError, match="run train_gat first"):
        invoke("embed-user", "--subreddits", "a", "--root", str(tmp_path))


@pytest.mark.slow
def test_evaluate_ranks_everything_on_three_splits(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    small_run = ("--set", "train.epochs=2", "--set", "train.encoder.dim=16")
    few = ("--set", "train.ablations=one_layer,no_content,no_edges")
    said = invoke("evaluate", "--root", str(root), "--out", str(out), *small_run, *few)
    figures = json.loads(out.read_text())
    ranked = {(row["split"], row["model"]) for row in figures["links"]}
    models = {"popularity", "item_cosine", "linear_filter", "damped_filter", "ease", "mf"}
    models |= {"gat", "one_layer", "no_content", "no_edges"}
    for split in ("transductive", "inductive", "time"):
        assert {(split, model) for model in models} <= ranked
    assert figures["time"]["cutoff"] == "2019-12"
    assert set(figures["deletion"]) == {"attention", "activity", "random"}
    assert "subreddits removed by" in said
    assert {row["num_seeds"] for row in figures["links"]} == {1}
    with pytest.raises(ConfigError, match="--splits 'random'"):
        invoke("evaluate", "--root", str(root), "--splits", "random")


@pytest.mark.slow
def test_evaluate_tells_mean_and_spread_over_seeds(root: Path, tmp_path: Path) -> None:
    small_run = ("--set", "train.epochs=2", "--set", "train.encoder.dim=16")
    few = ("--set", "train.ablations=one_layer")
    words = ("evaluate", "--root", str(root), "--splits", "transductive", *small_run, *few)

    def links(*more: str) -> dict[tuple[str, str], dict[str, Any]]:
        out = tmp_path / "figures.json"
        said = invoke(*words, "--out", str(out), *more)
        assert ("±" in said) == ("--seeds" in more)
        return {(r["model"], r["degree"]): r for r in json.loads(out.read_text())["links"]}

    single, both = links(), links("--seeds", "0,1")
    for model in ("gat", "one_layer"):
        found = both[model, "all"]
        assert found["num_seeds"] == 2
        # Of two seeds the deviation is the distance from the mean, times the root of two.
        for name, value in single[model, "all"]["metrics"].items():
            apart = abs(value - found["metrics"][name]) * 2**0.5
            assert found["spread"][name] == pytest.approx(apart, abs=1e-9)
        assert any(found["spread"].values())
    assert both["ease", "all"] == single["ease", "all"]
    for wrong in ("0,x", "1,1"):
        with pytest.raises(ConfigError, match=f"--seeds '{wrong}'"):
            invoke(*words, "--seeds", wrong)


def test_images_are_compared_among_a_sample_of_the_users(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(root=tmp_path)
    (tmp_path / "tables").symlink_to(shutil.copytree(small.run.root / "tables", tmp_path / "t"))
    targets = VISUAL_TARGETS.read(small.run)
    for table in (HELDOUT_TARGETS, USER_EMBEDDINGS):
        table.path(run).mkdir()
    HELDOUT_TARGETS.write(HELDOUT_TARGETS.path(run), targets)
    embedded = {
        "user_id": targets["user_id"],
        "embedding": targets["embedding"],
        "clip_embedding": targets["embedding"],
        "num_subreddits": targets["num_images"],
        "has_images": pa.array([True] * len(targets)),
        "inductive": pa.array([False] * len(targets)),
    }
    USER_EMBEDDINGS.write(USER_EMBEDDINGS.path(run), pa.table(embedded))
    assert _image_figures(run)["users"] == len(targets) > 8
    monkeypatch.setattr("orchestration.commands.graph.MAX_IMAGE_USERS", 8)
    figures = _image_figures(run)
    assert figures["users"] == 8
    assert figures["ours"] == {"recall_at_1": 1.0, "recall_at_10": 1.0}
    assert figures["subreddit_mean"]["recall_at_10"] == 1.0


def test_import_graph_says_what_it_counted(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("0 1 2\n1 2\n")
    (tmp_path / "test.txt").write_text("1 1 2\n")
    said = invoke(
        "import-graph",
        str(tmp_path / "list.txt"),
        *("--root", str(tmp_path / "root"), "--test", str(tmp_path / "test.txt")),
    )
    for name, number in (("rows", 3), ("test also in list", 1), ("edges", 4), ("users", 2)):
        assert f"{name} │ {number}" in said
