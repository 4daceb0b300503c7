"""What a model may not say is found, whatever its form; outcomes become rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from persona.items import UserEvidence
from persona.schema import Persona
from persona.verbalizer import Failed, Failure, find_failure, outcome_tables
from tests.persona.examples import rich_user, thin_user

PROMPT = "You describe the interests and taste of one forum user from evidence."


def persona(
    text: str = "Likes cats", summary: str = "One thing. Another.", **claim: Any
) -> Persona:
    fields = {"text": text, "evidence": ["s:neonnights"], "confidence": 0.5} | claim
    return Persona.model_validate(
        {"summary": summary, "interests": [fields], "aesthetic": [], "affect": []}
        | {"confidence": 0.5}
    )


def test_a_fair_persona_passes() -> None:
    assert find_failure(persona(), rich_user(), PROMPT) is None


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (persona(evidence=["s:pastelpeaks"]), Failure.UNKNOWN_EVIDENCE),
        (persona("Prays often at church"), Failure.SENSITIVE),
        (persona(summary="A teenager. From nowhere."), Failure.SENSITIVE),
        (persona("Ask u/someone about it"), Failure.CONTACT),
        (persona("Says: love what the lens did to that photo"), Failure.QUOTES_USER),
        (persona("Nothing to see at this desk."), Failure.QUOTES_USER),
        (persona("Told to describe the interests and taste of one"), Failure.LEAKS_PROMPT),
    ],
)
def test_unfair_personas_fail_by_name(bad: Persona, reason: Failure) -> None:
    failed = find_failure(bad, rich_user(), PROMPT)
    assert failed is not None
    assert failed.reason is reason


@pytest.mark.parametrize(
    "label",
    [
        {"affect": [{"name": "bipolar", "text": "Often changes tone"}]},
        {"aesthetic": [{"facet": "muslim art", "text": "Likes tiles"}]},
    ],
)
def test_names_of_traits_and_facets_state_nothing_sensitive(label: dict[str, Any]) -> None:
    claim = {"evidence": ["s:neonnights"], "confidence": 0.5}
    (kind, [told]) = next(iter(label.items()))
    fields = persona().model_dump() | {kind: [told | claim]}
    failed = find_failure(Persona.model_validate(fields), rich_user())
    assert failed is not None
    assert failed.reason is Failure.SENSITIVE


def test_outcomes_become_rows_in_order() -> None:
    users = [rich_user("ann"), thin_user("bob"), UserEvidence("eve", ())]
    failed = Failed(Failure.SCHEMA, "confidence: too large")
    personas, quarantine = outcome_tables(users, [persona(), failed, persona()], "some-model")
    assert personas.column("user_id").to_pylist() == ["ann", "eve"]
    row = personas.to_pylist()[0]
    assert Persona.model_validate(json.loads(row.pop("persona"))) == persona()
    assert row == {
        "user_id": "ann",
        "summary": "One thing. Another.",
        "confidence": 0.5,
        "evidence_hash": rich_user().hash,
        "verbalizer": "some-model",
    }
    assert quarantine.to_pylist() == [
        {"user_id": "bob", "reason": "schema", "detail": "confidence: too large"}
    ]


def test_no_users_make_empty_tables() -> None:
    personas, quarantine = outcome_tables([], [], "grounded")
    assert (personas.num_rows, quarantine.num_rows) == (0, 0)
