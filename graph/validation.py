"""What is looked at while training: ranking of validation edges, and signs of collapse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graph.counter_random import Stream, uniform
from graph.diagnostics import alignment, effective_rank, uniformity
from graph.encode import encode_all_users, encode_subreddits
from graph.metrics import METRICS, average, ranking_metrics
from graph.model import TasteEncoder
from graph.prepare import View

MAX_USERS = 2048  # Enough for a curve; the whole of it would be an inference over all users.


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One row of `TRAINING_CURVES`."""

    variant: str
    epoch: int
    loss_link: float
    loss_image: float
    validation_mrr: float
    alignment: float
    uniformity: float
    effective_rank: float
    seeds_per_s: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Validation edges of a sample of transductive users.

    Args:
        view: What training sees.
        user, subreddit: int64 [V], the edges.
        seed: Of samples.
    """

    view: View
    user: Tensor
    subreddit: Tensor
    seed: int

    def measure(self, model: TasteEncoder) -> dict[str, float]:
        """validation_mrr, alignment, uniformity and effective_rank; NaN without edges."""
        names = ("validation_mrr", "alignment", "uniformity", "effective_rank")
        if not len(self.user):
            return dict.fromkeys(names, float("nan"))
        model.eval()
        users = self._users()
        z, score, items = self._encode(model, users)
        slot = torch.searchsorted(users, self.user).clamp(max=len(users) - 1)
        here = users[slot] == self.user
        owner, place = slot[here], self.subreddit[here]
        relevant = torch.zeros(score.shape, dtype=torch.bool)
        relevant[owner, place] = True
        mean, _ = average([ranking_metrics(score, self._known(users), relevant)])
        values = (
            mean[METRICS[0]],
            alignment(z[owner], items[place]),
            uniformity(z),
            effective_rank(z),
        )
        return dict(zip(names, values, strict=True))

    def _users(self) -> Tensor:
        users = self.user.unique()
        draw = uniform(Stream.BASELINE, self.seed, users)
        return users[draw.argsort(stable=True)[:MAX_USERS]].sort().values

    def _known(self, users: Tensor) -> Tensor:
        by_user = self.view.graph.by_user
        owner, edge = by_user.expand(users)
        known = torch.zeros(len(users), self.view.graph.num_subreddits, dtype=torch.bool)
        known[owner, by_user.neighbours[edge].to(torch.int64)] = True
        return known

    @torch.inference_mode()
    def _encode(self, model: TasteEncoder, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(z [B, d], scores [B, S], items [S, d]), on the CPU."""
        graph, contents = self.view.graph, self.view.contents
        rows = torch.arange(graph.num_subreddits) + 1
        states = encode_subreddits(
            model, graph.by_subreddit, self.view.features, contents, rows=rows, seed=self.seed
        )
        parts = encode_all_users(
            model, states, graph.by_user, contents, users=users, seed=self.seed
        )
        z = torch.cat([part.encoded.z_Bd for part in parts])
        score = model.link_scores(z.to(model.device), states.item_Sd, states.prior_S)
        return z, score.cpu(), states.item_Sd.cpu()
