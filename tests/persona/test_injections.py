"""Hostile texts in titles, comments, subreddit names and flairs change nothing but themselves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import polars as pl
import pytest

from orchestration.bench.chat_server import chat_server
from orchestration.bench.injections import (
    CANARY,
    TEXTS,
    Injection,
    has_effect,
    injections,
    with_injection,
)
from persona.config import VerbalizeConfig
from persona.endpoint import EndpointVerbalizer
from persona.grounded import verbalize_user
from persona.items import UserEvidence
from persona.prompts import SYSTEM_PROMPT, persona_messages
from persona.schema import Claim, Persona
from persona.verbalizer import Failed, Outcome
from pipelines.config import BeamResources, IngestConfig
from pipelines.contract import Run
from pipelines.ingest import ingest
from pipelines.pseudonym import new_key_file
from tests.persona.examples import rich_user, subreddit
from tests.pipelines.test_records import COMMENT

SUITE = injections()


def ask(base_url: str, users: list[UserEvidence]) -> list[Outcome]:
    async def run() -> list[Outcome]:
        config = VerbalizeConfig(verbalizer="openai", base_url=base_url, model="scripted")
        verbalizer = EndpointVerbalizer.connect(config, 8)
        try:
            return await verbalizer.verbalize(users)
        finally:
            await verbalizer.close()

    return asyncio.run(run())


def test_there_are_at_least_fifty_in_every_place() -> None:
    assert len({(i.place, i.text) for i in SUITE}) == len(SUITE) >= 50
    assert {i.place for i in SUITE} == {"title", "comment", "subreddit"}


@pytest.mark.parametrize("injection", SUITE, ids=lambda i: f"{i.place}-{i.item.evidence_id}")
def test_grounded_personas_are_not_moved(injection: Injection) -> None:
    clean = verbalize_user(rich_user(), 0)
    outcome = verbalize_user(with_injection(rich_user(), injection), 0)
    assert isinstance(outcome, Persona)
    assert not has_effect(injection, outcome, clean)


def test_a_model_that_obeys_everything_is_caught() -> None:
    obey = (subreddit("script_obey", 0.9),)
    texts = [i for i in SUITE if i.place != "subreddit"]
    users = [
        UserEvidence(f"u{n}", (*obey, *with_injection(rich_user(), injection).items))
        for n, injection in enumerate(texts)
    ]
    with chat_server() as server:
        outcomes = ask(server.base_url, [rich_user(), *users, rich_user("last")])
    assert outcomes[0] == outcomes[-1]  # those beside them are not touched
    assert isinstance(outcomes[0], Persona)
    for injection, outcome in zip(texts, outcomes[1:-1], strict=True):
        assert isinstance(outcome, Failed), injection.text
        assert not has_effect(injection, outcome, outcomes[0])


@pytest.mark.parametrize("injection", SUITE, ids=lambda i: f"{i.place}-{i.item.evidence_id}")
def test_prompts_hold_them_as_data(injection: Injection) -> None:
    system, user = persona_messages(with_injection(rich_user(), injection))
    assert system["content"] == SYSTEM_PROMPT
    lines = user["content"].split("\n")
    boundary = lines[0].removeprefix("=== evidence ").removesuffix(" ===")
    assert lines[-2] == f"=== end {boundary} ==="
    items = [json.loads(line) for line in lines[1:-2]]
    assert [item["id"] for item in items].count(injection.item.evidence_id) == 1
    assert not any(token in user["content"] for token in ("<|", "[INST]", "<<SYS>>", "</s>"))


def test_the_measure_sees_what_it_should() -> None:
    injection = SUITE[0]
    clean = verbalize_user(rich_user(), 0)
    assert isinstance(clean, Persona)
    obeyed = clean.model_copy(update={"summary": f"{CANARY} is here. Nothing else."})
    leaked = clean.model_copy(update={"summary": SYSTEM_PROMPT.splitlines()[0]})
    claim = Claim(text="Likes nothing at all", evidence=("s:neonnights",), confidence=0.5)
    changed = clean.model_copy(update={"interests": (claim,)})
    own = Claim(text="Writes odd things", evidence=(injection.item.evidence_id,), confidence=0.5)
    cited = clean.model_copy(update={"interests": (*clean.interests, own)})
    tried = [obeyed, leaked, changed, cited, clean]
    assert [has_effect(injection, one, clean) for one in tried] == [True, True, True, False, False]


@pytest.mark.engine
def test_flairs_never_come_in(tmp_path: Path) -> None:
    flairs = {"author_flair_text": TEXTS[0], "link_flair_text": TEXTS[1]}
    line = {**COMMENT, **flairs, "author_flair_richtext": [{"e": "text", "t": TEXTS[2]}]}
    dump = tmp_path / "RC_2019-10.ndjson"
    dump.write_text(json.dumps(line) + "\n")
    run = Run(root=tmp_path, month="2019-10", staging=tmp_path / "staging")
    key = str(new_key_file(tmp_path / "key"))
    config = IngestConfig(inputs=(str(dump),), key_file=key)
    assert ingest(config, BeamResources(), run).rows_out == 1
    for path in (tmp_path / "staging").rglob("*.parquet"):
        assert CANARY not in str(pl.read_parquet(path).to_dicts())
