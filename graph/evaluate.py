"""Link prediction on held-out edges: the encoder and the baselines, ranked in the same way."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from graph.counter_random import Stream, uniform
from graph.encode import encode_all_users, encode_subreddits
from graph.features import Features
from graph.metrics import METRICS, average, ranking_metrics
from graph.model import TasteEncoder
from graph.prepare import View
from graph.splits import Split, Splits
from graph.store import GraphStore

EVALUATION_SCORES = 1 << 24  # Of a batch: users times subreddits.
EVALUATION_BATCH = 1024  # Users, at most.
MAX_TEST_USERS = 50_000  # Means over more are no truer: their standard error is at most .0022.
TRANSDUCTIVE, INDUCTIVE = SPLITS = ("transductive", "inductive")
ALL_DEGREES = "all"
DEGREES = ((ALL_DEGREES, 0), ("1-4", 1), ("5-14", 5), ("15-49", 15), ("50+", 50))

ScoreUsers = Callable[[Tensor], Tensor]
"""User indices int64 [B] -> scores [B, S]."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model on one split: means over `num_users`.

    `degree` says over which: those with so many input edges, or all. Of a model trained with
    several seeds, metrics are means over them, and `spread` their standard deviations.
    """

    split: str
    model: str
    degree: str
    metrics: Mapping[str, float]
    num_users: int
    num_seeds: int = 1
    spread: Mapping[str, float] = field(default_factory=dict)


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
    def of(
        graph: GraphStore, splits: Splits, features: Features, folder: Path | None = None
    ) -> Held:
        """The views that these splits give, in memory, or in mapped files in `folder`."""
        into = {name: folder and folder / name for name in ("training", "inputs")}
        keep = splits.training_edges(graph.by_user)
        training = View.of(graph, features, keep, folder=into["training"])
        centres = training.contents.centres
        inputs = View.of(graph, features, splits.input_edges(), centres, into["inputs"])
        return Held(graph=graph, splits=splits, inputs=inputs, training=training)

    def users(self, split: Split, inductive: bool) -> Tensor:
        """int64: users with an edge of this split, of the inductive group or not."""
        edge = torch.nonzero(self.splits.edge == split)[:, 0]
        rows = self.graph.by_user.rows_of_edges(edge).unique()
        return rows[self.splits.inductive[rows] == inductive]


def evaluate_links(
    held: Held, scorers: Iterable[tuple[str, ScoreUsers]], splits: Sequence[str] = SPLITS
) -> list[Result]:
    """Every model on the test edges of transductive and of inductive users, by degree.

    Models come one at a time, so that none needs memory while others are ranked. Of very many
    users the same seeded sample is ranked for every model.
    """
    everyone = {name: held.users(Split.TEST, name == INDUCTIVE) for name in splits}
    groups = {name: sampled(users, MAX_TEST_USERS, seed=0) for name, users in everyone.items()}
    results = []
    for model, score in scorers:
        for split, users in groups.items():
            rows = user_metrics(held, Split.TEST, users, score)
            results += by_degree(split, model, rows, held.inputs.graph.by_user.degrees(users))
    return sorted(results, key=lambda result: list(groups).index(result.split))


def over_seeds(runs: Sequence[Sequence[Result]]) -> list[Result]:
    """The same models trained with several seeds as one result each: means and spreads.

    Args:
        runs: Of each seed, the same models on the same users.
    """
    if len(runs) == 1:
        return list(runs[0])
    results = []
    for same in zip(*runs, strict=True):
        by_metric = {name: [result.metrics[name] for result in same] for name in same[0].metrics}
        if len({(result.split, result.model, result.degree) for result in same}) > 1:
            raise ValueError(f"results of different models: {same}")
        results.append(
            replace(
                same[0],
                metrics={name: statistics.fmean(values) for name, values in by_metric.items()},
                num_seeds=len(same),
                spread={name: statistics.stdev(values) for name, values in by_metric.items()},
            )
        )
    return results


def sampled(users: Tensor, count: int, seed: int) -> Tensor:
    """int64, sorted: a seeded sample of the users, all if there are no more than `count`."""
    draw = uniform(Stream.BASELINE, seed, users)
    return users[draw.argsort(stable=True)[:count]].sort().values


def by_degree(split: str, model: str, rows: Tensor, degree: Tensor) -> list[Result]:
    """Means over all users and over those of similar degree; groups without users are left out."""
    names = [name for name, _ in DEGREES]
    bucket = sum((degree >= low).to(torch.int64) for _, low in DEGREES[1:])
    results = []
    for place, name in enumerate(names):
        chosen = rows if name == ALL_DEGREES else rows[bucket == place]
        metrics, count = average([chosen])
        if count or name == ALL_DEGREES:
            results.append(
                Result(split=split, model=model, degree=name, metrics=metrics, num_users=count)
            )
    return results


def rank_users(
    held: Held, split: Split, users: Tensor, score: ScoreUsers
) -> tuple[dict[str, float], int]:
    """Mean metrics of one model on the users' edges of one split, and over how many users."""
    return average([user_metrics(held, split, users, score)])


def user_metrics(held: Held, split: Split, users: Tensor, score: ScoreUsers) -> Tensor:
    """float64 [B, M]: `METRICS` of each user on its edges of one split.

    Known, so masked, are the edges before it: training for validation, both for test.
    """
    rows = [
        ranking_metrics(score(part), *_truth(held, split, part)) for part in _batches(held, users)
    ]
    return torch.cat(rows) if rows else torch.zeros(0, len(METRICS), dtype=torch.float64)


def score_batches(held: Held, users: Tensor, score: ScoreUsers) -> Tensor:
    """float32 [B, S]: scores of few users, a batch at a time."""
    return torch.cat([score(part).to(torch.float32) for part in _batches(held, users)])


def _batches(held: Held, users: Tensor) -> list[Tensor]:
    size = min(EVALUATION_BATCH, max(1, EVALUATION_SCORES // held.graph.num_subreddits))
    return [part for part in users.split(size) if len(part)]


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
