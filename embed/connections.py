"""Connections to judged addresses, a pool a host, and the addresses of hosts for a while."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from embed.addresses import DEFAULT_PORTS, IpAddress, Lookup, Target

MAX_POOLS = 128


class CachedLookup:
    """A lookup that asks once for all requests to a host, and again after `ttl_s` or a failure."""

    def __init__(self, lookup: Lookup, ttl_s: float) -> None:
        self._lookup = lookup
        self._ttl_s = ttl_s
        self._known: dict[tuple[str, int], tuple[float, asyncio.Future[list[IpAddress]]]] = {}

    async def __call__(self, host: str, port: int) -> list[IpAddress]:
        """Addresses, or what the lookup raised."""
        until, answer = self._known.get((host, port), (0.0, None))
        if answer is None or time.monotonic() >= until or _has_failed(answer):
            answer = asyncio.ensure_future(self._lookup(host, port))
            self._known[host, port] = time.monotonic() + self._ttl_s, answer
        # Shielded: one request's timeout is not that of the others who wait for the same answer.
        return await asyncio.shield(answer)


def _has_failed(answer: asyncio.Future[list[IpAddress]]) -> bool:
    return answer.cancelled() or (answer.done() and answer.exception() is not None)


@dataclass
class _Pool:
    client: httpx.AsyncClient
    users: int = 0


class Pools:
    """HTTP clients by host: pools know connections by address, and one address serves many hosts
    whose certificates differ.

    Args:
        tls: Certificates to trust.
        headers: Sent with every request.
        timeout: Of connecting, and of silence while a body arrives.
    """

    def __init__(
        self, tls: ssl.SSLContext, headers: dict[str, str], timeout: httpx.Timeout
    ) -> None:
        self._tls = tls
        self._headers = headers
        self._timeout = timeout
        self._pools: OrderedDict[str, _Pool] = OrderedDict()

    @asynccontextmanager
    async def get(self, target: Target, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The response of the judged address to a request for the target's url; its body unread."""
        pool = self._pool(target)
        pool.users += 1
        try:
            async with pool.client.stream(
                "GET",
                address_url(target),
                headers={"Host": host_header(target), **headers},
                extensions={"sni_hostname": target.host},
            ) as response:
                yield response
        finally:
            pool.users -= 1
            await self._close_idle()

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.client.aclose()

    def _pool(self, target: Target) -> _Pool:
        if target.origin not in self._pools:
            self._pools[target.origin] = _Pool(
                httpx.AsyncClient(
                    verify=self._tls,
                    trust_env=False,
                    follow_redirects=False,
                    timeout=self._timeout,
                    limits=httpx.Limits(max_connections=None),
                    headers=self._headers,
                )
            )
        self._pools.move_to_end(target.origin)
        return self._pools[target.origin]

    async def _close_idle(self) -> None:
        """A crawl meets more hosts than it can hold connections to."""
        while len(self._pools) > MAX_POOLS:
            idle = next((name for name, pool in self._pools.items() if not pool.users), None)
            if idle is None:
                return
            await self._pools.pop(idle).client.aclose()


def address_url(target: Target) -> str:
    """The url with its host replaced by the judged address."""
    parts = urlsplit(target.url)
    address = f"[{target.address}]" if target.address.version == 6 else str(target.address)
    return parts._replace(netloc=f"{address}:{target.port}", fragment="").geturl()


def host_header(target: Target) -> str:
    """The host as its server knows it: with the port only if it is not the scheme's."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == DEFAULT_PORTS[target.scheme] else f"{host}:{target.port}"
