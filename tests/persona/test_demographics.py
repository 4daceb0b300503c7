"""Age band and region: off unless asked for, by the user's own word, of adults, in bands."""

from __future__ import annotations

from pathlib import Path

import pytest

from persona import evidence
from persona.config import EvidenceConfig, PersonaResources
from persona.demographics import age_band, stated, tells
from persona.evidence import build_evidence
from persona.grounded import verbalize_user
from persona.items import Item, UserEvidence, group_users
from persona.prompts import persona_messages
from persona.replies import read_reply
from persona.schema import Claim, Persona, persona_json_schema
from persona.tables import EVIDENCE
from persona.verbalizer import Failed, Failure, find_failure, outcome_tables, with_demographics
from tests.persona.examples import rich_user
from tests.persona.synthetic import User, make_run, publish_staged, publish_world, user_id

BAND = Item("d:age:25-34", "demographic", None, "age", "25-34", 1.0, 10, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm 34.", {"age": ("25-34", 1)}),
        ("Well, I’m 34, so there", {"age": ("25-34", 1)}),
        ("i am a 34 year old plumber", {"age": ("25-34", 1)}),
        ("As a 70-year-old I like it", {"age": ("65+", 1)}),
        ("I live in Germany and I'm 18!", {"age": ("18-24", 1), "region": ("Western Europe", 1)}),
        ("I'm from the UK", {"region": ("Northern Europe", 1)}),
        ("I'm 34 minutes away", {}),
        ("If I'm 34, what then", {}),
        ('He said "I\'m 34."', {}),
        ("> I'm 34.", {}),
        ("My father is 64 years old.", {}),
        ("I'm 340.", {}),
        ("I love Germany", {}),
        ("I'm from work", {}),
    ],
)
def test_only_plain_statements_of_oneself_count(
    text: str, expected: dict[str, tuple[str, int]]
) -> None:
    assert stated([text]) == expected


@pytest.mark.parametrize(
    "text",
    ["I'm 16", "im only 15 lol", "I just turned 17!", "I'm in high school", "I am in 9th grade"],
)
def test_minors_have_no_bands_at_all(text: str) -> None:
    assert stated(["I live in Germany, I'm 34.", text]) == {}


def test_contradictions_are_left_out_and_agreement_is_counted() -> None:
    assert stated(["I'm 31.", "I'm 33."]) == {"age": ("25-34", 2)}
    assert stated(["I'm 31.", "I'm 53.", "I live in Peru"]) == {"region": ("Latin America", 1)}


def test_bands_leave_no_gaps() -> None:
    bands = [age_band(age) for age in range(18, 100)]
    assert list(dict.fromkeys(bands)) == ["18-24", "25-34", "35-44", "45-54", "55-64", "65+"]


def world() -> list[User]:
    """Of twelve users ten say that they are 30 or so, one is of a subreddit of minors."""
    users = [
        User(user_id(i), attention={"jazz": 1.0}, snippets={"jazz": (f"I'm {30 + i % 3}.",)})
        for i in range(10)
    ]
    young = User(
        user_id(10),
        attention={"jazz": 0.8, "teenagers": 0.2},
        snippets={"jazz": ("I'm 30.",)},
    )
    lone = User(user_id(11), attention={"jazz": 1.0}, snippets={"jazz": ("I'm 67.",)})
    return [*users, young, lone]


def build(root: Path, *, demographics: bool) -> dict[str, UserEvidence]:
    run = make_run(root)
    publish_world(run, world())
    config = EvidenceConfig(demographics=demographics)
    build_evidence(config, PersonaResources(shard_users=5), run)
    publish_staged(run, EVIDENCE)
    return {user.user_id: user for user in group_users(EVIDENCE.read(run))}


def test_they_are_off_by_default(tmp_path: Path) -> None:
    assert EvidenceConfig().demographics is False
    users = build(tmp_path, demographics=False)
    assert {item.kind for user in users.values() for item in user.items} == {"subreddit"}


def test_when_on_they_are_bands_of_enough_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MIN_HIDING", 10)
    users = build(tmp_path, demographics=True)
    found = {user.user_id: user.of("demographic") for user in users.values()}
    assert all(
        [(i.evidence_id, i.facet, i.text) for i in found[user_id(n)]]
        == [("d:age:25-34", "age", "25-34")]
        for n in range(10)
    )
    assert found[user_id(10)] == []  # of a community of minors
    assert found[user_id(11)] == []  # alone in the band
    # What they said stays out of the evidence: it holds no age but the band.
    assert not any("I'm" in item.text for user in users.values() for item in user.items)


def test_personas_state_the_bands_of_the_evidence_and_no_text_does() -> None:
    user = UserEvidence("ann", (*rich_user().items, BAND))
    made = verbalize_user(user, 0)
    assert isinstance(made, Persona) and made.demographics == ()
    personas, _ = outcome_tables([user, rich_user("bob")], [made, made], "grounded")
    ann, bob = map(Persona.model_validate_json, personas.column("persona").to_pylist())
    assert [band.model_dump() for band in ann.demographics] == [
        {"kind": "age", "value": "25-34", "evidence": ("d:age:25-34",)}
    ]
    assert bob.demographics == ()
    assert not any("25" in text for text in ann.texts())
    failed = Failed(Failure.SENSITIVE, "states health")
    assert with_demographics(failed, user) is failed


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("A builder aged 34", True),
        ("At 34, they like jazz", True),
        ("A man in his late thirties", True),
        ("Someone from Texas", True),
        ("Lives in the Netherlands", True),
        ("Likes music of the sixties", False),
        ("Likes films from Japan", False),
        ("Sounds warm in 4 of 9 remarks", False),
    ],
)
def test_texts_that_tell_them_are_refused(text: str, is_told: bool) -> None:
    assert tells(text) is is_told
    claim = Claim(text=text, evidence=("s:neonnights",), confidence=0.5)
    made = verbalize_user(rich_user(), 0)
    assert isinstance(made, Persona)
    failed = find_failure(made.model_copy(update={"interests": (claim,)}), rich_user())
    assert (failed is not None) is is_told


def test_models_neither_see_nor_write_them() -> None:
    user = UserEvidence("ann", (*rich_user().items, BAND))
    assert "25-34" not in str(persona_messages(user))
    assert "demographics" not in str(persona_json_schema())
    made = verbalize_user(rich_user(), 0)
    told = with_demographics(made, user)
    assert isinstance(told, Persona) and find_failure(told, user) is None
    refused = read_reply(told.model_dump_json(), user)
    assert refused == Failed(Failure.SCHEMA, "demographics: not in the schema")
