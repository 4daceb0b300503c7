"""What training and evaluation read of a published world."""

from __future__ import annotations

from typing import Protocol

from graph.batches import TrainingGraph
from graph.config import TrainConfig
from graph.evaluate import Held
from graph.features import Features, load_features
from graph.prepare import make_sampler, make_splits, sampler_config, training_graph
from graph.store import GraphStore
from pipelines.contract import Run
from tests.graph.synthetic import World


class Published(Protocol):
    """A world whose tables and graph are published: fixture `small`."""

    @property
    def world(self) -> World:
        """What was planted."""

    @property
    def run(self) -> Run:
        """Where the tables lie."""

    @property
    def graph(self) -> GraphStore:
        """The published graph."""


def held_views(small: Published, config: TrainConfig, features: Features | None = None) -> Held:
    """Views of training and evaluation; of the published features if None."""
    graph = small.graph
    return Held.of(graph, make_splits(graph, config), features or load_features(small.run, graph))


def reader(held: Held, config: TrainConfig, sampler: str = "torch") -> TrainingGraph:
    """What a trainer reads."""
    graph = held.training.graph
    made = make_sampler(sampler, graph.by_user, graph.by_subreddit, sampler_config(config))
    return training_graph(held.training, made, config.seed)
