"""The benchmark of link quality on a graph of two communities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration.bench import graph_quality

MODELS = {"popularity", "item_cosine", "linear_filter", "damped_filter", "ease", "mf", "gat"}


def invoke(*words: str) -> str:
    import typer

    app = typer.Typer()
    app.command()(graph_quality.main)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty users of two communities of ten subreddits; the odd ones out are of user % 3."""
    folder = tmp_path / "data" / "ml-1m"
    folder.mkdir(parents=True)
    train, test = [], []
    for user in range(60):
        row = [str(10 * (user % 2) + (user + step) % 10) for step in range(8)]
        train.append(" ".join([str(user), *row[:6]]))
        test.append(" ".join([str(user), *row[6:]]))
    (folder / "train.txt").write_text("\n".join(train) + "\n")
    (folder / "test.txt").write_text("\n".join(test) + "\n")
    (tmp_path / "data" / "ml-1m_new_users_20pct.txt").write_text("3\n9\n20\n41\n")
    return tmp_path / "data"


def test_every_model_is_ranked_on_both_splits(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = invoke("--data", str(data), "--out", str(out), "--only", "ml-1m", "--epochs", "2")
    figures = json.loads((out / "graph_quality.json").read_text())["ml-1m"]
    for split, users in (("transductive", 60), ("inductive", 4)):
        assert set(figures[split]) >= MODELS
        for model in MODELS:
            assert figures[split][model]["num_users"] == users
            assert 0 <= figures[split][model]["ndcg_at_20"] <= 1
        assert figures[split]["ease"]["recall_at_20"] == 1.0
    assert set(figures["transductive"]) >= {"no_attention", "no_spectrum"}
    assert figures["peak_rss_gb"] > 0.1
    assert {"transductive.gat.0", "inductive.gat.0"} <= set(figures["training_s"])
    assert "goal" in said


def test_a_second_seed_is_averaged(data: Path, tmp_path: Path) -> None:
    words = ("--quick", "--seeds", "0,1", "--data", str(data), "--out", str(tmp_path / "out"))
    invoke(*words)
    figures = json.loads((tmp_path / "out" / "graph_quality.json").read_text())["ml-1m"]
    gat = figures["transductive"]["gat"]
    values = [seed["ndcg_at_20"] for seed in gat["seeds"]]
    assert len(values) == 2
    assert gat["ndcg_at_20"] == pytest.approx(sum(values) / 2)


def test_graphs_that_are_not_there_are_skipped_by_name(tmp_path: Path) -> None:
    said = invoke("--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert "ml-1m: skipped, no" in said
    assert "amazoncds: skipped, no" in said
