"""The deployment is a plain class: Arrow rows in, Arrow rows out, pictures handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from persona.config import VerbalizeConfig
from persona.endpoint import EndpointVerbalizer
from persona.errors import EndpointError
from persona.grounded import GroundedVerbalizer, verbalize_user
from persona.items import UserEvidence, evidence_table
from persona.serve import PersonaDeployment, load_verbalizer
from persona.verbalizer import Failed, Failure, Outcome, outcome_tables
from tests.persona.examples import rich_user, thin_user


class TellsPictures:
    """A verbalizer that fails with the pictures it was shown."""

    name = "tells-pictures"

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        return [Failed(Failure.REFUSED, str(dict(user.pictures))) for user in users]

    def spent(self) -> dict[str, int]:
        return {"requests": 7}


def test_it_only_converts() -> None:
    users = [rich_user("ann"), thin_user("bob")]
    deployment = PersonaDeployment(lambda: load_verbalizer(VerbalizeConfig(seed=4), 1))
    outcomes = [verbalize_user(user, seed=4) for user in users]
    answered = asyncio.run(deployment(evidence_table(users), {}))
    assert answered == (*outcome_tables(users, outcomes, "grounded"), {}, "")


def test_pictures_reach_their_users() -> None:
    users = [rich_user("ann"), thin_user("bob")]
    deployment = PersonaDeployment(TellsPictures)
    _, told, spent, _ = asyncio.run(deployment(evidence_table(users), {"ann": {"i:abc": b"x"}}))
    assert spent == {"requests": 7}
    assert told.column("detail").to_pylist() == ["{'i:abc': b'x'}", "{}"]


class DiesOfBob:
    """An endpoint that answers everybody else before it dies."""

    name = "dies"

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        outcomes = [None if u.user_id == "bob" else verbalize_user(u, seed=4) for u in users]
        raise EndpointError("HTTP 500; run again", outcomes)

    def spent(self) -> dict[str, int]:
        return {"requests": 3}


def test_what_a_dead_endpoint_had_answered_is_handed_on() -> None:
    users = [rich_user("ann"), thin_user("bob"), thin_user("cat")]
    evidence = evidence_table(users)
    personas, failed, spent, problem = asyncio.run(PersonaDeployment(DiesOfBob)(evidence, {}))
    assert personas.column("user_id").to_pylist() == ["ann", "cat"]
    assert (failed.num_rows, spent, problem) == (0, {"requests": 3}, "HTTP 500; run again")


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (VerbalizeConfig(), GroundedVerbalizer),
        (
            VerbalizeConfig(verbalizer="openai", base_url="http://localhost/v1", model="m"),
            EndpointVerbalizer,
        ),
    ],
)
def test_the_config_names_the_verbalizer(config: VerbalizeConfig, kind: type) -> None:
    verbalizer = load_verbalizer(config, 1)
    assert type(verbalizer) is kind
    assert verbalizer.name == (config.model or "grounded")
