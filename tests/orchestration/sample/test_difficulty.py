"""How hard the default world is, with the true factors of images as a stand-in for CLIP.

What CLIP adds is noise, so the real figures of the baselines lie below these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from embed.tiny_clip.pictures import FACETS
from orchestration.sample.activity import READABLE
from orchestration.sample.people import Role
from orchestration.sample.plan import World

Floats = NDArray[np.float64]
_COLUMNS = {pair: n for n, pair in enumerate((facet, v) for facet in FACETS for v in FACETS[facet])}
_DAY_S = 86_400


@dataclass(frozen=True)
class Evidence:
    """What a pipeline could see: users U, subreddits S, facet values V.

    Args:
        world: The truth.
        acts: Submissions and comments, [U, S].
        span: Days from first to last of them, [U, S].
        shown: Mean of the one-hot images of a subreddit, minus that of all images, [S, V].
        own: 1 where the subreddit is a planted own one, [U, S].
    """

    world: World
    acts: Floats
    span: Floats
    shown: Floats
    own: Floats

    @property
    def rarity(self) -> Floats:
        """Inverse user frequency, [S]."""
        users_S = (self.acts > 0).sum(axis=0)
        return np.log(len(self.acts) / np.maximum(users_S, 1))

    def top1(self, weight_US: Floats) -> float:
        """Share of planted values that the weighted mean of a user's subreddits puts first."""
        score_UV = weight_US @ self.shown
        hits = []
        for person in self.world.people:
            for facet, value in self.world.tastes[person.taste].items():
                columns = [_COLUMNS[facet, option] for option in FACETS[facet]]
                best = int(np.argmax(score_UV[person.index, columns]))
                hits.append(FACETS[facet][best] == value)
        return float(np.mean(hits))

    def precision_at_3(self, weight_US: Floats) -> float:
        """Share of own ones among the first three, of users with at least three."""
        rows = np.flatnonzero(self.own.sum(axis=1) >= 3)
        first = np.argsort(-weight_US[rows], axis=1, kind="stable")[:, :3]
        return float(np.take_along_axis(self.own[rows], first, axis=1).mean())


@pytest.fixture(scope="module")
def evidence(full_plan: World) -> Evidence:
    shape = len(full_plan.people), len(full_plan.subreddits)
    acts_US, first_US, last_US = np.zeros(shape), np.full(shape, np.inf), np.zeros(shape)
    for acts in (full_plan.submissions, full_plan.comments):
        where = (acts.user, acts.subreddit)
        np.add.at(acts_US, where, 1)
        np.minimum.at(first_US, where, acts.created_utc)
        np.maximum.at(last_US, where, acts.created_utc)
    sum_SV = np.zeros((shape[1], len(_COLUMNS)))
    for post in full_plan.posts:
        for image in post.images if post.parent < 0 else ():
            if image.state in READABLE:
                for facet in FACETS:
                    sum_SV[post.subreddit, _COLUMNS[facet, getattr(image.picture, facet)]] += 1
    images_S = sum_SV.sum(axis=1, keepdims=True) / len(FACETS)
    overall_V = sum_SV.sum(axis=0) / images_S.sum()
    shown_SV = np.where(images_S > 0, sum_SV / np.maximum(images_S, 1) - overall_V, 0)
    own_US = np.zeros(shape)
    for person in full_plan.people:
        own_US[person.index, list(person.subreddits(Role.OWN))] = 1
    span_US = np.where(acts_US > 0, (last_US - first_US) / _DAY_S, 0)
    return Evidence(full_plan, acts_US, span_US, shown_SV, own_US)


def test_activity_finds_neither_tastes_nor_own_subreddits(evidence: Evidence) -> None:
    assert evidence.top1(evidence.acts) < 0.40
    assert evidence.precision_at_3(evidence.acts) < 0.3


def test_rarity_finds_some_tastes(evidence: Evidence) -> None:
    rarity_US = (evidence.acts > 0) * evidence.rarity
    assert 0.65 < evidence.top1(rarity_US) < 0.79
    assert evidence.precision_at_3(rarity_US) < 0.6


def test_own_subreddits_tell_the_taste(evidence: Evidence) -> None:
    assert evidence.top1(evidence.own) > 0.95


def test_own_subreddits_can_be_told_from_pace_and_coherence(evidence: Evidence) -> None:
    """A rule made by hand; what is learned from the same evidence should not be worse by much."""
    acts_US = evidence.acts
    pace_US = acts_US / (evidence.span + 1)
    is_calm_US = (pace_US < 0.8) & (acts_US > 0) & (acts_US < 25)
    coherence_S = np.linalg.norm(evidence.shown, axis=1)
    weight_US = np.where(is_calm_US, 1.0, 0.1 * (acts_US > 0)) * evidence.rarity * coherence_S
    assert evidence.top1(weight_US) > 0.85
    assert evidence.precision_at_3(weight_US) > 0.75
