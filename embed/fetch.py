"""Bytes of images over HTTP: polite, bounded, and safe against hostile urls.

Every request goes to an address that was judged before (`embed.addresses`), every redirect is
judged again, each host is asked within its limits (`embed.hosts`), and whatever happens ends in one
`Outcome`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar
from uuid import uuid4

import httpx

from embed.addresses import Lookup, Target, parse_url, resolve, system_lookup
from embed.answers import (
    USER_AGENT,
    Fetched,
    judge_body,
    judge_headers,
    pause_before,
    redirected,
    retry_after_s,
)
from embed.connections import CachedLookup, Pools
from embed.hosts import Host, Hosts
from embed.outcomes import Outcome, outcome_of_status
from embed.permits import IDLE_S, POLL_S

T = TypeVar("T")

NOT_MODIFIED = 304
LOOKUP_THREADS = 16
ACCEPT = "image/avif,image/webp,image/png,image/jpeg,image/gif,image/*;q=0.8"
_RETRIED = frozenset(
    {Outcome.CONNECTION_FAILED, Outcome.TIMEOUT, Outcome.RATE_LIMITED, Outcome.SERVER_ERROR}
)


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """Bounds of every fetch.

    Args:
        max_bytes: Bodies are cut off here and refused.
        timeout_s: For one request, from connecting to the last byte.
        connect_s: For finding the address, and for connecting.
        read_s: Of silence while an answer is awaited or arrives.
        attempts: Requests for one url, the first included, when the failure may pass.
        backoff_s: Pause before the second attempt; doubles with each more, spread by the seed.
        seed: Of the spread of pauses.
        max_wait_s: No pause is longer; a host that asks for more is left alone.
        max_redirects: Redirects followed.
        in_flight: Requests under way in all, and bodies held.
        lookup_ttl_s: Addresses of a host are looked up again after this.
        allowed_private: `host:port` pairs exempt from the refusal of private addresses.
    """

    max_bytes: int = 30_000_000
    timeout_s: float = 20.0
    connect_s: float = 5.0
    read_s: float = 10.0
    attempts: int = 3
    backoff_s: float = 0.5
    seed: int = 0
    max_wait_s: float = 30.0
    max_redirects: int = 5
    in_flight: int = 64
    lookup_ttl_s: float = 60.0
    allowed_private: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """One response, or the failure to get one; `location` and `retry_after_s` where it had them."""

    fetched: Fetched
    location: str | None = None
    retry_after_s: float | None = None


def _failed(outcome: Outcome, http_status: int = 0, retry_after_s: float | None = None) -> _Answer:
    fetched = Fetched(outcome=outcome, http_status=http_status)
    return _Answer(fetched=fetched, retry_after_s=retry_after_s)


class Fetcher:
    """Fetches urls; connections are shared by all calls until closed.

    Args:
        limits: Bounds of each request.
        hosts: Bounds on each host, and what is known of it; give the same to the next fetcher.
        tls: Certificates to trust; the machine's if None.
        lookup: Finds the addresses of a host; the machine's if None.
    """

    def __init__(
        self,
        limits: FetchLimits,
        hosts: Hosts | None = None,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        self._limits = limits
        self._hosts = hosts or Hosts()
        # Of their own: lookups that hang would hold up `finish`, and the end of the event loop.
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")
        lookup = lookup or partial(system_lookup, pool=self._lookups)
        self._lookup = CachedLookup(lookup, limits.lookup_ttl_s)
        headers = {"User-Agent": USER_AGENT, "Accept": ACCEPT, "Accept-Encoding": "identity"}
        timeout = httpx.Timeout(limits.read_s, connect=limits.connect_s)
        self._pools = Pools(tls or ssl.create_default_context(), headers, timeout)
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._in_flight = asyncio.Semaphore(limits.in_flight)

    async def close(self) -> None:
        """Close all connections, and wait for no lookup."""
        self._lookups.shutdown(wait=False, cancel_futures=True)
        await self._pools.close()

    async def fetch_all(
        self,
        urls: Sequence[str],
        finish: Callable[[Fetched], T],
        held: Mapping[str, Fetched] | None = None,
    ) -> list[T]:
        """`finish(answer)` for each of `urls`, in their order.

        `finish` runs in a thread as soon as its body is there and before another is asked for, so
        that no more than `in_flight` bodies are held at once.

        Args:
            urls: Untrusted.
            finish: What to make of an answer.
            held: What is known of urls whose bodies are here: they are asked for only if they have
                changed, else the answer is `OK` with status 304 and no content.
        """

        async def one(url: str) -> T:
            fetched = await self._fetch(url, (held or {}).get(url))
            try:
                return await asyncio.to_thread(finish, fetched)
            finally:
                self._let_go(fetched)

        return list(await asyncio.gather(*(one(url) for url in urls)))

    async def fetch(self, url: str, held: Fetched | None = None) -> Fetched:
        """The body behind `url` or the class of what went wrong; retries what may pass."""
        fetched = await self._fetch(url, held)
        self._let_go(fetched)
        return fetched

    async def _fetch(self, url: str, held: Fetched | None) -> Fetched:
        """As `fetch`; an answer with a body still holds its place in flight."""
        fetched = Fetched(outcome=Outcome.CONNECTION_FAILED)
        attempt = 0
        while attempt < self._limits.attempts:
            answer, host = await self._follow(url, attempt, held)
            fetched = answer.fetched
            if fetched.outcome not in _RETRIED or host is None or host.is_given_up(_now()):
                break
            pause_s = pause_before(url, attempt, self._limits.backoff_s, self._limits.seed)
            pause_s = max(pause_s, answer.retry_after_s or 0.0)
            # What fails while a host is silent is not the fault of the image.
            attempt += not host.closed_for(_now())
            if pause_s > self._limits.max_wait_s or attempt == self._limits.attempts:
                break
            await asyncio.sleep(pause_s)
        return fetched

    def _let_go(self, fetched: Fetched) -> None:
        if fetched.content:
            self._in_flight.release()

    async def _follow(
        self, url: str, attempt: int, held: Fetched | None
    ) -> tuple[_Answer, Host | None]:
        """One attempt over all its redirects, and the host that it ended at."""
        host = None
        for _ in range(self._limits.max_redirects + 1):
            parsed = parse_url(url)
            if parsed is None:
                return _failed(Outcome.BAD_URL), host
            name, host = parsed[1], self._hosts[parsed[1]]
            async with self._turns.setdefault(name, asyncio.Semaphore(host.limits.at_once)):
                answer = await self._ask(url, attempt, host, held)
            if answer.location is None:
                return answer, host
            onward = redirected(url, answer.location)
            if isinstance(onward, Outcome):
                return _failed(onward, answer.fetched.http_status), host
            url = onward
        return _failed(Outcome.TOO_MANY_REDIRECTS), host

    async def _ask(self, url: str, attempt: int, host: Host, held: Fetched | None) -> _Answer:
        """One request when it is due; an answer with a body keeps its place in flight."""
        if refused := await self._reopened(host):
            return _failed(refused)
        target = await self._resolve(url, attempt)
        if isinstance(target, Outcome):
            if target in _RETRIED:
                host.note(_now(), answered=False)
            return _failed(target)
        permit, answer = uuid4().hex, None
        try:
            if refused := await self._take_place(host, permit):
                return _failed(refused)
            try:
                answer = await self._request(target, host, held)
            finally:
                if answer is None or not answer.fetched.content:
                    self._in_flight.release()
        finally:
            await self._hosts.asked(host, permit)
        if answer.retry_after_s is not None:
            host.hold(_now(), answer.retry_after_s)
        return answer

    async def _take_place(self, host: Host, permit: str) -> Outcome | None:
        """Wait until the host is due and hold a place in flight; or why it is not to be asked."""
        while not (refused := self._refused_by(host)):
            # Waiting for the host holds neither place nor permit: others are asked meanwhile.
            since, wait_s = _now(), POLL_S
            if await self._hosts.may_ask(host, permit):
                await self._in_flight.acquire()
                is_late = _now() - since > IDLE_S and host.limits.of_all
                wait_s = 0.0 if is_late else host.due_in(_now())
                if not is_late and not wait_s and not (refused := self._refused_by(host)):
                    return None
                self._in_flight.release()
                await self._hosts.asked(host, permit)
            await asyncio.sleep(wait_s)
        return refused

    async def _reopened(self, host: Host) -> Outcome | None:
        """Wait while a host is closed; or why it is not to be asked."""
        while not (refused := self._refused_by(host)):
            wait_s = host.closed_for(_now())
            if not wait_s:
                return None
            self._hosts.note_silence(host, _now(), time.time())
            await asyncio.sleep(wait_s)
        return refused

    def _refused_by(self, host: Host) -> Outcome | None:
        """Why a host is left alone at present, if it is."""
        if host.is_given_up(_now()):
            return Outcome.UNREACHABLE
        return Outcome.RATE_LIMITED if host.held_for(_now()) > self._limits.max_wait_s else None

    async def _resolve(self, url: str, attempt: int) -> Target | Outcome:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                return await resolve(url, self._limits.allowed_private, attempt, self._lookup)
        except TimeoutError:
            return Outcome.TIMEOUT

    async def _request(self, target: Target, host: Host, held: Fetched | None) -> _Answer:
        answered = False
        try:
            async with (
                asyncio.timeout(self._limits.timeout_s),
                self._pools.get(target, held.validators() if held else {}) as response,
            ):
                answered = True
                return await self._read(response, held)
        except (TimeoutError, httpx.TimeoutException):
            return _failed(Outcome.TIMEOUT)
        except (httpx.TransportError, ssl.SSLError, OSError):
            return _failed(Outcome.CONNECTION_FAILED)
        except (httpx.InvalidURL, UnicodeError):
            return _failed(Outcome.BAD_URL)
        finally:
            host.note(_now(), answered)

    async def _read(self, response: httpx.Response, held: Fetched | None) -> _Answer:
        status = response.status_code
        if response.has_redirect_location:
            fetched = Fetched(outcome=outcome_of_status(status), http_status=status)
            return _Answer(fetched=fetched, location=response.headers["location"])
        is_unchanged = status == NOT_MODIFIED and held is not None
        outcome = Outcome.OK if is_unchanged else outcome_of_status(status)
        if outcome is Outcome.OK:
            robots = response.headers.get_list("x-robots-tag")
            outcome = judge_headers(response.headers, robots, self._limits.max_bytes)
        if outcome is not Outcome.OK:
            return _failed(outcome, status, retry_after_s(response.headers))
        if held is not None and is_unchanged:
            return _Answer(fetched=replace(held, content=b"", http_status=status))
        content = bytearray()
        # Raw: a compressed body would be counted only after it was inflated.
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > self._limits.max_bytes:
                return _failed(Outcome.TOO_LARGE, status)
        return _Answer(
            fetched=replace(
                judge_body(bytes(content)),
                http_status=status,
                etag=response.headers.get("etag", ""),
                last_modified=response.headers.get("last-modified", ""),
            )
        )


def _now() -> float:
    return time.monotonic()
