"""Claims without evidence and wrong shapes are refused; the JSON schema is strict."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from persona.schema import (
    Claim,
    Persona,
    Taste,
    Trait,
    num_sentences,
    persona_json_schema,
    unknown_evidence,
)


def persona_fields(**changes: Any) -> dict[str, Any]:
    fields = {
        "summary": "They like neon. They like cats.",
        "interests": [{"text": "Likes cats", "evidence": ["s:cats"], "confidence": 0.5}],
        "aesthetic": [
            {"facet": "palette", "text": "Neon", "evidence": ["g:palette:neon"], "confidence": 1.0}
        ],
        "affect": [{"name": "warmth", "text": "Warm", "evidence": ["t1_a"], "confidence": 0}],
        "confidence": 0.7,
    }
    return fields | changes


def test_a_persona_survives_json() -> None:
    persona = Persona.model_validate(persona_fields())
    assert Persona.model_validate_json(persona.model_dump_json()) == persona
    assert [claim.text for claim in persona.claims()] == ["Likes cats", "Neon", "Warm"]
    assert isinstance(persona.aesthetic[0], Taste)
    assert isinstance(persona.affect[0], Trait)


@pytest.mark.parametrize(
    ("changes", "place", "kind"),
    [
        ({"summary": "One sentence that says it all."}, ("summary",), "value_error"),
        ({"summary": "One. Two. Three. Four. Five is one too many."}, ("summary",), "value_error"),
        ({"summary": "Two lines.\nTwo sentences."}, ("summary",), "string_pattern_mismatch"),
        ({"confidence": 1.1}, ("confidence",), "less_than_equal"),
        ({"confidence": "high"}, ("confidence",), "float_parsing"),
        (
            {"interests": [{"text": "x", "evidence": [], "confidence": 0.5}]},
            ("interests", 0, "evidence"),
            "too_short",
        ),
        (
            {"interests": [{"text": "", "evidence": ["a"], "confidence": 0.5}]},
            ("interests", 0, "text"),
            "string_pattern_mismatch",
        ),
        (
            {"interests": [{"text": "x" * 241, "evidence": ["a"], "confidence": 0.5}]},
            ("interests", 0, "text"),
            "string_pattern_mismatch",
        ),
        ({"age": 17}, ("age",), "extra_forbidden"),
    ],
)
def test_wrong_personas_name_the_field(
    changes: dict[str, Any], place: tuple[str | int, ...], kind: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Persona.model_validate(persona_fields(**changes))
    assert [(error["loc"], error["type"]) for error in caught.value.errors()] == [(place, kind)]


def test_every_part_is_required() -> None:
    for name in persona_fields():
        fields = persona_fields()
        del fields[name]
        with pytest.raises(ValidationError, match="Field required"):
            Persona.model_validate(fields)


def test_unknown_evidence_is_listed_once_in_order() -> None:
    claims = [
        {"text": "a", "evidence": ["s:cats", "ghost"], "confidence": 0.5},
        {"text": "b", "evidence": ["ghost", "phantom"], "confidence": 0.5},
    ]
    persona = Persona.model_validate(persona_fields(interests=claims))
    assert unknown_evidence(persona, {"s:cats", "t1_a", "g:palette:neon"}) == ["ghost", "phantom"]
    assert unknown_evidence(persona, {"s:cats", "t1_a", "g:palette:neon", "ghost", "phantom"}) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One.", 1),
        ("No end", 1),
        ("One. Two", 2),
        ('Really? "Yes." Fine!', 3),
        ("The community r/reddit.com is one. It is 3.5 years old.", 2),
    ],
)
def test_sentences_are_counted_by_their_ends(text: str, count: int) -> None:
    assert num_sentences(text) == count


def test_json_schema_is_strict_and_every_string_is_bounded() -> None:
    schema = persona_json_schema()
    models = [schema, *schema["$defs"].values()]
    assert {model["title"] for model in models} == {"Persona", "Claim", "Taste", "Trait"}
    for model in models:
        assert model["additionalProperties"] is False
        assert sorted(model["required"]) == sorted(model["properties"])
        strings = [p for p in _leaves(model["properties"].values()) if p.get("type") == "string"]
        assert strings or model["title"] == "Persona"
        assert all("pattern" in leaf for leaf in strings)


def test_claims_are_immutable() -> None:
    claim = Claim(text="x", evidence=("a",), confidence=0.5)
    with pytest.raises(ValidationError, match="frozen"):
        claim.text = "y"


def _leaves(properties: Any) -> list[dict[str, Any]]:
    return [leaf for p in properties for leaf in (p, p.get("items", {}))]
