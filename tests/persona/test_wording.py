"""Small English grammar, and choices that are varied and repeatable."""

from __future__ import annotations

import pytest

from persona.wording import Wording, facet_phrase, join_words, plural, with_article


def test_words_are_joined() -> None:
    assert [join_words(w) for w in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("cat", "cats"),
        ("waves", "waves"),
        ("city", "cities"),
        ("toy", "toys"),
        ("fox", "foxes"),
        ("beach", "beaches"),
        ("architecture", "architecture"),
        ("night street", "night street"),
        ("wild animal", "wild animals"),
        ("lake or river", "lakes or rivers"),
        ("knife", "knives"),
    ],
)
def test_plurals(noun: str, expected: str) -> None:
    assert plural(noun) == expected


def test_articles() -> None:
    assert with_article("earth palette") == "an earth palette"
    assert with_article("neon palette") == "a neon palette"


def test_choices_are_repeatable_and_use_all_options() -> None:
    options = ("a", "b", "c")
    assert Wording("ann", 0).pick("x", options) == Wording("ann", 0).pick("x", options)
    picked = {Wording(f"user{index}", 0).pick("x", options) for index in range(50)}
    assert picked == set(options)
    places = {Wording("ann", 0).pick(f"place{index}", options) for index in range(50)}
    assert places == set(options)


def test_unknown_facets_are_named() -> None:
    assert facet_phrase(Wording("ann", 0), "texture", ["velvet"]) == "velvet as the texture"


def test_tags_of_one_facet_share_a_noun() -> None:
    phrases = {facet_phrase(Wording(f"u{i}", 0), "subject", ["cat", "city"]) for i in range(30)}
    assert phrases == {
        "pictures of cats and cities",
        "images of cats and cities",
        "cats and cities as subjects",
    }


def test_a_template_does_not_repeat_the_tag() -> None:
    phrases = {facet_phrase(Wording(f"u{i}", 0), "composition", ["framed"]) for i in range(30)}
    assert phrases == {"framed compositions", "framed shots"}
