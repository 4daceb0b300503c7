"""Grounding is judged by user, and texts become tags only where they say them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from persona.items import UserEvidence, evidence_table
from persona.quality import (
    clip_text,
    grounded_claim_share,
    read_personas,
    stated_tags,
    vendi_score,
)
from persona.schema import Claim, Persona, Taste
from persona.verbalizer import outcome_tables
from tests.persona.examples import rich_user, thin_user


def persona_of(*claims: Claim, tastes: tuple[Taste, ...] = ()) -> Persona:
    return Persona(
        summary="First sentence here. Second one.",
        interests=claims,
        aesthetic=tastes,
        affect=(),
        confidence=0.5,
    )


def claim(*evidence: str) -> Claim:
    return Claim(text="x", evidence=evidence, confidence=0.5)


def taste(facet: str, text: str, *evidence: str, confidence: float = 0.5) -> Taste:
    return Taste(facet=facet, text=text, evidence=evidence, confidence=confidence)


def test_a_claim_counts_if_all_its_evidence_is_the_users_own() -> None:
    users = [rich_user(), thin_user()]
    personas = [
        persona_of(claim("s:neonnights"), claim("s:neonnights", "ghost")),
        persona_of(claim("s:pastelpeaks"), claim("s:neonnights")),
    ]
    table, _ = outcome_tables(users, personas, "test")
    assert grounded_claim_share(list(read_personas(table)), evidence_table(users)) == 0.5
    assert grounded_claim_share(list(read_personas(table)), evidence_table([thin_user()])) == 0.25


def test_no_claims_have_no_share() -> None:
    user = UserEvidence("u", ())
    table, _ = outcome_tables([user], [persona_of()], "test")
    assert math.isnan(
        grounded_claim_share(list(read_personas(table)), evidence_table([thin_user()]))
    )


@pytest.mark.parametrize(
    ("text", "evidence", "stated"),
    [
        ("Drawn to neon colors", "g:palette:neon", [("palette", "neon")]),
        ("Likes pictures of cats", "g:subject:cat", [("subject", "cat")]),
        ("Cities by night", "g:subject:city", [("subject", "city")]),
        ("A golden hour glow", "g:mood:golden-hour", [("mood", "golden-hour")]),
        ("Likes catalogs", "g:subject:cat", []),
        ("Drawn to neon colors", "s:neonnights", []),
    ],
)
def test_a_tag_is_stated_if_cited_and_said(
    text: str, evidence: str, stated: list[tuple[str, str]]
) -> None:
    assert stated_tags(persona_of(tastes=(taste("any", text, evidence),))) == stated


def test_surer_claims_come_first() -> None:
    persona = persona_of(
        tastes=(
            taste("palette", "neon; less so, sunset tones", "g:palette:neon", "g:palette:sunset"),
            taste("subject", "cats", "g:subject:cat", confidence=0.9),
        )
    )
    assert stated_tags(persona) == [("subject", "cat"), ("palette", "neon"), ("palette", "sunset")]


def test_the_caption_is_short_and_falls_back_to_words() -> None:
    tastes = (
        taste("palette", "neon; less so, sunset tones", "g:palette:neon", "g:palette:sunset"),
        taste("subject", "cats", "g:subject:cat", confidence=0.8),
        taste("mood", "Calm moods", "g:mood:calm", confidence=0.3),
    )
    assert clip_text(persona_of(tastes=tastes)) == "cat, neon"
    free = (taste("mood", "Quiet and foggy scenes", "i:abc"),)
    assert clip_text(persona_of(tastes=free)) == "Quiet and foggy scenes"
    assert clip_text(persona_of()) == "First sentence here. Second one."


def test_diversity_counts_different_vectors() -> None:
    assert vendi_score(np.eye(3, 8)) == pytest.approx(3.0)
    assert vendi_score(np.eye(8)[[0, 0, 1, 1]]) == pytest.approx(2.0)
    assert vendi_score(np.eye(2)[[0] * 9]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no rows"):
        vendi_score(np.zeros((0, 4)))
