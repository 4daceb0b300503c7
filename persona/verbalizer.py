"""What every verbalizer is: evidence of users in, a persona or a named failure for each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from persona.demographics import tells
from persona.items import DEMOGRAPHIC, SNIPPET, UserEvidence
from persona.privacy import quotes, sensitive_category, shows_contact
from persona.schema import Demographic, Persona, unknown_evidence
from persona.tables import PERSONAS, QUARANTINE


class Failure(StrEnum):
    """Why a user has no persona; closed."""

    NOTHING_TO_SAY = "nothing_to_say"  # evidence supports no claim at all
    INVALID_JSON = "invalid_json"
    SCHEMA = "schema"
    UNKNOWN_EVIDENCE = "unknown_evidence"
    SENSITIVE = "sensitive"
    QUOTES_USER = "quotes_user"
    CONTACT = "contact"
    LEAKS_PROMPT = "leaks_prompt"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    TOO_LONG = "too_long"
    UNANSWERED = "unanswered"  # this request fails again and again, others do not


@dataclass(frozen=True)
class Failed:
    """A user without a persona. `detail` is the validator's message and holds no user text."""

    reason: Failure
    detail: str


Outcome = Persona | Failed


class Verbalizer(Protocol):
    """Turns evidence into personas; knows no engine."""

    @property
    def name(self) -> str:
        """`grounded`, or the model's name; stored with every persona."""
        ...

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        """One outcome for each user, in order."""
        ...

    def spent(self) -> dict[str, int]:
        """Requests, retries, repairs, input_tokens, output_tokens since this was last asked."""
        ...


def find_failure(persona: Persona, user: UserEvidence, prompt: str = "") -> Failed | None:
    """What makes a well-formed persona unacceptable; None if nothing does.

    Args:
        persona: Obeys the schema.
        user: Whose evidence it may cite, and whose texts it may not repeat.
        prompt: Instructions that may not be repeated either.
    """
    unknown = unknown_evidence(persona, user.ids)
    if unknown:
        return Failed(Failure.UNKNOWN_EVIDENCE, f"{len(unknown)} cited ids are not evidence")
    snippets = [item.text for item in user.of(SNIPPET)]
    told = (*persona.texts(), *persona.labels())
    failed = next(filter(None, map(_wrong_with, told)), None)
    if failed is not None:
        return failed
    if quotes(persona.texts(), snippets):
        return Failed(Failure.QUOTES_USER, "repeats words of a snippet")
    if prompt and quotes(persona.texts(), [prompt]):
        return Failed(Failure.LEAKS_PROMPT, "repeats the instructions")
    return None


def _wrong_with(text: str) -> Failed | None:
    """What no text of any persona may say."""
    category = sensitive_category(text)
    if category:
        return Failed(Failure.SENSITIVE, f"states {category}")
    if tells(text):
        return Failed(Failure.SENSITIVE, "states an age or a region")
    if shows_contact(text):
        return Failed(Failure.CONTACT, "shows a link, an address, a user's name or a number")
    return None


def with_demographics(outcome: Outcome, user: UserEvidence) -> Outcome:
    """The persona with the bands among its user's evidence, as they stand there."""
    found = user.of(DEMOGRAPHIC)
    if isinstance(outcome, Failed) or not found:
        return outcome
    bands = [{"kind": i.facet, "value": i.text, "evidence": [i.evidence_id]} for i in found]
    told = tuple(Demographic.model_validate(band) for band in bands)
    return outcome.model_copy(update={"demographics": told})


def outcome_tables(
    users: Sequence[UserEvidence], outcomes: Sequence[Outcome], verbalizer: str
) -> tuple[pa.Table, pa.Table]:
    """Rows of PERSONAS and of QUARANTINE, both in the order of `users`."""
    personas, quarantine = [], []
    for user, made in zip(users, outcomes, strict=True):
        outcome = with_demographics(made, user)
        if isinstance(outcome, Failed):
            row = {"reason": outcome.reason.value, "detail": outcome.detail}
            quarantine.append({"user_id": user.user_id, **row})
            continue
        personas.append(
            {
                "user_id": user.user_id,
                "summary": outcome.summary,
                "persona": outcome.model_dump_json(),
                "confidence": outcome.confidence,
                "evidence_hash": user.hash,
                "verbalizer": verbalizer,
            }
        )
    return (
        PERSONAS.check(pa.Table.from_pylist(personas, schema=PERSONAS.schema)),
        QUARANTINE.check(pa.Table.from_pylist(quarantine, schema=QUARANTINE.schema)),
    )
