"""What a persona is: short claims about a user, each with its evidence and a confidence.

Flows in: JSON from a verbalizer. Flows out: `Persona`, or a validation error that names the field.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_SUMMARY_SENTENCES = 4
MIN_SUMMARY_SENTENCES = 2

_SENTENCE_END = re.compile(r"[.!?](?:[\"')\]]*)(?=\s|$)")

# Every string has a bounded pattern: constrained decoders stop at a pattern, not at a maxLength.
# Brackets, pipes and backticks have no place in plain English, but in mark-up that was repeated.
Line = Annotated[str, Field(pattern=r"^[^\r\n<>{}|`\\]{1,240}$")]
EvidenceId = Annotated[str, Field(pattern=r"^[^\s]{1,96}$")]
FACET_PATTERN = r"^[a-z][a-z0-9_ \-]{0,30}$"
TAG_PATTERN = r"^[^\r\n<>{}|`\\]{1,40}$"  # as Line, and short enough for several in a claim
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Strict):
    """One statement about a user.

    Args:
        text: One line, at most 240 characters, in the third person.
        evidence: Ids of the evidence it rests on, at least one.
        confidence: In [0, 1].
    """

    text: Line
    evidence: Annotated[tuple[EvidenceId, ...], Field(min_length=1, max_length=12)]
    confidence: Share


class Taste(Claim):
    """A claim about one facet of visual taste (palette, subject, ...)."""

    facet: Annotated[str, Field(pattern=FACET_PATTERN)]


class Trait(Claim):
    """A claim about how the user comes across; `name` is a single word such as warmth."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z_ ]{0,30}$")]


class Demographic(_Strict):
    """What a user states of themselves, as a band: `age` 25-34, `region` Western Europe.

    Taken from the evidence as it stands, never written by a verbalizer.
    """

    kind: Literal["age", "region"]
    value: Annotated[str, Field(pattern=r"^[A-Za-z0-9+ \-]{2,30}$")]
    evidence: Annotated[tuple[EvidenceId, ...], Field(min_length=1, max_length=1)]


class Persona(_Strict):
    """One user in words.

    Args:
        summary: 2 to 4 sentences.
        interests: What the user attends to.
        aesthetic: Visual taste, by facet.
        affect: How the user comes across.
        confidence: Of the persona as a whole, in [0, 1].
    """

    summary: Annotated[str, Field(pattern=r"^[^\r\n<>{}|`\\]{1,900}$")]
    interests: Annotated[tuple[Claim, ...], Field(max_length=12)]
    aesthetic: Annotated[tuple[Taste, ...], Field(max_length=12)]
    affect: Annotated[tuple[Trait, ...], Field(max_length=8)]
    confidence: Share
    # Empty unless switched on; not in the docstring, for models are shown that with the schema.
    demographics: Annotated[tuple[Demographic, ...], Field(max_length=2)] = ()

    @field_validator("summary")
    @classmethod
    def _few_sentences(cls, summary: str) -> str:
        count = num_sentences(summary)
        if not MIN_SUMMARY_SENTENCES <= count <= MAX_SUMMARY_SENTENCES:
            raise ValueError(
                f"summary has {count} sentences; expected "
                f"{MIN_SUMMARY_SENTENCES} to {MAX_SUMMARY_SENTENCES}"
            )
        return summary

    def claims(self) -> Iterator[Claim]:
        """All claims: interests, then aesthetic, then affect."""
        yield from self.interests
        yield from self.aesthetic
        yield from self.affect

    def texts(self) -> Iterator[str]:
        """The summary, then the text of every claim."""
        yield self.summary
        for claim in self.claims():
            yield claim.text

    def labels(self) -> Iterator[str]:
        """Facets of taste and names of traits: words of a verbalizer, too."""
        yield from (taste.facet for taste in self.aesthetic)
        yield from (trait.name for trait in self.affect)


def num_sentences(text: str) -> int:
    """Sentences in `text`, by their ends; a text without an end counts as one."""
    ends = len(_SENTENCE_END.findall(text.strip()))
    return ends if ends and _SENTENCE_END.search(text.strip()[-3:]) else ends + 1


def unknown_evidence(persona: Persona, evidence_ids: Collection[str]) -> list[str]:
    """Cited ids that the user does not have, in order of citation, without repeats."""
    known = set(evidence_ids)
    cited = (id_ for claim in persona.claims() for id_ in claim.evidence)
    return list(dict.fromkeys(id_ for id_ in cited if id_ not in known))


def persona_json_schema() -> dict[str, Any]:
    """JSON schema of what a model writes of a `Persona`: every property required, none additional.

    Demographics are no part of it.
    """
    schema = Persona.model_json_schema()
    del schema["properties"]["demographics"], schema["$defs"]["Demographic"]
    return schema
