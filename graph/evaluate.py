"""Link prediction on held-out edges: the encoder and the baselines, ranked in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from graph import baselines
from graph.encode import encode_all_users, encode_subreddits
from graph.features import Features
from graph.metrics import METRICS, average, ranking_metrics
from graph.model import TasteEncoder
from graph.prepare import View
from graph.splits import Split, Splits
from graph.store import GraphStore

EVALUATION_BATCH = 1024
MAX_BASELINE_SUBREDDITS = 20_000  # Item neighbours are a dense [S, S]: 3 GB there.

ScoreUsers = Callable[[Tensor], Tensor]
"""User indices int64 [B] -> scores [B, S]."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model on one split: means over `num_users`."""

    split: str
    model: str
    metrics: Mapping[str, float]
    num_users: int


@dataclass(frozen=True, kw_only=True)
class Held:
    """What evaluation ranks.

    Args:
        graph: All edges.
        splits: Which are for what.
        inputs: The edges that a model under evaluation may read of a user.
        training: The edges that it was fitted on.
    """

    graph: GraphStore
    splits: Splits
    inputs: View
    training: View

    @staticmethod
    def of(graph: GraphStore, splits: Splits, features: Features) -> Held:
        """The views that these splits give."""
        training = View.of(graph, features, splits.training_edges(graph.by_user))
        centres = training.contents.centres
        inputs = View.of(graph, features, splits.input_edges(), centres)
        return Held(graph=graph, splits=splits, inputs=inputs, training=training)

    def users(self, split: Split, inductive: bool) -> Tensor:
        """int64: users with an edge of this split, of the inductive group or not."""
        rows = self.graph.by_user.rows_of_edges()[self.splits.edge == split].unique()
        return rows[self.splits.inductive[rows] == inductive]


def evaluate_links(held: Held, scorers: Mapping[str, ScoreUsers]) -> list[Result]:
    """Every model on the test edges of transductive and of inductive users."""
    results = []
    for name, inductive in (("transductive", False), ("inductive", True)):
        users = held.users(Split.TEST, inductive)
        for model, score in scorers.items():
            metrics, count = rank_users(held, Split.TEST, users, score)
            results.append(Result(split=name, model=model, metrics=metrics, num_users=count))
    return results


def rank_users(
    held: Held, split: Split, users: Tensor, score: ScoreUsers
) -> tuple[dict[str, float], int]:
    """Mean metrics of one model on the users' edges of one split.

    Known, so masked, are the edges before it: training for validation, both for test.
    """
    if not len(users):
        return dict.fromkeys(METRICS, float("nan")), 0
    rows = (
        ranking_metrics(score(part), *_truth(held, split, part))
        for part in users.split(EVALUATION_BATCH)
    )
    return average(rows)


def _truth(held: Held, split: Split, users: Tensor) -> tuple[Tensor, Tensor]:
    """(known, relevant) bool [B, S]."""
    by_user = held.graph.by_user
    owner, edge = by_user.expand(users)
    place = by_user.neighbours[edge].to(torch.int64)
    kind = held.splits.edge[edge]
    known = torch.zeros(len(users), held.graph.num_subreddits, dtype=torch.bool)
    relevant = known.clone()
    for table, chosen in ((known, kind < split), (relevant, kind == split)):
        table[owner[chosen], place[chosen]] = True
    return known, relevant


def encoder_scorer(model: TasteEncoder, held: Held, seed: int) -> ScoreUsers:
    """Scores of the encoder: subreddits from training edges, users from their input edges."""
    model.eval()
    num_subreddits = held.graph.num_subreddits
    rows = torch.arange(num_subreddits) + 1
    training = held.training
    states = encode_subreddits(
        model,
        training.graph.by_subreddit,
        training.features,
        training.contents,
        rows=rows,
        seed=seed,
    )
    by_user, contents = held.inputs.graph.by_user, held.inputs.contents

    @torch.inference_mode()
    def score(users: Tensor) -> Tensor:
        parts = encode_all_users(model, states, by_user, contents, users=users, seed=seed)
        z = torch.cat([part.encoded.z_Bd for part in parts])
        return model.link_scores(z, states.item_Sd, states.prior_S)

    return score


def baseline_scorers(held: Held, seed: int) -> dict[str, ScoreUsers]:
    """Popularity, TF-IDF neighbours and matrix factorisation, fitted on the training edges.

    The rank of the factorisation is the best on the validation edges.
    """
    train = _matrix(held.training.graph)
    inputs = _matrix(held.inputs.graph)
    fitted = {"popularity": baselines.popularity(train)}
    if held.graph.num_subreddits <= MAX_BASELINE_SUBREDDITS:
        fitted["tfidf_items"] = baselines.tfidf_items(train)
        fitted["tfidf_users"] = baselines.tfidf_users(train)
    scorers = {name: _scorer(fit, inputs) for name, fit in fitted.items()}
    users = held.users(Split.VALIDATION, inductive=False)
    ranks = [r for r in baselines.MF_RANKS if r < min(train.shape)] or [1]
    tried = [_scorer(baselines.matrix_factorisation(train, r, seed), inputs) for r in ranks]

    def validation_mrr(score: ScoreUsers) -> float:
        return float(np.nan_to_num(rank_users(held, Split.VALIDATION, users, score)[0]["mrr"]))

    return scorers | {"mf": max(tried, key=validation_mrr)}


def _matrix(graph: GraphStore) -> csr_array:
    return baselines.matrix(graph.by_user, graph.num_subreddits)


def _scorer(fit: baselines.Scorer, inputs: csr_array) -> ScoreUsers:
    return lambda users: torch.from_numpy(np.array(fit(inputs[users.numpy()])))
