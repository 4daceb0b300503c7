"""One split, trained and ranked in this process: what evaluation and benchmarks run. No engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graph.config import TrainConfig
from graph.evaluate import (
    SPLITS,
    Held,
    Result,
    ScoreUsers,
    encoder_scorer,
    evaluate_links,
    over_seeds,
)
from graph.model import TasteEncoder
from graph.prepare import make_sampler, new_encoder, sampler_config, training_graph
from graph.training import Trainer
from graph.tuning import Hybrid, baseline_fits, baseline_scorers, tune, tune_hybrid
from graph.variants import MAIN_VARIANT

HYBRID = "gat_filter"
Watch = Callable[[int, float], None]
"""Called with (epochs done, link loss)."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What was chosen on validation edges, never on test edges.

    Args:
        fits: Rank, penalty or damping by baseline, of `graph.tuning.tune`.
        hybrid: Filter beside the encoder.
    """

    fits: Mapping[str, int]
    hybrid: Hybrid


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An encoder and what it took.

    Args:
        model: In evaluation mode.
        seconds: Of all epochs.
    """

    model: TasteEncoder
    seconds: float


def train_encoder(held: Held, config: TrainConfig, watch: Watch | None = None) -> Trained:
    """Train one encoder on the training view of a split."""
    graph = held.training.graph
    sampler = make_sampler("torch", graph.by_user, graph.by_subreddit, sampler_config(config))
    seen, contents = training_graph(held.training, sampler, config.seed), held.training.contents
    model = new_encoder(config, seen, contents)
    trainer = Trainer(config, model, seen, contents, image_weight=config.image_weight)
    started = time.perf_counter()
    while trainer.epoch < config.epochs:
        losses = trainer.run_epoch()
        if watch is not None:
            watch(trainer.epoch, losses.link)
    return Trained(model=model.eval(), seconds=time.perf_counter() - started)


def choose(
    held: Held, config: TrainConfig, without: Sequence[str] = (), watch: Watch | None = None
) -> Choices:
    """Tune the baselines, and the filter beside an encoder trained without validation edges."""
    fits = tune(held, config.seed, without)
    trained = train_encoder(held, config, watch)
    encoder = encoder_scorer(trained.model, held, config.seed)
    return Choices(fits=fits, hybrid=tune_hybrid(held, encoder, fits, config.seed))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All models of one split.

    Args:
        results: On its test edges.
        main: The encoder itself.
        choices: What was chosen on its validation edges.
    """

    results: list[Result]
    main: Trained
    choices: Choices


def compare(
    held: Held,
    config: TrainConfig,
    watch: Callable[[str], Watch] | None = None,
    seeds: Sequence[int] = (),
) -> Compared:
    """Train the encoder and its ablations on a split and rank them beside the baselines.

    Args:
        held: With validation edges, by which baselines and filter are chosen.
        config: Of the encoder; its ablations are trained in turn.
        watch: Makes the watch of a variant from its name.
        seeds: Of training: every encoder once with each; the config's alone if empty. All choices
            are those of the first.
    """
    seed, watch = config.seed, watch or (lambda _: lambda *_: None)
    first, *others = [replace(config, seed=number) for number in (seeds or (seed,))]
    main = train_encoder(held, first, watch(_label(MAIN_VARIANT, first)))
    fits = tune(held, seed)
    encoder = encoder_scorer(main.model, held, first.seed)
    choices = Choices(fits=fits, hybrid=tune_hybrid(held, encoder, fits, seed))
    runs = [_ranked(held, main, first, choices, watch)]
    for other in others:
        again = train_encoder(held, other, watch(_label(MAIN_VARIANT, other)))
        runs.append(_ranked(held, again, other, choices, watch))
    results = rank_baselines(held, choices, seed) + over_seeds(runs)
    return Compared(results=results, main=main, choices=choices)


def _ranked(
    held: Held,
    main: Trained,
    config: TrainConfig,
    choices: Choices,
    watch: Callable[[str], Watch],
) -> list[Result]:
    """The encoder and its ablations of one seed."""
    results = rank_encoder(held, main.model, choices, seed=config.seed)
    for name in config.ablations:
        ablated = train_encoder(held, config.ablated(name), watch(_label(name, config)))
        results += rank_encoder(held, ablated.model, choices, seed=config.seed, name=name)
    return results


def _label(name: str, config: TrainConfig) -> str:
    return f"{name}, seed {config.seed}"


def rank_baselines(
    held: Held, choices: Choices, seed: int, splits: Sequence[str] = SPLITS
) -> list[Result]:
    """The baselines that were tuned, on the test edges."""
    return evaluate_links(held, baseline_scorers(held, seed, choices.fits), splits)


def rank_encoder(
    held: Held,
    model: TasteEncoder,
    choices: Choices,
    *,
    seed: int,
    name: str = MAIN_VARIANT,
    splits: Sequence[str] = SPLITS,
) -> list[Result]:
    """The encoder alone; the main one also with the filter that was chosen."""
    return evaluate_links(held, _scorers(held, model, choices, seed, name), splits)


def _scorers(
    held: Held, model: TasteEncoder, choices: Choices, seed: int, name: str
) -> Iterator[tuple[str, ScoreUsers]]:
    encoder, hybrid = encoder_scorer(model, held, seed), choices.hybrid
    yield name, encoder
    if name == MAIN_VARIANT and hybrid.filter:
        fit = baseline_fits(held, seed)[hybrid.filter][choices.fits.get(hybrid.filter, 0)]
        yield HYBRID, hybrid.scorer(encoder, fit())
