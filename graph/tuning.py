"""Baselines and the filter beside the encoder: what fits in memory, chosen on validation edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from graph import baselines
from graph.evaluate import Held, ScoreUsers, rank_users, sampled, score_batches
from graph.splits import Split
from graph.store import GraphStore

CHOSEN_BY = "ndcg_at_20"
CHOICE_USERS = 1024  # Choices look at so many users, at most.
MAX_EDGES = 50_000_000  # A matrix of the graph: 0.6 GB.
MAX_PAIRS = 150_000_000  # Entries of a sparse matrix over pairs of subreddits: 1.2 GB.
MAX_EASE_SUBREDDITS = 8_000  # Two dense matrices over pairs: 1 GB.
MAX_NEIGHBOUR_USERS = 60_000  # A batch is compared with every user.
SPARSE = ("item_cosine", "tfidf_items", "linear_filter", "damped_filter")
FILTERS = ("ease", "damped_filter")
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # In standard deviations of the filter.

Fit = Callable[[], ScoreUsers]


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """A linear filter added to the encoder's logits. Both read the user's own edges alone.

    Args:
        filter: Name of the baseline; empty if none is added.
        weight: Of its scores.
    """

    filter: str
    weight: float

    def scorer(self, encoder: ScoreUsers, filter_: ScoreUsers) -> ScoreUsers:
        """The sum."""
        return lambda users: encoder(users) + self.weight * filter_(users).to(torch.float32)


def baseline_scorers(
    held: Held, seed: int, chosen: Mapping[str, int] | None = None
) -> Iterator[tuple[str, ScoreUsers]]:
    """Every baseline that fits in memory, fitted on the training edges when its turn comes.

    Args:
        held: What to fit and rank.
        seed: Of what is drawn.
        chosen: Which baselines with which rank, penalty or damping, of `tune`; all of them, the
            best on the validation edges of `held`, if None.
    """
    for name, fits in baseline_fits(held, seed).items():
        if chosen is None:
            yield name, fits[best_fit(held, fits, seed)]()
        elif name in chosen:
            yield name, fits[chosen[name]]()


def tune(held: Held, seed: int, without: Sequence[str] = ()) -> dict[str, int]:
    """Which fit of each baseline is best on validation edges; some baselines are not wanted."""
    return {
        name: best_fit(held, fits, seed)
        for name, fits in baseline_fits(held, seed).items()
        if name not in without
    }


def tune_hybrid(held: Held, encoder: ScoreUsers, chosen: Mapping[str, int], seed: int) -> Hybrid:
    """Filter and weight that are best on validation edges; none if no filter helps there."""
    users = choice_users(held, seed)
    best, best_value = Hybrid(filter="", weight=0.0), -math.inf
    if not len(users):
        return best
    logits = score_batches(held, users, encoder)
    fits = baseline_fits(held, seed)
    for name in (name for name in FILTERS if name in fits):
        added = score_batches(held, users, fits[name][chosen.get(name, 0)]())
        for share in WEIGHTS:
            weight = share / max(float(added.std()), 1e-9)
            value = rank_users(
                held, Split.VALIDATION, users, _look_up(users, logits, added, weight)
            )
            if value[0][CHOSEN_BY] > best_value:
                best_value = value[0][CHOSEN_BY]
                best = Hybrid(filter=name if share else "", weight=weight)
    return best


def _look_up(users: Tensor, logits: Tensor, added: Tensor, weight: float) -> ScoreUsers:
    def score(part: Tensor) -> Tensor:
        row = torch.searchsorted(users, part)
        return logits[row] + weight * added[row]

    return score


def baseline_fits(held: Held, seed: int) -> dict[str, tuple[Fit, ...]]:
    """Ways to fit each baseline that is not `left_out`."""
    if held.training.graph.by_user.num_edges > MAX_EDGES:
        return {"popularity": (partial(_by_popularity, held),)}
    train, inputs = _matrix(held.training.graph), _matrix(held.inputs.graph)
    too_large = left_out(held.training.graph)
    ranks = [r for r in baselines.MF_RANKS if r < min(train.shape)] or [1]
    fits: dict[str, list[Callable[[], baselines.Scorer]]] = {
        "popularity": [partial(baselines.popularity, train)],
        "item_cosine": [partial(baselines.item_cosine, train)],
        "tfidf_items": [partial(baselines.tfidf_items, train)],
        "tfidf_users": [partial(baselines.tfidf_users, train)],
        "linear_filter": [partial(baselines.linear_filter, train)],
        "damped_filter": [
            partial(baselines.linear_filter, train, damping) for damping in baselines.DAMPINGS
        ],
        "ease": [partial(baselines.ease, train, penalty) for penalty in baselines.EASE_PENALTIES],
        "mf": [partial(baselines.matrix_factorisation, train, r, seed) for r in ranks],
    }
    return {
        name: tuple(partial(_scorer, fit, inputs) for fit in ways)
        for name, ways in fits.items()
        if name not in too_large
    }


def left_out(graph: GraphStore) -> dict[str, str]:
    """Why a baseline is not fitted on this graph, by its name."""
    reasons = {}
    degrees = graph.by_user.degrees()
    pairs = min(int(degrees.square().sum()), graph.num_subreddits**2)
    if pairs > MAX_PAIRS:
        reason = f"{pairs:,} pairs of subreddits may share a user, more than {MAX_PAIRS:,}"
        reasons = dict.fromkeys(SPARSE, reason)
    if graph.num_subreddits > MAX_EASE_SUBREDDITS:
        size = 16 * graph.num_subreddits**2 / 2**30
        reasons["ease"] = f"{graph.num_subreddits:,} subreddits would need {size:.1f} GB"
    if graph.num_users > MAX_NEIGHBOUR_USERS:
        reasons["tfidf_users"] = f"{graph.num_users:,} users, more than {MAX_NEIGHBOUR_USERS:,}"
    if graph.by_user.num_edges > MAX_EDGES:
        reason = f"{graph.by_user.num_edges:,} edges, more than {MAX_EDGES:,}"
        reasons |= dict.fromkeys((*SPARSE, "ease", "tfidf_users", "mf"), reason)
    return reasons


def best_fit(held: Held, fits: Sequence[Fit], seed: int) -> int:
    """Number of the fit that is best on validation edges; the first if there is no choice."""
    users = choice_users(held, seed)
    if len(fits) == 1 or not len(users):
        return 0
    values = [rank_users(held, Split.VALIDATION, users, fit())[0][CHOSEN_BY] for fit in fits]
    return int(np.argmax(np.nan_to_num(values)))


def choice_users(held: Held, seed: int) -> Tensor:
    """int64, sorted: transductive users with validation edges, a seeded sample of them if many."""
    return sampled(held.users(Split.VALIDATION, inductive=False), CHOICE_USERS, seed)


def _by_popularity(held: Held) -> ScoreUsers:
    counts = held.training.graph.by_subreddit.degrees()
    return lambda users: counts.to(torch.float32).expand(len(users), -1)


def _matrix(graph: GraphStore) -> csr_array:
    return baselines.matrix(graph.by_user, graph.num_subreddits)


def _scorer(fit: Callable[[], baselines.Scorer], inputs: csr_array) -> ScoreUsers:
    fitted = fit()
    return lambda users: torch.from_numpy(np.array(fitted(inputs[users.numpy()])))
