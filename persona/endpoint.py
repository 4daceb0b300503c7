"""The endpoint verbalizer: evidence in, personas out, by any OpenAI-compatible server.

One request a user, one repair, then a named failure. Rate limits, server errors, time-outs and
broken connections shrink the window of requests and are asked again (`persona.pacing`), as
Retry-After says where it does. When nothing is answered for longer than our patience,
`EndpointError` pauses the step, for the server is at fault and no user.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from persona.config import PATIENCE_S, VerbalizeConfig
from persona.errors import EndpointError
from persona.items import UserEvidence
from persona.pacing import HopelessError, Pacing, TransientError
from persona.prompts import Message, persona_messages
from persona.replies import T, converse, read_reply, unfenced
from persona.rewrite import Rewrite, read_rewrite, rewrite_messages, rewrite_schema
from persona.schema import Persona, persona_json_schema
from persona.verbalizer import Failed, Failure, Outcome
from pipelines.contract import ConfigError

TIMEOUT_S = 120.0
CLIENT_REQUESTS = 16  # of one client: it looks through all its connections at every request
TRANSIENT = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))  # HTTP statuses
BUSY = frozenset((429, 503, 529))
MAX_REFUSED_AT_START = 10  # as many refused requests with no reply at all: not the users' fault

_TOO_LONG = ("context length", "context_length", "maximum context", "too many tokens", "too long")


def _response_format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    told = {"name": name, "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": told}


PERSONA_FORMAT = _response_format("persona", persona_json_schema())
_REWRITE_FORMAT = _response_format("rewritten", rewrite_schema())


class NoCompletionError(Exception):
    """Success by its status, but no completion: a gateway's page, or the error of one behind it."""


class EndpointVerbalizer:
    """`Verbalizer` over HTTP.

    Args:
        clients: Asked by turns; they retry nothing themselves.
        config: Model, limits, seed.
        max_in_flight: Requests under way at once, at most.
        patience_s: How long the server may answer nothing.
    """

    def __init__(
        self,
        clients: Sequence[AsyncOpenAI],
        config: VerbalizeConfig,
        max_in_flight: int,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._clients, self._turns = clients, cycle(clients)
        self._config = config
        self._pacing = Pacing(max_in_flight, patience_s)
        self._spent: Counter[str] = Counter()
        self._answered = 0
        self._refused = 0

    @classmethod
    def connect(
        cls, config: VerbalizeConfig, max_in_flight: int, patience_s: float = PATIENCE_S
    ) -> EndpointVerbalizer:
        """A verbalizer with clients of its own.

        Raises:
            ConfigError: The key file is not there or empty.
        """
        key = _read_key(config.api_key_file)
        clients = [
            AsyncOpenAI(base_url=config.base_url, api_key=key, max_retries=0, timeout=TIMEOUT_S)
            for _ in range(-(-max_in_flight // CLIENT_REQUESTS))
        ]
        return cls(clients, config, max_in_flight, patience_s)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._config.model

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        """One outcome for each user, in order.

        Raises:
            EndpointError: The server does not serve; holds the outcomes of those it answered.
        """
        asked = [asyncio.ensure_future(self._verbalize(user)) for user in users]
        try:
            return list(await asyncio.gather(*asked))
        except EndpointError as error:
            for one in asked:
                one.cancel()
            told = await asyncio.gather(*asked, return_exceptions=True)
            error.outcomes = [None if isinstance(o, BaseException) else o for o in told]
            raise

    def spent(self) -> dict[str, int]:
        """Requests, retries, repairs and tokens since this was last asked."""
        spent = dict(self._spent) | {"retries": self._pacing.retries}
        self._spent.clear()
        self._pacing.retries = 0
        return spent

    async def close(self) -> None:
        """Close the connections, while the event loop still runs."""
        for client in self._clients:
            await client.close()

    async def _verbalize(self, user: UserEvidence) -> Outcome:
        messages = persona_messages(user)
        return await self._converse(messages, PERSONA_FORMAT, lambda reply: read_reply(reply, user))

    async def rewrite(self, prompt: str, persona: Persona) -> Rewrite | Failed:
        """A prompt in the role of a persona.

        Raises:
            EndpointError: The server does not serve.
        """
        messages = rewrite_messages(prompt, persona)
        return await self._converse(
            messages,
            _REWRITE_FORMAT,
            lambda reply: read_rewrite(unfenced(reply), prompt, persona),
        )

    async def _converse(
        self, messages: list[Message], form: dict[str, Any], read: Callable[[str], T | Failed]
    ) -> T | Failed:
        return await converse(messages, lambda asked: self._ask(asked, form), read, self._spent)

    async def _ask(
        self, messages: list[Message], form: dict[str, Any]
    ) -> tuple[str, Failed | None]:
        """(reply, None), or what the server says is wrong with this one request."""
        try:
            completion = await self._pacing.run(lambda: self._request(messages, form))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            return "", self._refusal(error)
        except HopelessError as error:
            return "", Failed(Failure.UNANSWERED, f"{error}, while others were answered")
        except (openai.APIError, TransientError) as error:
            cause = error.__cause__ if isinstance(error, TransientError) else error
            raise EndpointError(
                f"base_url={self._config.base_url!r}, model={self._config.model!r}: "
                f"{type(cause).__name__} ({_status(cause)}) after {self._pacing.retries} retries; "
                "see that the server is up and the key and model are right, then run again"
            ) from error
        self._answered += 1
        choice = completion.choices[0]
        reply = choice.message.content or ""
        if choice.finish_reason == "length":
            return reply, Failed(Failure.TRUNCATED, "the reply was cut off; be shorter")
        if choice.finish_reason == "content_filter" or choice.message.refusal:
            return reply, Failed(Failure.REFUSED, "the model refused")
        return reply, None

    async def _request(self, messages: list[Message], form: dict[str, Any]) -> ChatCompletion:
        body = {
            "model": self._config.model,
            "messages": messages,
            "response_format": form,
            "max_tokens": self._config.max_output_tokens,
            "temperature": self._config.temperature,
            "seed": self._config.seed,
        }
        self._spent["requests"] += 1
        try:
            # Not `chat.completions.create`, which walks through the whole schema every time.
            completion = await next(self._turns).post(
                "/chat/completions", body=body, cast_to=ChatCompletion
            )
        except openai.APIStatusError as error:
            if error.status_code in TRANSIENT:
                is_busy = error.status_code in BUSY
                after_s = retry_after_s(error.response.headers)
                raise TransientError(after_s, is_busy=is_busy) from error
            raise
        # ValueError: a body that is no JSON, cut off by a proxy.
        except (openai.APIConnectionError, openai.APIResponseValidationError, ValueError) as error:
            raise TransientError from error
        if not _is_completion(completion):
            raise TransientError from NoCompletionError()
        if completion.usage is not None:
            self._spent["input_tokens"] += completion.usage.prompt_tokens
            self._spent["output_tokens"] += completion.usage.completion_tokens
        return completion

    def _refusal(self, error: openai.APIStatusError) -> Failed:
        """One request the server will not take, unless it has taken none so far."""
        self._refused += 1
        if not self._answered and self._refused >= MAX_REFUSED_AT_START:
            raise EndpointError(
                f"base_url={self._config.base_url!r}: the first {self._refused} requests were all "
                f"refused ({_status(error)}); see that the model takes response_format json_schema"
            ) from error
        if any(mark in str(error).lower() for mark in _TOO_LONG):
            return Failed(Failure.TOO_LONG, "evidence is longer than the model's context")
        return Failed(Failure.REFUSED, f"the server refused the request ({_status(error)})")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """When a server asks to be asked again, in seconds; None if it does not say, or says a date."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit_s)
        except (KeyError, ValueError):
            continue
    return None


def _is_completion(answer: Any) -> bool:
    """Whether an answer holds a message; the client takes any JSON, or text, for a completion."""
    choices = getattr(answer, "choices", None) or [None]
    return getattr(choices[0], "message", None) is not None


def _status(error: BaseException | None) -> str:
    return f"HTTP {error.status_code}" if isinstance(error, openai.APIStatusError) else "no reply"


def _read_key(path: str) -> str:
    if not path:
        return "none"
    if not Path(path).is_file():
        raise ConfigError(f"api_key_file={path!r}: no such file; name the file with the key")
    key = Path(path).read_text("utf-8").strip()
    if not key:
        raise ConfigError(f"api_key_file={path!r}: empty; expected the endpoint's key")
    return key
