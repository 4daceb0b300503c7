"""Prompts in the role of a persona: by rule, and by a model over a real HTTP server."""

from __future__ import annotations

import asyncio
import json

import pytest

from orchestration.bench.chat_server import chat_server
from orchestration.bench.injections import CANARY
from orchestration.bench.injections import TEXTS as INJECTIONS
from persona.config import VerbalizeConfig
from persona.endpoint import EndpointVerbalizer
from persona.grounded import verbalize_user
from persona.items import UserEvidence
from persona.rewrite import (
    REWRITE_PROMPT,
    Rewrite,
    read_rewrite,
    rewrite_grounded,
    rewrite_messages,
)
from persona.schema import Persona
from persona.verbalizer import Failed, Failure
from tests.persona.examples import rich_user, subreddit, tag


def persona(*items: object) -> Persona:
    made = verbalize_user(UserEvidence("ann", items) if items else rich_user(), 0)  # type: ignore[arg-type]
    assert isinstance(made, Persona)
    return made


TASTE = (
    subreddit("jazz", 1.0),
    tag("palette", "neon", 3.0),
    tag("treatment", "watercolor", 2.9),
    tag("subject", "cat", 3.0),
)


@pytest.mark.parametrize(
    ("prompt", "rewritten", "evidence"),
    [
        (
            "a lighthouse at dusk.",
            "a lighthouse at dusk, neon colors, watercolor treatment",
            ("g:palette:neon", "g:treatment:watercolor"),
        ),
        ("a watercolor\n  lake", "a watercolor lake, neon colors", ("g:palette:neon",)),
        ("pastel hills", "pastel hills, watercolor treatment", ("g:treatment:watercolor",)),
        ("neon watercolor", "neon watercolor", ()),
    ],
)
def test_only_open_facets_are_filled(prompt: str, rewritten: str, evidence: tuple[str]) -> None:
    facets = {"palette": ["neon", "pastel"], "treatment": ["watercolor"]}
    assert rewrite_grounded(prompt, persona(*TASTE), facets) == Rewrite(rewritten, evidence)


def test_without_taste_the_prompt_stays() -> None:
    assert rewrite_grounded("a lake", persona(subreddit("jazz", 1.0))) == Rewrite("a lake", ())


def test_prompts_and_personas_are_data() -> None:
    for text in INJECTIONS:
        system, user = rewrite_messages(text, persona())
        assert CANARY not in system["content"]
        head, line, tail, _ = user["content"].split("\n")
        assert json.loads(line)["prompt"].split() and (head, tail)[0].startswith("=== data ")
        assert "<|" not in line and "[INST]" not in line


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("a lake", Failure.INVALID_JSON),
        ('{"prompt": "a lake", "more": 1}', Failure.SCHEMA),
        ('{"prompt": "two\\nlines"}', Failure.SCHEMA),
        ('{"prompt": "a lake and a mosque"}', Failure.SENSITIVE),
        ('{"prompt": "a lake, see https://example.net"}', Failure.CONTACT),
        ('{"prompt": "a lake, seen by a woman from France"}', Failure.SENSITIVE),
        (json.dumps({"prompt": REWRITE_PROMPT.splitlines()[0]}), Failure.LEAKS_PROMPT),
        ('{"prompt": "a lake; add nothing that the persona does not state"}', Failure.LEAKS_PROMPT),
    ],
)
def test_bad_replies_are_refused(reply: str, reason: Failure) -> None:
    refused = read_rewrite(reply, "a lake", persona())
    assert isinstance(refused, Failed) and refused.reason == reason
    assert "lake" not in refused.detail


def test_what_the_prompt_asked_for_itself_may_stay() -> None:
    reply = '{"prompt": "a mosque in neon light"}'
    assert read_rewrite(reply, "a mosque", persona()) == Rewrite(
        "a mosque in neon light", ("g:palette:neon",)
    )


def test_a_sensitive_prompt_opens_no_other_category() -> None:
    reply = '{"prompt": "a mosque, by a diabetic painter"}'
    refused = read_rewrite(reply, "a mosque", persona())
    assert isinstance(refused, Failed) and refused.detail == "adds health"


def test_a_tag_inside_another_word_is_not_cited() -> None:
    rewritten = read_rewrite('{"prompt": "a lake of neonates"}', "a lake", persona())
    assert rewritten == Rewrite("a lake of neonates", ())


def test_a_model_rewrites_over_http_and_is_asked_again_once() -> None:
    async def ask(base_url: str) -> Rewrite | Failed:
        config = VerbalizeConfig(verbalizer="openai", base_url=base_url, model="scripted")
        verbalizer = EndpointVerbalizer.connect(config, 2)
        try:
            return await verbalizer.rewrite("a lake", persona())
        finally:
            await verbalizer.close()

    with chat_server() as server:
        rewritten = asyncio.run(ask(server.base_url))
        assert rewritten == Rewrite("a lake in neon light", ("g:palette:neon",))
        assert len(server.requests) == 2  # the server's first reply to a rewrite is no JSON
        form = server.requests[0]["response_format"]["json_schema"]
    assert (form["name"], form["strict"]) == ("rewritten", True)
