"""Names become readable topics where they can be read; sensitive ones are refused."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import orjson
import pytest

from persona.privacy import sensitive_category
from persona.schema import Claim, num_sentences
from persona.topics import is_allowed, split_words, topic


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("neonnights", "neon nights"),
        ("analogcats", "analog cats"),
        ("askeveryone", "questions to everyone"),
        ("askscience", "questions about science"),
        ("earthporn", "landscape photographs"),
        ("bridgeporn", "bridge pictures"),
        ("learnpython", "learning Python"),
        ("graphic_design", "graphic design"),
        ("creepy", "creepy things"),
        ("catpics", "cat pictures"),
        ("100yearsago", "100 years ago"),
        ("todayilearned", "facts learned today"),
        ("starshipporn", "starship pictures"),
        ("pokemonplaza", "Pokémon plaza"),
        ("learnjapanese", "learning Japanese"),
        ("mildlyamusing", "mildly amusing things"),
        ("antimeme", "anti-memes"),
        ("timesnow", "times now"),
    ],
)
def test_names_are_read(name: str, text: str) -> None:
    assert topic(name).text == text
    assert topic(name).known


@pytest.mark.parametrize("name", ["xqzvkb", "getdressed", "thatcat", "whatisit", "484"])
def test_what_cannot_be_read_as_a_thing_stays_a_name(name: str) -> None:
    assert topic(name).text == f"the r/{name} community"
    assert not topic(name).known


def test_every_gloss_fits_into_any_sentence() -> None:
    glosses = json.loads(files("persona").joinpath("topics.json").read_text("utf-8"))["glosses"]
    for name, text in glosses.items():
        assert sensitive_category(text) is None, name
        assert num_sentences(f"Likes {text} and more.") == 1, name
        assert Claim(text=text, evidence=("s:x",), confidence=0.5)


def test_the_longest_words_win() -> None:
    assert split_words("bookshelfporn") == ["bookshelf", "porn"]
    assert split_words("nightsky") == ["night", "sky"]
    assert split_words("photoshoprequest") == ["photoshop", "request"]
    assert split_words("qqq") is None


@pytest.mark.parametrize(
    "name",
    [
        *("neonnights", "earthporn", "skyporn", "cats", "askscience", "photography", "reddit.com"),
        *("sonic", "thesimpsons", "frisson", "angryupvote", "hamburgers", "learnjapanese"),
    ],
)
def test_harmless_communities_are_allowed(name: str) -> None:
    assert is_allowed(name)


@pytest.mark.parametrize(
    "name",
    [
        "gay",
        "depression",
        "askdepression",
        "mentalhealth",
        "christianity",
        "atheism",
        "the_donald",
        "hillaryforprison",
        "politicalhumor",
        "actuallesbians",
        "gonewildcurvy",
        "amateurporn",
        "blackpeopletwitter",
        "teenagers",
        "parenting",
        "tokyo",
        "weareindia",
        "u_someone",
        "<username>",
        "sexyamateursdaily",
        "gayuksnapchat",
        "cringeanarchy",
        "asatru",
        "fatlogic",
        "excons",
        "coronaviruscirclejerk",
        "custody",
        "austinmotorcycles",
        "pokemongonewjersey",
        "imagesofaustralia",
        "canadianforces",
    ],
)
def test_sensitive_communities_are_refused(name: str) -> None:
    assert not is_allowed(name)


@pytest.mark.parametrize(
    "name",
    ["r4r", "r4r30plus", "dirty_r4r", "adhd_partners", "gaymers", "eatingdisorders"],
)
def test_sensitive_names_that_cannot_be_cut_are_refused(name: str) -> None:
    assert not is_allowed(name)


def test_every_sensitive_term_is_a_name_that_no_persona_rests_on() -> None:
    terms = json.loads(files("persona").joinpath("sensitive.json").read_text("utf-8"))
    names = [n for kinds in terms.values() for found in kinds.values() for n in found]
    spelled = [n.replace(" ", gap) for n in names for gap in ("", "_")]
    assert [name for name in spelled if is_allowed(name)] == []


def test_recorded_names_are_read_or_refused(shared_data: Path) -> None:
    paths = sorted((shared_data / "reddit" / "api").glob("*.ndjson"))
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    names = {orjson.loads(line)["subreddit"].lower() for line in lines}
    allowed = [name for name in names if is_allowed(name)]
    assert 600 < len(allowed) < len(names) - 50
    for name in allowed:
        text = topic(name).text
        assert sensitive_category(text) is None
        assert Claim(text=f"{text} (r/{name})", evidence=("s:x",), confidence=0.5)
    assert sum(topic(name).known for name in allowed) > 0.35 * len(allowed)
