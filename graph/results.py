"""What training leaves: the checkpoint's files and two tables."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pyarrow as pa
import torch

from graph.checkpoint import STATES_FILE, TrainedEncoder, save_encoder, save_states
from graph.config import TrainConfig
from graph.encode import encode_subreddits
from graph.evaluate import Held, Result, encoder_scorer, evaluate_links
from graph.features import Features
from graph.model import TasteEncoder
from graph.prepare import View
from graph.tables import LINK_METRICS, TRAINING_CURVES
from graph.tuning import baseline_scorers
from graph.variants import MAIN_VARIANT, State, variant_configs

STATE_FILE = "state.pt"


def trained_models(config: TrainConfig, held: Held, state: State) -> dict[str, TasteEncoder]:
    """The finished models by variant, in evaluation mode, on the CPU."""
    models = {}
    for variant, ablated in variant_configs(config).items():
        model = TasteEncoder(
            ablated.encoder, held.graph.num_subreddits, held.training.features.clip_dim
        )
        model.load_state_dict(state["finished"][variant])
        models[variant] = model.eval()
    return models


def write_checkpoint(
    folder: Path,
    models: dict[str, TasteEncoder],
    held: Held,
    features: Features,
    state: State,
    *,
    work: Path | None = None,
) -> None:
    """The main model at the top, ablations in folders of their names.

    Beside the main model lie the training state and layer 1 of all subreddits over the whole graph,
    which is all that encoding a new user takes. Users' images are in memory for it, or in mapped
    files in `work`.
    """
    names = held.graph.subreddits()
    seen = held.graph.user_keys[held.training.graph.by_user.degrees() > 0]
    seen.numpy().sort()  # in place: torch would make as many indices
    for variant, model in models.items():
        trained = TrainedEncoder(
            model=model, subreddits=names, seen_users=seen, clock=held.graph.clock()
        )
        save_encoder(folder if variant == MAIN_VARIANT else folder / variant, trained)
    torch.save(state, folder / STATE_FILE)
    model = models[MAIN_VARIANT]
    centres = held.training.contents.centres
    whole = View.of(held.graph, features, centres=centres, folder=work)
    rows = torch.arange(held.graph.num_subreddits) + 1
    states = encode_subreddits(
        model, held.graph.by_subreddit, features, whole.contents, rows=rows, seed=0
    )
    save_states(folder / STATES_FILE, states)


def evaluate(held: Held, models: dict[str, TasteEncoder], seed: int) -> list[Result]:
    """All models and baselines on the test edges."""
    encoders = ((name, encoder_scorer(model, held, seed)) for name, model in models.items())
    return evaluate_links(held, chain(baseline_scorers(held, seed), encoders))


def write_curves(folder: Path, state: State) -> None:
    """TRAINING_CURVES."""
    TRAINING_CURVES.write(
        folder, pa.Table.from_pylist(state["curves"], schema=TRAINING_CURVES.schema)
    )


def write_metrics(folder: Path, results: list[Result]) -> int:
    """LINK_METRICS; the number of rows."""
    rows = [
        {
            "split": result.split,
            "model": result.model,
            "degree": result.degree,
            "metric": metric,
            "value": value,
            "num_users": result.num_users,
        }
        for result in results
        for metric, value in result.metrics.items()
    ]
    LINK_METRICS.write(folder, pa.Table.from_pylist(rows, schema=LINK_METRICS.schema))
    return len(rows)
