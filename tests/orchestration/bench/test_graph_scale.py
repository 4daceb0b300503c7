"""The bench of the large graph, on a graph of two thousand users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from graph.store import GraphStore
from graph.tables import GRAPH_STORE
from orchestration.bench import graph_phases
from orchestration.bench.graph_scale import result_table, scaling_table, training
from orchestration.bench.made_up_graph import GraphSize, write_interactions
from pipelines.contract import Run


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the last phase printed."""
    values: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return values


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scale")
    size = GraphSize(users=2500, subreddits=600, edges=20_000, seed=1)
    write_interactions(size, Run(root=root), threads=1)
    return root


@pytest.mark.slow
def test_phases_build_train_and_compare(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph_phases.build(root)
    built = said(capsys)
    assert built["users"] == 2500
    assert built["edges"] == GraphStore.open(GRAPH_STORE.path(Run(root=root))).by_user.num_edges
    threads = torch.get_num_threads()
    graph_phases.train(root, seconds=1.0, threads=threads)
    ours = said(capsys)
    graph_phases.train(root, seconds=1.0, threads=threads, plain=True)
    plain = said(capsys)
    pytest.importorskip("dgl")
    graph_phases.reference(root, seconds=1.0, threads=threads)
    theirs = said(capsys)
    for losses in (ours["losses"], plain["losses"], theirs["losses"]):
        assert losses[1] < losses[0]  # both learn, from about the same loss
    assert theirs["losses"][0] == pytest.approx(ours["losses"][0], rel=0.3)
    turn = [part | {"peak_rss_bytes": i} for i, part in enumerate((ours, plain, theirs))]
    trained = training([turn])
    assert trained["ratio"] == ours["seeds_per_s"] / theirs["seeds_per_s"]
    assert trained["plain_ratio"] == plain["seeds_per_s"] / theirs["seeds_per_s"]
    result = {
        "scale": 1.0,
        "generate": {"seconds": 1.0, "bytes": 5, "peak_rss_bytes": 1},
        "build": built | {"peak_rss_bytes": 9e9},
        "train": trained,
        "infer": {"seconds": 1.0, "users_per_s": 3.0, "peak_rss_bytes": 1},
        "extrapolated_epoch_s": 7.0,
    }
    assert result_table(result).row_count == 5
    assert scaling_table([{"share": 1.0, "edges": 1, "seconds": 1, "peak_rss_bytes": 1}]).row_count
