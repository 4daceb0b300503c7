"""Themes and traits come from the closed lexicon, and little text says nothing."""

from __future__ import annotations

import pytest

from persona.lexicon import USUAL, Reading, read_text, score_traits, wilson_floor


def test_a_text_shows_themes_with_their_words() -> None:
    reading = read_text("My camera, that lens and a CAMERA again.")
    assert reading.themes == {"photography": {"camera", "lens"}}
    assert reading.traits == frozenset()


@pytest.mark.parametrize(
    ("text", "traits"),
    [
        ("Thanks, that is lovely", {"warmth"}),
        ("This is not lovely at all", set()),
        ("Amazing", {"enthusiasm"}),
        ("Look at this!!", {"enthusiasm"}),
        ("Is it you?", {"curiosity"}),
        ("lol", {"humour"}),
        ("It depends, in my experience", {"thoughtfulness"}),
        ("back in the day we did", {"nostalgia"}),
        ("What nonsense", {"bluntness"}),
        ("Make sure it is dry", {"helpfulness"}),
        ("The tram stops here.", set()),
        ("If you could keep the best of all awful tips, because you try, which?", {"curiosity"}),
        ("Thanks, lovely. Which lens?", {"curiosity", "warmth"}),
    ],
)
def test_a_text_shows_traits(text: str, traits: set[str]) -> None:
    assert read_text(text).traits == frozenset(traits)


def test_traits_need_more_than_is_usual() -> None:
    lovely, plain = Reading({}, frozenset({"warmth"})), Reading({}, frozenset())
    assert [s.name for s in score_traits([lovely] * 3 + [plain] * 4)] == ["warmth"]
    assert [s.name for s in score_traits([lovely] * 2 + [plain])] == ["warmth"]
    assert score_traits([lovely] * 2 + [plain] * 3) == []
    assert score_traits([lovely]) == []
    assert score_traits([lovely] * 6 + [plain] * 40) == []
    assert score_traits([]) == []


def test_wilson_floor_grows_with_agreement_and_number() -> None:
    assert wilson_floor(0, 0) == 0.0
    assert wilson_floor(0, 5) == pytest.approx(0.0, abs=1e-12)
    assert wilson_floor(3, 3) < wilson_floor(30, 30) < 1.0
    # By hand for 8 of 10, z^2 = 1.6425: (.8 + .0821 - .1817) / 1.1642.
    assert wilson_floor(8, 10) == pytest.approx(0.6016, abs=1e-4)


def test_no_trait_is_so_usual_that_it_tells_nothing() -> None:
    assert all(0 < share < 0.3 for share in USUAL.values())
