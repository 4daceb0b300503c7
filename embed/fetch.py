"""Bytes of images over HTTP: polite, bounded, and safe against hostile urls.

Every request goes to an address that was judged before (`embed.addresses`), every redirect is
judged again, and whatever happens ends in one `Outcome`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from embed.addresses import DEFAULT_PORTS, Target, resolve
from embed.outcomes import Outcome, outcome_of_status

T = TypeVar("T")

USER_AGENT = "tastegraph"
ACCEPT = "image/avif,image/webp,image/png,image/jpeg,image/gif,image/*;q=0.8"
OPT_OUT_DIRECTIVES = frozenset({"noai", "noimageai"})
# Imgur answers a removed image with a redirect to, or the body of, this placeholder of 503 bytes.
REMOVED_MD5 = frozenset({"d835884373f4d6c8f24742ceabe74946"})
REMOVED_PATHS = frozenset({"/removed.png"})
_NOT_PICTURES = ("text/html", "application/xhtml", "application/json", "video/", "audio/")
_RETRIED = frozenset(
    {Outcome.CONNECTION_FAILED, Outcome.TIMEOUT, Outcome.RATE_LIMITED, Outcome.SERVER_ERROR}
)


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """Bounds of every fetch.

    Args:
        max_bytes: Bodies are cut off here and refused.
        timeout_s: For one request, from resolving the name to the last byte.
        attempts: Requests for one url, the first included, when the failure may pass.
        backoff_s: Pause before the second attempt; doubles with each more.
        max_wait_s: No pause is longer; a host that asks for more is left alone.
        max_redirects: Redirects followed.
        per_host: Requests under way to one host.
        in_flight: Requests under way in all.
        allowed_private: `host:port` pairs exempt from the refusal of private addresses.
    """

    max_bytes: int = 30_000_000
    timeout_s: float = 20.0
    attempts: int = 3
    backoff_s: float = 0.5
    max_wait_s: float = 30.0
    max_redirects: int = 5
    per_host: int = 8
    in_flight: int = 64
    allowed_private: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The answer for one url: `content` is empty unless `outcome` is `OK`."""

    outcome: Outcome
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """One response, or the failure to get one; `location` and `retry_after_s` where it had them."""

    fetched: Fetched
    location: str | None = None
    retry_after_s: float | None = None


def _failed(outcome: Outcome, retry_after_s: float | None = None) -> _Answer:
    return _Answer(fetched=Fetched(outcome=outcome), retry_after_s=retry_after_s)


class Fetcher:
    """Fetches urls; one connection pool a host, shared by all calls until closed.

    Args:
        limits: Bounds.
        tls: Certificates to trust; the machine's if None.
    """

    def __init__(self, limits: FetchLimits, tls: ssl.SSLContext | None = None) -> None:
        self._limits = limits
        self._tls = tls or ssl.create_default_context()
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._in_flight = asyncio.Semaphore(limits.in_flight)

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def fetch_all(self, urls: Sequence[str], finish: Callable[[Fetched], T]) -> list[T]:
        """`finish(answer)` for each of `urls`, in their order.

        `finish` runs in a thread as soon as its body is there and before another is asked for, so
        that no more than `in_flight` bodies are held at once.
        """

        async def one(url: str) -> T:
            async with self._in_flight:
                return await asyncio.to_thread(finish, await self.fetch(url))

        return list(await asyncio.gather(*(one(url) for url in urls)))

    async def fetch(self, url: str) -> Fetched:
        """The body behind `url` or the class of what went wrong; retries what may pass."""
        fetched = Fetched(outcome=Outcome.CONNECTION_FAILED)
        for attempt in range(self._limits.attempts):
            fetched, asked_s = await self._follow(url, attempt)
            if fetched.outcome not in _RETRIED or attempt + 1 == self._limits.attempts:
                break
            pause_s = pause_before(url, attempt, self._limits.backoff_s)
            pause_s = max(pause_s, asked_s or 0.0)
            if pause_s > self._limits.max_wait_s:
                break
            await asyncio.sleep(pause_s)
        return fetched

    async def _follow(self, url: str, attempt: int) -> tuple[Fetched, float | None]:
        """One attempt over all its redirects, with the pause that the last host asked for."""
        for _ in range(self._limits.max_redirects + 1):
            target = await self._resolve(url, attempt)
            if isinstance(target, Outcome):
                return Fetched(outcome=target), None
            per_host = self._limits.per_host
            async with self._turns.setdefault(target.host, asyncio.Semaphore(per_host)):
                answer = await self._request(target)
            if answer.location is None:
                return answer.fetched, answer.retry_after_s
            onward = redirected(url, answer.location)
            if isinstance(onward, Outcome):
                return Fetched(outcome=onward), None
            url = onward
        return Fetched(outcome=Outcome.TOO_MANY_REDIRECTS), None

    async def _resolve(self, url: str, attempt: int) -> Target | Outcome:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await resolve(url, self._limits.allowed_private, attempt)
        except TimeoutError:
            return Outcome.TIMEOUT

    async def _request(self, target: Target) -> _Answer:
        try:
            async with (
                asyncio.timeout(self._limits.timeout_s),
                self._client(target).stream(
                    "GET",
                    address_url(target),
                    headers={"Host": _host_header(target)},
                    extensions={"sni_hostname": target.host},
                ) as response,
            ):
                return await self._read(response)
        except (TimeoutError, httpx.TimeoutException):
            return _failed(Outcome.TIMEOUT)
        except (httpx.TransportError, ssl.SSLError, OSError):
            return _failed(Outcome.CONNECTION_FAILED)
        except (httpx.InvalidURL, UnicodeError):
            return _failed(Outcome.BAD_URL)

    async def _read(self, response: httpx.Response) -> _Answer:
        outcome = outcome_of_status(response.status_code)
        if response.has_redirect_location:
            return _Answer(fetched=Fetched(outcome=outcome), location=response.headers["location"])
        if outcome is not Outcome.OK:
            return _failed(outcome, retry_after_s(response.headers))
        if opted_out(response.headers.get_list("x-robots-tag")):
            return _failed(Outcome.OPTED_OUT)
        if response.headers.get("content-type", "").lower().startswith(_NOT_PICTURES):
            return _failed(Outcome.NOT_IMAGE)
        content = bytearray()
        # Raw: a compressed body would be counted only after it was inflated.
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > self._limits.max_bytes:
                return _failed(Outcome.TOO_LARGE)
        return _Answer(fetched=judge_body(bytes(content)))

    def _client(self, target: Target) -> httpx.AsyncClient:
        # A pool a host: pools know connections by address, and one address serves many hosts whose
        # certificates differ.
        if target.origin not in self._clients:
            self._clients[target.origin] = httpx.AsyncClient(
                verify=self._tls,
                trust_env=False,
                follow_redirects=False,
                timeout=self._limits.timeout_s,
                limits=httpx.Limits(max_connections=self._limits.per_host),
                headers={
                    "User-Agent": USER_AGENT,
                    "Accept": ACCEPT,
                    "Accept-Encoding": "identity",
                },
            )
        return self._clients[target.origin]


def redirected(url: str, location: str) -> str | Outcome:
    """Where a redirect leads: a url, `REMOVED` for a known placeholder, or `BAD_URL`."""
    try:
        onward = urljoin(url, location)
        return Outcome.REMOVED if urlsplit(onward).path in REMOVED_PATHS else onward
    except ValueError:
        return Outcome.BAD_URL


def judge_body(content: bytes) -> Fetched:
    """A body that came with success: `EMPTY`, `REMOVED` for a known placeholder, else `OK`."""
    if not content:
        return Fetched(outcome=Outcome.EMPTY)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() in REMOVED_MD5:
        return Fetched(outcome=Outcome.REMOVED)
    return Fetched(outcome=Outcome.OK, content=content)


def judge_archived(http_status: int, content: bytes, max_bytes: int) -> Fetched:
    """An archived answer under the rules that a fresh one is judged by."""
    outcome = outcome_of_status(http_status)
    if outcome is not Outcome.OK:
        return Fetched(outcome=outcome)
    return Fetched(outcome=Outcome.TOO_LARGE) if len(content) > max_bytes else judge_body(content)


def opted_out(robots_tags: Iterable[str]) -> bool:
    """Whether X-Robots-Tag headers forbid use by machine learning, for all crawlers or this one."""
    for header in robots_tags:
        crawler = ""
        for part in header.lower().split(","):
            name, colon, directive = part.strip().rpartition(":")
            # "unavailable_after: DATE" has a colon and names no crawler.
            if colon and not name.startswith("unavailable_after"):
                crawler = name.strip()
            if crawler in {"", "*", USER_AGENT} and directive.strip() in OPT_OUT_DIRECTIVES:
                return True
    return False


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for; a date counts from the answer's own `Date`."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        sent = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - sent).total_seconds())
    except (ValueError, TypeError):
        return None


def pause_before(url: str, attempt: int, backoff_s: float) -> float:
    """Seconds to wait after failed attempt `attempt` (from 0): doubling, spread by a hash."""
    digest = hashlib.blake2b(f"{attempt}:{url}".encode(), digest_size=4).digest()
    spread = int.from_bytes(digest, "big") / 2**32
    return float(backoff_s * 2**attempt * (0.5 + spread))


def address_url(target: Target) -> str:
    """The url with its host replaced by the judged address."""
    parts = urlsplit(target.url)
    address = f"[{target.address}]" if target.address.version == 6 else str(target.address)
    return parts._replace(netloc=f"{address}:{target.port}", fragment="").geturl()


def _host_header(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == DEFAULT_PORTS[target.scheme] else f"{host}:{target.port}"
