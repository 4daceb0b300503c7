"""What a model's reply says: a persona, or why it is refused; and the one repair. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from persona.items import UserEvidence
from persona.prompts import SYSTEM_PROMPT, Message, repair_messages
from persona.schema import Persona, Taste, Trait
from persona.verbalizer import Failed, Failure, Outcome, find_failure

T = TypeVar("T")

REPAIRABLE = frozenset(Failure) - {
    Failure.TOO_LONG,
    Failure.REFUSED,
    Failure.UNANSWERED,
    Failure.NOTHING_TO_SAY,
}

# What a model may have named; any other name in its reply is its own text.
_FIELDS = {*Persona.model_fields, *Taste.model_fields, *Trait.model_fields} - {"demographics"}


async def converse(
    messages: list[Message],
    ask: Callable[[list[Message]], Awaitable[tuple[str, Failed | None]]],
    read: Callable[[str], T | Failed],
    spent: Counter[str],
) -> T | Failed:
    """What `read` makes of a model's reply, or of the one repair that a refused reply is given.

    Args:
        messages: Of the request.
        ask: The reply to messages, or why there is none to read.
        read: What the reply says, or why it is refused.
        spent: Counts the repair.
    """
    reply, failed = await ask(messages)
    outcome = failed or read(reply)
    if isinstance(outcome, Failed) and outcome.reason in REPAIRABLE:
        spent["repairs"] += 1
        reply, failed = await ask(repair_messages(messages, reply, outcome.detail))
        outcome = failed or read(reply)
    return outcome


def read_reply(reply: str, user: UserEvidence) -> Outcome:
    """The persona in a reply, or why it is refused. Details hold no text of the reply."""
    try:
        persona = Persona.model_validate_json(unfenced(reply))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            return Failed(Failure.INVALID_JSON, "not a JSON object")
        path = ".".join(map(_known, first["loc"]))
        return Failed(Failure.SCHEMA, f"{path or 'object'}: {first['type']}, {_told(first)}")
    if persona.demographics:
        return Failed(Failure.SCHEMA, "demographics: not in the schema")
    return find_failure(persona, user, SYSTEM_PROMPT) or persona


def _told(problem: Any) -> str:
    """Our own and pydantic's messages name the expectation; extra fields would name the input."""
    return "not in the schema" if problem["type"] == "extra_forbidden" else str(problem["msg"])


def _known(part: int | str) -> str:
    if isinstance(part, int) or part in _FIELDS:
        return str(part)
    return "(unknown field)"


def unfenced(reply: str) -> str:
    """The reply without a Markdown fence, which servers without constrained decoding add."""
    text = reply.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json").strip()
    return text
