"""Personas of the last run stay where evidence, making and rules are as before."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from persona.config import VerbalizeConfig
from persona.earlier import MADE_BY, Earlier, made_by
from persona.items import UserEvidence, evidence_table, group_users
from persona.schema import Persona
from persona.tables import PERSONAS
from persona.verbalizer import outcome_tables
from tests.persona.examples import rich_user
from tests.persona.synthetic import make_run
from tests.persona.test_verbalizer import persona

CONFIG = VerbalizeConfig(verbalizer="openai", base_url="http://localhost", model="m")


def earlier(root: Path, users: list[UserEvidence], personas: list[Persona]) -> Earlier:
    run = make_run(root)
    PERSONAS.path(run).mkdir(parents=True)
    rows, _ = outcome_tables(users, personas, "m")
    PERSONAS.write(PERSONAS.path(run), rows, metadata={MADE_BY: made_by(CONFIG)})
    return Earlier(run, CONFIG)


def test_a_persona_that_says_what_is_now_sensitive_is_made_again(tmp_path: Path) -> None:
    users = [rich_user("ann"), rich_user("bob")]
    told = [persona("Likes cats"), persona("Sings at church")]  # church was not listed then
    split = earlier(tmp_path, users, told).split(evidence_table(users))
    assert split.kept.column("user_id").to_pylist() == ["ann"]
    assert [user.user_id for user in group_users(split.fresh)] == ["bob"]
    assert isinstance(split.kept, pa.Table) and split.kept.schema == PERSONAS.schema
