"""The parts of a training run, put together from the graph store and the features: no engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graph import baselines
from graph.batches import TrainingGraph, make_batch
from graph.blocks import Sampler, SamplerConfig, TorchSampler, Weighting
from graph.config import TrainConfig
from graph.contents import Centres, Contents, ImageMeans
from graph.counter_random import Stream, torch_seed
from graph.csr import Csr
from graph.features import Features
from graph.model import TasteEncoder, content_features, unit
from graph.splits import Given, Splits, split_edges
from graph.store import GraphStore

FIT_ROWS = 1 << 20  # Enough for a mean and a deviation.


@dataclass(frozen=True, kw_only=True)
class View:
    """A graph as some reader may see it: edges, images of those edges, and what follows from them.

    Args:
        graph: The edges.
        features: Images posted along them (and those posted where the graph has no edge).
        contents: Derived from both.
        folder: Where all of these are mapped from; None: some are in memory, or elsewhere.
    """

    graph: GraphStore
    features: Features
    contents: Contents
    folder: Path | None = None

    def save(self, folder: Path) -> None:
        """Write the edges, their images, and the users' means, or link to those that are mapped;
        `open` reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.folder is None:
            self.graph.save(folder / "graph")
            self.features.save(folder / "features")
            self.contents.images.save(folder / "images")
            return
        for name in ("graph", "features", "images"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to((self.folder / name).resolve())

    @staticmethod
    def open(folder: Path) -> View:
        """Map what `save` wrote, with centres of its own."""
        graph, features = GraphStore.map(folder / "graph"), Features.open(folder / "features")
        contents = Contents.of(graph, ImageMeans.open(folder / "images"), Centres.of(features))
        return View(graph=graph, features=features, contents=contents, folder=folder)

    @staticmethod
    def of(
        graph: GraphStore,
        features: Features,
        keep: Tensor | None = None,
        centres: Centres | None = None,
        folder: Path | None = None,
    ) -> View:
        """The view of the edges kept (bool [E]), all if None; centres of its own if None. Its
        edges and images are in memory, or in mapped files in `folder`."""
        if keep is not None:
            edges = features.image_edges(graph)
            features = features.keep_images((edges >= 0) & keep[edges.clamp(min=0)])
            graph = graph.subset(keep, folder and folder / "graph")
        if folder is not None:
            features.save(folder / "features")
            features = Features.open(folder / "features")
        images = ImageMeans.of(features, folder and folder / "images")
        contents = Contents.of(graph, images, centres or Centres.of(features))
        mapped = folder if keep is not None else None
        return View(graph=graph, features=features, contents=contents, folder=mapped)


def make_splits(graph: GraphStore, config: TrainConfig) -> Splits:
    """The splits that this config asks for; test edges that came with the graph go before it."""
    given = Given.read(graph.folder)
    no_test = given is None or given.names_users_alone()
    drawn = split_edges(
        graph.by_user,
        graph.user_keys,
        graph.subreddit_keys,
        validation_share=config.validation_share,
        test_share=config.test_share if no_test else 0.0,
        inductive_share=config.inductive_share,
        seed=config.seed,
    )
    return drawn if given is None else given.apply(drawn, config.inductive_share)


def sampler_config(config: TrainConfig) -> SamplerConfig:
    """What training blocks hold: recent activity first for users, anybody for subreddits."""
    return SamplerConfig(
        fanouts=config.encoder.fanouts,
        weightings=(Weighting.DECAYED, Weighting.UNIFORM),
        max_targets=config.max_targets,
        seed=config.seed,
    )


def training_graph(view: View, sampler: Sampler, seed: int, partitions: int = 0) -> TrainingGraph:
    """What a trainer reads: seeds are the users with an edge."""
    degrees = view.graph.by_user.degrees()
    users = torch.nonzero(degrees > 0)[:, 0]
    partition = None
    if partitions > 1:
        from graph.partitions import user_partitions

        by_user = view.graph.by_user
        partition = user_partitions(by_user, view.graph.num_subreddits, partitions)[users]
    return TrainingGraph(
        by_user=view.graph.by_user,
        by_subreddit=view.graph.by_subreddit,
        features=view.features,
        sampler=sampler,
        users=users,
        seed=seed,
        partition=partition,
    )


def make_sampler(name: str, by_user: Csr, by_subreddit: Csr, config: SamplerConfig) -> Sampler:
    """The sampler of that name: `torch`, or `dgl` where dgl is installed."""
    if name == "torch":
        return TorchSampler(by_user=by_user, by_subreddit=by_subreddit, config=config)
    from graph.blocks_dgl import DglSampler

    return DglSampler(by_user=by_user, by_subreddit=by_subreddit, config=config)


def new_encoder(config: TrainConfig, graph: TrainingGraph, contents: Contents) -> TasteEncoder:
    """A seeded encoder, its scales fitted to the training graph."""
    torch.manual_seed(torch_seed(Stream.PARAMETERS, config.seed))
    model = TasteEncoder(config.encoder, graph.by_subreddit.num_rows, graph.features.clip_dim)
    model.set_centres(contents.centres.image_D, contents.centres.text_D, _image_radius(contents))
    model.edge_scale.fit(graph.by_user.edge_features(_spread(graph.by_user.num_edges)))
    model.user_scale.fit(contents.user_stats_UK[graph.users[_spread(len(graph.users))]])
    model.subreddit_scale.fit(contents.subreddit_stats_SK)
    sample = graph.users[: 4 * config.chunk_users]
    batch = make_batch(graph, contents, sample, epoch=0, step=0, num_uniform=0)
    agreement = content_features(batch.subreddits, batch.seeds, batch.near)
    model.content_scale.fit(agreement[batch.near.mask_RF])
    if config.encoder.spectral:
        train = baselines.matrix(graph.by_user, graph.by_subreddit.num_rows)
        vectors = baselines.singular_vectors(train, config.encoder.dim, config.seed)
        model.start_from(torch.from_numpy(vectors.T.astype(np.float32)))
    return model


def _spread(size: int) -> Tensor:
    """int64: at most `FIT_ROWS` numbers, evenly over [0, size)."""
    return torch.arange(0, size, max(1, size // FIT_ROWS))


def _image_radius(contents: Contents) -> float:
    """How far users' images leave the mean image: mean tangent of the angle; 1 without images."""
    images, centre = contents.images.mean_RD, unit(contents.centres.image_D)
    if not len(images):
        return 1.0
    cosine = torch.cat([unit(part) @ centre for part in images.split(FIT_ROWS)]).clamp(min=0.1)
    return float(((1 - cosine**2).clamp(min=0).sqrt() / cosine).mean())
