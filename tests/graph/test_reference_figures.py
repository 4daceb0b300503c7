"""Published and measured figures of public graphs, to the third digit: they prove the metrics.

Skipped where the graphs are not at hand; `make bench-graph-quality` says where it looks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from graph import baselines
from graph.config import TrainConfig
from graph.evaluate import Held, rank_users
from graph.features import load_features
from graph.prepare import make_splits
from graph.splits import Split
from graph.store import GraphStore
from graph.tables import GRAPH_STORE
from orchestration.bench.graph_quality import DATA, imported

CONFIG = TrainConfig(validation_share=0.0, inductive_share=0.2)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "ml-1m").is_dir(), reason=f"no graphs in {DATA}"),
]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Held]:
    """MovieLens-1M, by whether the new users are withheld."""
    run = imported(DATA, "ml-1m", tmp_path_factory.mktemp("reference") / "ml-1m")
    graph = GraphStore.open(GRAPH_STORE.path(run))
    features = load_features(run, graph)
    configs = {True: CONFIG, False: replace(CONFIG, inductive_share=0.0)}
    return {
        key: Held.of(graph, make_splits(graph, config), features) for key, config in configs.items()
    }


def measured(held: Held, fit: baselines.Fitter, inductive: bool) -> tuple[float, float]:
    """Recall@20 and NDCG@20, rounded to the fourth digit."""
    train, inputs = (
        baselines.matrix(view.graph.by_user, held.graph.num_subreddits)
        for view in (held.training, held.inputs)
    )
    score = fit(train)
    users = held.users(Split.TEST, inductive)
    metrics, _ = rank_users(
        held,
        Split.TEST,
        users,
        lambda part: torch.from_numpy(np.array(score(inputs[part.numpy()]))),
    )
    return round(metrics["recall_at_20"], 4), round(metrics["ndcg_at_20"], 4)


@pytest.mark.parametrize(
    ("fit", "inductive", "recall", "ndcg"),
    [
        (baselines.popularity, False, 0.1160, None),
        (baselines.item_cosine, False, 0.1876, 0.1932),
        (partial(baselines.ease, penalty=1000.0), False, 0.2755, 0.2674),
        (partial(baselines.ease, penalty=1000.0), True, 0.2765, 0.2613),
        (baselines.linear_filter, True, 0.1556, 0.1572),
    ],
)
def test_movielens_figures(
    held: dict[bool, Held],
    fit: baselines.Fitter,
    inductive: bool,
    recall: float,
    ndcg: float | None,
) -> None:
    found = measured(held[inductive], fit, inductive)
    assert found[0] == pytest.approx(recall, abs=6e-4)
    assert ndcg is None or found[1] == pytest.approx(ndcg, abs=6e-4)
