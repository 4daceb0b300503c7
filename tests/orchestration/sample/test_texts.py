import random
import re
from collections import Counter

import pytest

from orchestration.sample import texts
from orchestration.sample.lexicon import VALUES
from orchestration.sample.plan import World
from orchestration.sample.tastes import Kind, Subreddit


@pytest.fixture(scope="module")
def subreddits(full_plan: World) -> dict[Kind, Subreddit]:
    return {s.kind: s for s in full_plan.subreddits}


def test_every_template_can_be_filled_everywhere(full_plan: World) -> None:
    rng = random.Random(0)
    for subreddit in full_plan.subreddits:
        for make in (texts.title, texts.selftext, texts.comment):
            for _ in range(40):
                text = make(subreddit, rng)
                assert text and "{" not in text and "  " not in text


def test_texts_of_a_taste_subreddit_are_about_its_taste(subreddits: dict[Kind, Subreddit]) -> None:
    subreddit = subreddits[Kind.TASTE]
    entries = [VALUES[facet][value] for facet, value in subreddit.factors.items()]
    words = [word for e in entries for word in (*e.adjectives, *e.things, *e.scenes)]
    pattern = re.compile("|".join(re.escape(word) for word in words), re.IGNORECASE)
    rng = random.Random(0)
    comments = [texts.comment(subreddit, rng) for _ in range(300)]
    assert sum(bool(pattern.search(comment)) for comment in comments) > 290


@pytest.mark.parametrize("kind", list(Kind))
def test_comments_vary(kind: Kind, subreddits: dict[Kind, Subreddit]) -> None:
    rng = random.Random(0)
    counts = Counter(texts.comment(subreddits[kind], rng) for _ in range(500))
    assert len(counts) > 350


def test_texts_follow_the_generator_alone(subreddits: dict[Kind, Subreddit]) -> None:
    first, again = (texts.comment(subreddits[Kind.HUB], random.Random("x/1")) for _ in range(2))
    assert first == again != texts.comment(subreddits[Kind.HUB], random.Random("x/2"))


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Fog, again [OC]", "fog_again_oc"),
        ("\U0001f60d", "untitled"),
        ("a" * 49 + " b", "a" * 49),
        ("It's 8 bit", "it_s_8_bit"),
    ],
)
def test_slugs(title: str, slug: str) -> None:
    assert texts.slug(title) == slug


def test_most_users_write_plainly_and_some_have_habits() -> None:
    texts_of = {texts.in_voice_of(f"user{n}", "Love it. More, please.") for n in range(200)}
    plain = [n for n in range(200) if texts.in_voice_of(f"user{n}", "Love it.") == "Love it."]
    assert {"Love it. More, please.", "love it. more, please", "Love it! More, please!"} < texts_of
    assert 100 < len(plain) < 160
    assert any(text.endswith(" Love it. More, please.") for text in texts_of)


def test_a_mention_names_the_other_user() -> None:
    for seed in range(20):
        body = texts.mention("Nice.", "Veltob-417", random.Random(seed))
        assert "u/Veltob-417" in body and "Nice." in body
