"""The in-process verbalizer asks again once; its model is replaced, for an extra brings it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from persona.items import UserEvidence
from persona.local_model import LocalVerbalizer
from persona.prompts import Message
from persona.verbalizer import Failed, Failure
from tests.persona.examples import rich_user
from tests.persona.test_verbalizer import persona


class Scripted(LocalVerbalizer):
    """Replies as it is told."""

    def __init__(self, *replies: str) -> None:
        self._replies = iter(replies)
        self._spent, self._turn = Counter(), asyncio.Lock()
        self.asked: list[list[Message]] = []

    def reply(self, user: UserEvidence, messages: list[Message]) -> tuple[str, bool]:
        self.asked.append(messages)
        return next(self._replies), True


BAD, GOOD = (persona(text).model_dump_json() for text in ("Sings at church", "Likes cats"))


@pytest.mark.parametrize(
    ("replies", "repairs"), [((GOOD,), 0), ((BAD, GOOD), 1), ((BAD, BAD, GOOD), 1)]
)
def test_a_refused_reply_is_repaired_once(replies: tuple[str, ...], repairs: int) -> None:
    model = Scripted(*replies)
    (outcome,) = asyncio.run(model.verbalize([rich_user()]))
    assert outcome == (
        Failed(Failure.SENSITIVE, "states religion")
        if replies[repairs] == BAD
        else persona("Likes cats")
    )
    assert len(model.asked) == 1 + repairs
    assert model.spent() == ({"repairs": 1} if repairs else {})
    if repairs:
        assert "states religion" in model.asked[1][-1]["content"]
