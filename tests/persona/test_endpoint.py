"""The endpoint verbalizer against a real HTTP server: repairs, retries, quarantines, stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.bench.chat_server import ChatServer, chat_server
from orchestration.bench.injections import CANARY
from orchestration.bench.injections import TEXTS as INJECTIONS
from persona.config import VerbalizeConfig
from persona.endpoint import EndpointVerbalizer
from persona.errors import EndpointError
from persona.items import UserEvidence
from persona.schema import Persona
from persona.verbalizer import Failed, Failure, Outcome
from pipelines.contract import ConfigError
from tests.persona.examples import injected_user, rich_user, snippet, subreddit, thin_user

LONG = "The quick brown fox jumps over the lazy dog beside the river"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as chat:
        yield chat


def scripted(script: str, user_id: str = "scripted") -> UserEvidence:
    """A user whose requests are answered by `script`: its steps, joined by _."""
    name = f"script_{script}"
    return UserEvidence(user_id, (subreddit(name, 1.0), snippet("jazz", 0, LONG)))


def config_of(server: ChatServer, api_key_file: str = "") -> VerbalizeConfig:
    return VerbalizeConfig(
        verbalizer="openai",
        base_url=server.base_url,
        model="scripted",
        api_key_file=api_key_file,
    )


def verbalize(
    server: ChatServer, *users: UserEvidence, in_flight: int = 8, patience_s: float = 60.0
) -> list[Outcome]:
    async def run() -> list[Outcome]:
        verbalizer = EndpointVerbalizer.connect(config_of(server), in_flight, patience_s)
        try:
            return await verbalizer.verbalize(users)
        finally:
            await verbalizer.close()

    return asyncio.run(run())


def test_a_good_reply_is_a_persona(server: ChatServer) -> None:
    (outcome,) = verbalize(server, rich_user())
    assert isinstance(outcome, Persona)
    assert [taste.facet for taste in outcome.aesthetic][:2] == ["palette", "subject"]
    (request,) = server.requests
    assert request["response_format"]["json_schema"]["schema"]["title"] == "Persona"
    assert (request["model"], request["temperature"], request["seed"]) == ("scripted", 0.0, 0)


@pytest.mark.parametrize(
    "script",
    ["fenced", "http429_ok", "http500_http503_ok", "drop_ok", "page_gatewayerror_nochoice_ok"],
)
def test_transient_errors_are_retried_and_fences_forgiven(server: ChatServer, script: str) -> None:
    (outcome,) = verbalize(server, scripted(script))
    assert isinstance(outcome, Persona)
    assert len(server.requests) == len(script.split("_"))


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("broken_ok", "not a JSON object"),
        ("prose_ok", "not a JSON object"),
        ("schema_ok", "confidence: less_than_equal"),
        ("ghost_ok", "1 cited ids are not evidence"),
        ("quote_ok", "repeats words of a snippet"),
        ("party_ok", "states politics"),
        ("cut_ok", "cut off"),
    ],
)
def test_one_repair_names_the_problem(server: ChatServer, script: str, problem: str) -> None:
    (outcome,) = verbalize(server, scripted(script))
    assert isinstance(outcome, Persona)
    assert len(server.requests) == 2
    assert problem in server.requests[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("script", "reason", "num_requests"),
    [
        ("broken", Failure.INVALID_JSON, 2),
        ("schema", Failure.SCHEMA, 2),
        ("extra", Failure.SCHEMA, 2),
        ("ghost", Failure.UNKNOWN_EVIDENCE, 2),
        ("quote", Failure.QUOTES_USER, 2),
        ("contact", Failure.CONTACT, 2),
        ("party", Failure.SENSITIVE, 2),
        ("leak", Failure.LEAKS_PROMPT, 2),
        ("cut", Failure.TRUNCATED, 2),
        ("refuse", Failure.REFUSED, 1),
        ("toolong", Failure.TOO_LONG, 1),
        ("http400", Failure.REFUSED, 1),
    ],
)
def test_what_one_repair_does_not_mend_is_quarantined(
    server: ChatServer, script: str, reason: Failure, num_requests: int
) -> None:
    good, failed = verbalize(server, thin_user(), scripted(script))
    assert isinstance(good, Persona)
    assert isinstance(failed, Failed)
    assert failed.reason is reason
    assert "fox" not in failed.detail
    assert len(server.requests) == 1 + num_requests


def test_outcomes_keep_the_order_of_users_and_requests_are_bounded() -> None:
    users = [scripted("ok" if index % 3 else "broken", f"u{index}") for index in range(9)]
    users = [
        UserEvidence(user.user_id, (*user.items, subreddit(f"sub{index}", 0.1)))
        for index, user in enumerate(users)
    ]
    with chat_server(delay_s=0.02) as server:
        outcomes = verbalize(server, *users, in_flight=3)
    assert [isinstance(o, Persona) for o in outcomes] == [bool(i % 3) for i in range(9)]
    assert 1 < server.most_at_once <= 3


@pytest.mark.parametrize("place", range(len(INJECTIONS)))
def test_a_model_that_obeys_injected_text_is_caught(server: ChatServer, place: int) -> None:
    injected = injected_user(place, "bad")
    obeying = UserEvidence("bad", (subreddit("script_obey", 0.9), *injected.items))
    good, failed = verbalize(server, rich_user(), obeying)
    alone = verbalize(server, rich_user())[0]
    assert good == alone
    assert isinstance(failed, Failed)
    assert CANARY.lower() not in failed.detail.lower()


def test_an_endless_page_in_place_of_completions_stops_the_step(server: ChatServer) -> None:
    with pytest.raises(EndpointError, match=r"NoCompletionError.*run again"):
        verbalize(server, scripted("page"), patience_s=0.2)


@pytest.mark.parametrize("status", ["http401", "http404", "http500"])
def test_a_server_that_does_not_serve_stops_the_step(server: ChatServer, status: str) -> None:
    with pytest.raises(EndpointError, match=f"HTTP {status[4:]}.*run again"):
        verbalize(server, scripted(status), patience_s=0.2)
    assert len(server.requests) > 3 if status == "http500" else len(server.requests) == 1


def test_requests_retries_repairs_and_tokens_are_accounted(server: ChatServer) -> None:
    async def run() -> list[dict[str, int]]:
        verbalizer = EndpointVerbalizer.connect(config_of(server), 2)
        await verbalizer.verbalize([scripted("http429_broken_ok"), thin_user()])
        accounts = [verbalizer.spent(), verbalizer.spent()]
        await verbalizer.close()
        return accounts

    spent, after = asyncio.run(run())
    # Four requests, of which three were answered, with 100 tokens in and 20 out each.
    assert spent == {
        "requests": 4,
        "retries": 1,
        "repairs": 1,
        "input_tokens": 300,
        "output_tokens": 60,
    }
    assert after == {"retries": 0}


def test_storms_of_errors_are_survived(server: ChatServer) -> None:
    storm = "_".join(["drop", *["http429", "http500", "http503"] * 2])
    users = [
        UserEvidence(f"u{i}", (subreddit(f"script_{storm}_ok", 1.0), subreddit(f"s{i}", 0.1)))
        for i in range(12)
    ]
    outcomes = verbalize(server, *users)
    assert all(isinstance(outcome, Persona) for outcome in outcomes)
    assert len(server.requests) == 12 * 8


def test_a_server_that_refuses_everybody_is_at_fault_itself(server: ChatServer) -> None:
    users = [scripted("http400", f"u{index}") for index in range(12)]
    with pytest.raises(EndpointError, match="first 10 requests were all refused"):
        verbalize(server, *users, in_flight=1)


def test_nobody_listening_is_an_endpoint_error() -> None:
    with chat_server() as gone:
        pass
    with pytest.raises(EndpointError, match="no reply"):
        verbalize(gone, thin_user(), patience_s=0.0)


def test_the_key_comes_from_a_file(server: ChatServer, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("sesame\n")
    config = config_of(server, api_key_file=str(key_file))

    async def run() -> None:
        verbalizer = EndpointVerbalizer.connect(config, 1)
        await verbalizer.verbalize([thin_user()])
        await verbalizer.close()

    asyncio.run(run())
    assert server.keys == ["Bearer sesame"]
    with pytest.raises(ConfigError, match="no such file"):
        EndpointVerbalizer.connect(config_of(server, api_key_file=str(tmp_path / "no")), 1)
    key_file.write_text("")
    with pytest.raises(ConfigError, match="empty"):
        EndpointVerbalizer.connect(config, 1)
