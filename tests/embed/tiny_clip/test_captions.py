import numpy as np
import pytest

from embed.tiny_clip.captions import (
    PROMPTS,
    SYNONYMS,
    caption,
    describe,
    every_word,
    mentioned_facets,
    prompts,
)
from embed.tiny_clip.pictures import FACETS, Picture

PICTURE = Picture(palette="jewel", subject="planet", treatment="glitch", composition="tilted")


def names(text: str, facet: str, value: str) -> bool:
    return any(phrase in text for phrase in SYNONYMS[facet][value])


def test_a_caption_names_exactly_the_facets_asked_for() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        text = describe(PICTURE, ("subject", "composition"), rng)
        assert names(text, "subject", "planet")
        assert names(text, "composition", "tilted")
        assert not names(text, "palette", "jewel")
        assert not names(text, "treatment", "glitch")


def test_a_third_of_captions_leave_facets_out() -> None:
    rng = np.random.default_rng(0)
    whole = sum(len(mentioned_facets(rng)) == 4 for _ in range(3000))
    assert 0.63 < whole / 3000 < 0.70


def test_captions_vary_and_repeat_with_the_seed() -> None:
    texts = [caption(PICTURE, np.random.default_rng(seed)) for seed in range(40)]
    assert texts == [caption(PICTURE, np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(texts)) > 30


def test_no_phrase_stands_for_two_values() -> None:
    phrases = [p for values in SYNONYMS.values() for words in values.values() for p in words]
    assert len(phrases) == len(set(phrases)) == 32 * 3


def test_prompts_join_every_template_with_every_synonym() -> None:
    assert prompts("subject", "cat") == PROMPTS["subject"]["cat"]
    assert len(prompts("subject", "cat")) == 12
    assert "a kitten" in prompts("subject", "cat")
    assert {facet: tuple(values) for facet, values in PROMPTS.items()} == FACETS


def test_the_vocabulary_covers_every_caption_and_prompt() -> None:
    rng = np.random.default_rng(5)
    words = set(every_word())
    texts = [caption(PICTURE, rng) for _ in range(200)]
    texts += [p for values in PROMPTS.values() for group in values.values() for p in group]
    assert {word.strip(",.") for text in texts for word in text.split()} <= words


def test_a_caption_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one facet"):
        describe(PICTURE, (), np.random.default_rng(0))
