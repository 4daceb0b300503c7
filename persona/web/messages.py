"""Requests and answers of the API: what OpenAPI tells of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from persona.schema import FACET_PATTERN, Persona

MAX_TEXT_CHARS = 500
MAX_RESULTS = 100
MAX_DIM = 4096
MAX_SUBREDDITS = 200
MAX_IMAGES = 8
MAX_PROMPT_CHARS = 2000
MAX_COUNT = 1_000_000
# From 2005, when there were no subreddits yet, to 2100.
MIN_UTC, MAX_UTC = 1_104_537_600, 4_102_444_800

UserId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["aaaaaaaaaaaaaaaa"])]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]


class Message(BaseModel):
    """Unknown fields are refused, so that a misspelt one is never passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Message):
    """What is wrong with a request, or why it cannot be answered."""

    code: Annotated[str, Field(examples=["unknown_user"])]
    message: str


class ErrorAnswer(Message):
    """Body of every answer with a status of 400 or above."""

    error: Problem


class Filters(Message):
    """What the users found must have."""

    facets: Annotated[
        dict[
            Annotated[str, Field(pattern=FACET_PATTERN)],
            Annotated[str, Field(min_length=1, max_length=40)],
        ],
        Field(max_length=8, description="Stated taste by facet", examples=[{"palette": "neon"}]),
    ] = {}
    verbalizer: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class SearchRequest(Message):
    """Words, a vector, or both."""

    text: Annotated[str, Field(max_length=MAX_TEXT_CHARS, examples=["neon cats"])] | None = None
    vector: Annotated[list[float], Field(min_length=1, max_length=MAX_DIM)] | None = None
    by: Annotated[
        Literal["text", "vector", "both"],
        Field(description="Full text; CLIP of the words, or the vector; or both, by rank"),
    ] = "both"
    space: Annotated[
        Literal["clip", "users"], Field(description="What `vector` is: of CLIP, or a user's z_u")
    ] = "clip"
    filters: Filters = Filters()
    k: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = 10


class FoundUser(Message):
    """One search result; scores are comparable within one answer only."""

    user_id: str
    summary: str
    score: float


class SearchAnswer(Message):
    """Best first."""

    results: list[FoundUser]


class EvidenceItem(Message):
    """One thing that claims may cite."""

    evidence_id: str
    kind: str
    subreddit: str | None
    facet: str | None
    text: str
    weight: float
    inferred: bool


class PersonaAnswer(Message):
    """One user's persona with its evidence.

    Evidence is of the newest run alone: older runs keep no evidence.
    """

    user_id: str
    persona: Persona
    evidence: list[EvidenceItem]
    confidence: float
    verbalizer: str
    run_version: str
    made_utc: int


class PastPersona(Message):
    """A persona as one run wrote it; `summary` is null where the run no longer had the user."""

    run_version: str
    made_utc: int
    summary: str | None
    verbalizer: str | None


class HistoryAnswer(Message):
    """Oldest first."""

    user_id: str
    history: list[PastPersona]


class ActiveIn(Message):
    """What a new user did in one subreddit; counts that nobody knows may stay as they are."""

    name: Annotated[str, Field(pattern=r"^(?:/?r/)?[A-Za-z0-9_][A-Za-z0-9_.\-]{0,49}$")]
    submissions: Count = 0
    comments: Count = 3
    last_utc: Annotated[int, Field(ge=MIN_UTC, le=MAX_UTC)] | None = None


class NewUserRequest(Message):
    """A user that no run has seen."""

    subreddits: Annotated[
        list[ActiveIn], Field(min_length=1, max_length=MAX_SUBREDDITS, description="Each once")
    ]
    images: Annotated[
        list[Annotated[str, Field(max_length=4 << 20)]],
        Field(max_length=MAX_IMAGES, description="JPEG, PNG, ... in base64"),
    ] = []


class NewUserAnswer(Message):
    """Nothing of a new user is stored."""

    persona: Persona
    evidence: list[EvidenceItem]
    attention: Annotated[dict[str, float], Field(description="Share by subreddit; sums to 1")]
    unknown_subreddits: list[str]
    similar: list[FoundUser]


class RewriteRequest(Message):
    """A prompt of an image generator, to be put in the role of a persona."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS)]
    user_id: UserId | None = None
    persona: Persona | None = None
    rewriter: Annotated[
        Literal["grounded", "model"],
        Field(description="By rule, or by the model that the server was given"),
    ] = "grounded"


class RewriteAnswer(Message):
    """The new prompt, and the evidence that what was added rests on."""

    prompt: str
    evidence: list[str]
    rewriter: str


class Health(Message):
    """The server is up, and has this many personas."""

    status: Literal["ok"]
    personas: int


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": told}
    for status, told in {
        400: "The request is not well formed",
        401: "No API key, or a wrong one",
        408: "The body did not come in time",
        413: "The body is too long",
        422: "A value is wrong",
        429: "Too many requests; Retry-After says when to come back",
        503: "Overloaded, or a part of the server is not there",
    }.items()
}
