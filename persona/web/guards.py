"""What stands before every route: keys, rates, body sizes, security headers, counts. Plain ASGI."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from persona.web.metrics import Metrics

Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Any]
Rate = Callable[[str], Awaitable[float]]
"""Of a caller: 0 if it may go on now, else seconds until it may."""

# The page has one script and one style sheet of its own, and shows images it fetched with its key.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
OPEN_PATHS = frozenset(("/", "/page.js", "/page.css", "/healthz", "/metrics", "/openapi.json"))
MAX_REMEMBERED = 100_000
BODY_S = 30.0


class RateLimit:
    """Token buckets, one a caller.

    Args:
        per_s: Requests a second that a bucket regains.
        burst: Requests that it holds.
        now: Clock in seconds; never goes back.
    """

    def __init__(self, per_s: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._now = per_s, float(burst), now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """0 if the caller may go on now (and a token is taken), else seconds until it may."""
        return self.take(caller, 1)[1]

    def take(self, caller: str, most: int) -> tuple[int, float]:
        """Tokens taken for the caller, at most so many, and seconds until there is one if none."""
        now = self._now()
        tokens, then = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._per_s)
        taken = min(int(tokens), most)
        self._buckets[caller] = (tokens - taken, now)
        if len(self._buckets) > MAX_REMEMBERED:
            self._buckets.popitem(last=False)
        return taken, 0.0 if taken else (1.0 - tokens) / self._per_s

    async def __call__(self, caller: str) -> float:
        """`wait_s`, as a `Rate`."""
        return self.wait_s(caller)


class RefusedError(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, code: str, message: str, retry_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_s = status, code, message, retry_s


class Guard:
    """ASGI middleware around the whole app.

    Args:
        app: What is guarded.
        keys: API keys; none: everybody may ask.
        rate: Of one key, or of one address where there are no keys.
        max_body_bytes, max_in_flight: Limits.
        metrics: Counts what passes and what does not.
    """

    def __init__(
        self,
        app: App,
        *,
        keys: Collection[str],
        rate: Rate,
        max_body_bytes: int,
        max_in_flight: int,
        metrics: Metrics,
    ) -> None:
        self._app, self._rate, self._metrics = app, rate, metrics
        # Digests: looking a key up in a set takes a time that tells nothing about other keys.
        self._keys = frozenset(_digest(key) for key in keys)
        self._max_body_bytes, self._max_in_flight = max_body_bytes, max_in_flight
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sending(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        self._in_flight += 1
        try:
            await self._admit(scope)
            # What is open to everybody takes no body; waiting for one would hold a place of others.
            is_open = scope["path"] in OPEN_PATHS
            body = receive if is_open else await self._in_time(scope, receive)
            await self._app(scope, body, sending)
        except RefusedError as refused:
            await _answer(refused, sending)
        finally:
            self._in_flight -= 1
            self._metrics.request(scope, status, time.perf_counter() - started)

    async def _admit(self, scope: Scope) -> None:
        """Raises `RefusedError` where a limit is reached or the key is wrong."""
        if scope["path"] in OPEN_PATHS and scope["path"] not in ("/", "/openapi.json"):
            return
        if self._in_flight > self._max_in_flight:
            raise RefusedError(503, "overloaded", "too many requests are under way", retry_s=1)
        caller = str((scope.get("client") or ("-",))[0])
        if self._keys and scope["path"] not in OPEN_PATHS:
            caller = _digest(_key_of(scope))
            if caller not in self._keys:
                # Counted by address, so that keys cannot be tried without limit.
                caller = str((scope.get("client") or ("-",))[0])
                await self._limit(caller)
                told = "send an API key as `Authorization: Bearer KEY`"
                raise RefusedError(401, "unauthorized", told)
        await self._limit(caller)

    async def _limit(self, caller: str) -> None:
        wait_s = await self._rate(caller)
        if wait_s:
            told = f"too many requests; come back in {wait_s:.2f} s"
            raise RefusedError(429, "too_many_requests", told, retry_s=wait_s)

    async def _in_time(self, scope: Scope, receive: Any) -> Any:
        """`_body`, unless the sender takes too long, who holds a place meanwhile."""
        try:
            async with asyncio.timeout(BODY_S):
                return await self._body(scope, receive)
        except TimeoutError as error:
            told = f"the body was not there after {BODY_S:.0f} s"
            raise RefusedError(408, "too_slow", told) from error

    async def _body(self, scope: Scope, receive: Any) -> Any:
        """The request's messages, read here until the end or the limit, to be received again."""
        length = dict(scope["headers"]).get(b"content-length", b"0")
        limit = self._max_body_bytes
        if not length.isdigit() or int(length) > limit:
            raise RefusedError(413, "too_long", f"the body is longer than {limit} bytes")
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return receive
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
            if size > limit:
                raise RefusedError(413, "too_long", f"the body is longer than {limit} bytes")
        whole = iter([{"type": "http.request", "body": b"".join(chunks), "more_body": False}])

        async def again() -> Any:
            return next(whole, None) or await receive()

        return again


async def _answer(refused: RefusedError, send: Any) -> None:
    problem = {"error": {"code": refused.code, "message": refused.message}}
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if refused.retry_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(refused.retry_s))).encode()))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _key_of(scope: Scope) -> str:
    headers = dict(scope["headers"])
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
