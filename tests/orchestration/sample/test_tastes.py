from collections import Counter

import numpy as np
import pytest

from embed.tiny_clip.pictures import FACETS
from orchestration.sample.config import WorldConfig
from orchestration.sample.lexicon import VALUES
from orchestration.sample.tastes import Kind, picture_of, plan_subreddits, plan_tastes, shows
from orchestration.sample.topics import HUB_TOPICS, TOPICS


def test_the_words_cover_the_picture_grammar() -> None:
    assert {facet: set(values) for facet, values in VALUES.items()} == {
        facet: set(values) for facet, values in FACETS.items()
    }


@pytest.mark.parametrize("seed", range(5))
def test_fifteen_tastes_of_one_or_two_facets_share_no_value(seed: int) -> None:
    tastes = plan_tastes(np.random.default_rng(seed))
    values = [item for taste in tastes for item in taste.items()]
    assert Counter(map(len, tastes)) == {1: 5, 2: 10}
    assert len(set(values)) == len(values) == 25
    assert all(value in FACETS[facet] for facet, value in values)


@pytest.mark.parametrize(("number", "taste", "hub"), [(120, 60, 10), (30, 15, 2), (1000, 495, 83)])
def test_subreddits_are_taste_mixed_and_hub(number: int, taste: int, hub: int) -> None:
    rng = np.random.default_rng(0)
    tastes = plan_tastes(rng)
    subreddits = plan_subreddits(WorldConfig(subreddits=number), tastes, rng)
    assert Counter(s.kind for s in subreddits) == {
        Kind.TASTE: taste,
        Kind.HUB: hub,
        Kind.MIXED: number - taste - hub,
    }
    assert [s.index for s in subreddits] == list(range(number))
    assert len({s.name for s in subreddits}) == number
    assert all(s.name == s.display_name.lower() and s.name.isalnum() for s in subreddits)
    for subreddit in subreddits:
        if subreddit.kind is Kind.TASTE:
            assert subreddit.factors == tastes[subreddit.taste] and subreddit.topic is None
        elif subreddit.kind is Kind.HUB:
            assert subreddit.factors not in tastes and subreddit.topic in HUB_TOPICS
        else:
            assert subreddit.factors == {} and subreddit.topic in TOPICS


def test_every_taste_has_as_many_subreddits() -> None:
    rng = np.random.default_rng(1)
    subreddits = plan_subreddits(WorldConfig(subreddits=120), plan_tastes(rng), rng)
    assert Counter(s.taste for s in subreddits if s.kind is Kind.TASTE) == dict.fromkeys(
        range(15), 4
    )


def test_a_picture_has_its_factors_and_anything_else() -> None:
    rng = np.random.default_rng(0)
    factors = {"palette": "neon", "subject": "cat"}
    pictures = [picture_of(factors, rng) for _ in range(200)]
    assert all(shows(picture, factors) for picture in pictures)
    assert {p.treatment for p in pictures} == set(FACETS["treatment"])
    assert not shows(picture_of({"palette": "earth"}, rng), factors)
