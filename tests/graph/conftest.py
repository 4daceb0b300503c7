"""A small published world and what stage 3 makes of it, shared by the tests of the stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from graph.batches import TrainingGraph
from graph.build import build_graph
from graph.config import EncoderConfig, GraphConfig, GraphResources, TrainConfig
from graph.contents import Contents
from graph.evaluate import Held
from graph.features import Features, load_features
from graph.prepare import make_sampler, make_splits, sampler_config, training_graph
from graph.store import GraphStore
from graph.tables import GRAPH_STORE
from pipelines.contract import Artifact, Run, Table
from tests.graph.synthetic import World, make_world, write_tables

SMALL = TrainConfig(
    encoder=EncoderConfig(dim=16, heads=2, fanouts=(8, 4), dropout=0.1),
    epochs=3,
    batch_users=64,
    chunk_users=16,
    uniform_negatives=8,
    log_every=1,
    seed=5,
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors gain nothing from threads, and bits of sums depend on their number."""
    torch.set_num_threads(1)


@dataclass(frozen=True, kw_only=True)
class Small:
    """A world of 200 users, its published tables and what training reads of it."""

    world: World
    run: Run
    graph: GraphStore
    features: Features
    held: Held

    @property
    def contents(self) -> Contents:
        """Of the training view."""
        return self.held.training.contents

    def training_graph(self, config: TrainConfig = SMALL) -> TrainingGraph:
        """With the torch sampler."""
        view = self.held.training
        sampler = make_sampler(
            "torch", view.graph.by_user, view.graph.by_subreddit, sampler_config(config)
        )
        return training_graph(view, sampler, config.seed)


def publish(run: Run, *outputs: Table | Artifact) -> None:
    """Move what a step staged to where readers look, as the runner does."""
    for output in outputs:
        target = output.path(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        run.staged(output).rename(target)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The small world; tests must not write into its run."""
    root: Path = tmp_path_factory.mktemp("small")
    run = Run(root=root, staging=root / ".staging")
    world = make_world(users=200, tastes=5, mixed=8, hubs=4, dim=24, seed=3)
    write_tables(world, run)
    build_graph(GraphConfig(), GraphResources(), run)
    publish(run, GRAPH_STORE)
    graph = GraphStore.open(GRAPH_STORE.path(run))
    features = load_features(run, graph)
    held = Held.of(graph, make_splits(graph, SMALL), features)
    return Small(world=world, run=run, graph=graph, features=features, held=held)


@pytest.fixture
def fresh_run(small: Small, tmp_path: Path) -> Callable[[str], Run]:
    """Runs that read the small world's tables and stage elsewhere."""

    def make(name: str) -> Run:
        root = tmp_path / name
        root.mkdir()
        for folder in ("tables", "artifacts"):
            (root / folder).mkdir()
            for published in (small.run.root / folder).iterdir():
                (root / folder / published.name).symlink_to(published)
        return Run(root=root, staging=root / ".staging")

    return make
