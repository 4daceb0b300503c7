"""Sensitive categories, quotes and traces of contact are found, and harmless text is not."""

from __future__ import annotations

import polars as pl
import pytest

from persona.privacy import (
    CATEGORIES,
    is_public_subreddit,
    mentions_sensitive,
    quotes,
    reaches_somebody,
    sensitive_categories,
    sensitive_category,
    shows_contact,
)

SENSITIVE = [
    ("My depression got worse", "health"),
    ("Diabetics know this", "health"),
    ("an eating-disorder, they said", "health"),
    ("We went to CHURCH.", "religion"),
    ("Islamic art", "religion"),
    ("I will vote on Tuesday", "politics"),
    ("far-left nonsense", "politics"),
    ("she's a lesbian", "sexuality"),
    ("He came out as such", "sexuality"),
    ("as a Latina", "ethnicity"),
    ("white people be like", "ethnicity"),
    ("my kids' toys", "minors"),
    ("she is 12 years old", "minors"),
    ("who lives in a small town", "age_and_region"),
    ("someone in their twenties", "age_and_region"),
]
HARMLESS = [
    "black and white photographs with a white border",
    "a straight horizon and a race of cars",
    "autumn leaves over the skyline",
    "the kidding stopped",
    "Drawn to neon colors and pictures of cats",
    "an empty room with an old chair",
    "",
    "日本語のテキスト",
    "a postcard from Australia, and Canadian maples",
]


@pytest.mark.parametrize(("text", "category"), SENSITIVE)
def test_sensitive_text_is_found(text: str, category: str) -> None:
    assert sensitive_category(text) == category


def test_all_categories_of_a_text_are_found() -> None:
    told = "Depressed at church, with a mental illness and my son"
    assert sensitive_categories(told) == {"health", "religion", "minors"}
    assert sensitive_categories("neon cats") == frozenset()


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_is_left_alone(text: str) -> None:
    assert sensitive_category(text) is None


def test_a_column_is_judged_as_single_texts_are() -> None:
    texts = [text for text, _ in SENSITIVE] + HARMLESS
    column = pl.DataFrame({"text": texts}).select(mentions_sensitive(pl.col("text"))).to_series()
    assert column.to_list() == [sensitive_category(text) is not None for text in texts]


def test_all_six_categories_of_the_method_are_listed() -> None:
    required = {"health", "religion", "politics", "sexuality", "ethnicity", "minors"}
    assert required <= set(CATEGORIES)


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("analogcats", True),
        ("reddit.com", True),
        ("2007scape", True),
        ("u_someone", False),
        ("u-someone", False),
        ("<test_subreddit>", False),
        ("", False),
        ("x" * 51, False),
    ],
)
def test_profiles_and_malformed_names_are_no_communities(name: str, public: bool) -> None:
    assert is_public_subreddit(name) is public


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://example.net/a", True),
        ("ask u/somebody", True),
        ("mail me at a.b@example.net", True),
        ("call +1 (555) 010-9999", True),
        ("in 12 of 30 remarks", False),
        ("analog cats (r/analogcats)", False),
    ],
)
def test_traces_of_contact(text: str, shown: bool) -> None:
    assert shows_contact(text) is shown


@pytest.mark.parametrize(
    ("text", "reaches"),
    [
        ("mail me at a.b+c@example.net", True),
        ("call (555) 010-9999 or so", True),
        ("call +44 20 7946 0958", True),
        ("see https://example.net/a", False),
        ("on 2019-10-12, 1 000 000 of them, by @ or at 3:45", False),
    ],
)
def test_texts_with_an_address_or_a_number_are_told(text: str, reaches: bool) -> None:
    column = pl.DataFrame({"text": [text]}).select(reaches_somebody(pl.col("text")))
    assert column.item() is reaches


def test_six_words_in_a_row_are_a_quote() -> None:
    source = "I really do love my old film camera, always."
    assert quotes(["Fine.", "They said: really do love MY old film!"], [source])
    assert not quotes(["Really do love my old", "things and film."], [source])
    assert not quotes(["nice cat"], ["nice cat"])
    assert quotes(["This is such a nice cat indeed"], ["Such a nice cat"])
    assert not quotes(["Such a lovely cat"], ["Such a nice cat"])
