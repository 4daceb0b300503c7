"""Figures of a population by texts whose answers are plain."""

from __future__ import annotations

import math

import pytest

from persona.population import Phrases, bleu, diversity, heldout_recall, self_bleu

WORDS = ["red", "blue", "green", "gold", "pink", "teal", "plum", "rust", "sand", "moss"]


def test_copies_are_one_text_and_strangers_are_many() -> None:
    copies = diversity(["they like neon cats and dogs"] * 8, seed=0)
    assert copies == pytest.approx(
        {"vendi": 1.0, "vendi_share": 1 / 8, "nearest": 0.0, "self_bleu": 1.0}
        | {"distinct_share": 1 / 8}
    )
    strangers = diversity([f"{w} {w}a {w}b {w}c {w}d" for w in WORDS], seed=0)
    assert strangers == pytest.approx(
        {"vendi": 10.0, "vendi_share": 1.0, "nearest": 1.0, "self_bleu": 0.0}
        | {"distinct_share": 1.0}
    )


def test_one_text_says_nothing_of_a_population() -> None:
    assert all(math.isnan(value) for value in diversity(["alone"], seed=0).values())


def test_bleu_is_the_share_of_shared_phrases() -> None:
    text = Phrases.of("abcdef")
    assert bleu(text, [text]) == pytest.approx(1.0)
    assert bleu(text, [Phrases.of("xyz")]) == 0.0
    # 4 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 fours; equal length.
    expected = (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert bleu(text, [Phrases.of("abcdxy")]) == pytest.approx(expected)
    # Of each phrase the reference that holds most of it counts, not their sum.
    assert bleu(text, [Phrases.of("abcdxy"), Phrases.of("abcdyx")]) == pytest.approx(expected)
    short = bleu(Phrases.of("abcd"), [Phrases.of("abcdefgh")])
    assert short == pytest.approx(math.exp(1 - 8 / 4))


def test_self_bleu_grows_with_what_is_shared() -> None:
    alike = [f"they really like to look at pictures of {w} things" for w in WORDS]
    other = [f"{w} {w}1 {w}2 look at pictures of {w}3 {w}4 {w}5" for w in WORDS]
    assert 0.1 < self_bleu(other) < self_bleu(alike) < 1.0


def test_texts_that_tell_of_interests_lead_to_what_they_did_not_see() -> None:
    """Cat people also follow kittens, rock people geology; everybody follows news."""
    texts, shown, attended = {}, {}, {}
    for i in range(10):
        kind, more = ("cats", "kittens") if i % 2 else ("rocks", "geology")
        user = f"u{i}"
        texts[user] = f"They follow {kind} above all."
        shown[user] = frozenset({kind, "news"})
        attended[user] = frozenset({kind, "news", more})
    found = heldout_recall(texts, shown, attended, k=1)
    assert found == {"recall": 1.0, "popularity": pytest.approx(0.5, abs=0.5), "users": 10}
    empty = dict.fromkeys(texts, "Nothing.")
    assert heldout_recall(empty, shown, attended, k=1)["recall"] < 1.0


def test_nothing_held_out_is_no_figure() -> None:
    one = {"u": frozenset({"cats"}), "v": frozenset({"cats"})}
    figures = heldout_recall({"u": "a cat", "v": "a cat"}, one, one)
    assert figures["users"] == 0 and math.isnan(figures["recall"])
