"""Which address a url may be fetched from: hostile urls reach no private network.

The name is resolved once, every address is judged, and the caller connects to the judged address
itself, so that a second answer of the name server cannot lead elsewhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from embed.outcomes import Outcome

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# (host, port) -> its addresses; raises OSError or UnicodeError if it has none.
Lookup = Callable[[str, int], Awaitable[list[IpAddress]]]

DEFAULT_PORTS = {"http": 80, "https": 443}
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_PROTOCOL_IPV4 = ipaddress.IPv4Network("192.0.0.0/24")
# RFC 6052: the last 32 bits are an IPv4 address that a translator would connect to. In the prefix
# for local use, 64:ff9b:1::/48, it may lie elsewhere (RFC 8215), so nothing there is public.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to connect for a url: the judged address, and the name to greet it by.

    Args:
        url: As given.
        scheme: http or https.
        host: Host name in ASCII (IDNA) form, lower case.
        port: Explicit or the scheme's.
        address: Judged address.
    """

    url: str
    scheme: str
    host: str
    port: int
    address: IpAddress

    @property
    def origin(self) -> str:
        """`scheme://host:port`, the unit of politeness."""
        return f"{self.scheme}://{self.host}:{self.port}"


def parse_url(url: str) -> tuple[str, str, int] | None:
    """(scheme, ASCII host, port) of a fetchable url, or None.

    Credentials, other schemes, control characters and hosts that IDNA refuses are not fetchable.
    """
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in DEFAULT_PORTS or not host or "@" in parts.netloc:
        return None
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return None
    if port == 0:
        return None
    return parts.scheme, ascii_host.rstrip("."), port or DEFAULT_PORTS[parts.scheme]


def is_public(address: IpAddress) -> bool:
    """Whether an address is on the public internet; IPv6 forms of an IPv4 one are as that is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and address not in _PROTOCOL_IPV4
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    inner = [address.sixtofour, *(address.teredo or ())]
    if not all(is_public(embedded) for embedded in inner if embedded is not None):
        return False
    return address in _GLOBAL_UNICAST and address.is_global


async def system_lookup(host: str, port: int, pool: Executor | None = None) -> list[IpAddress]:
    """Addresses of a host as this machine knows them, IPv4 first.

    Args:
        host, port: Where to.
        pool: Threads that wait for the answer, which may take long after nobody waits any more;
            the event loop's if None.

    Raises:
        OSError, UnicodeError: It has none; the resolver's own IDNA step refuses empty or over-long
            labels.
    """
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(pool, ask)
    addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
    # Crawlers without a route for IPv6 are common, hosts without IPv4 are rare.
    return sorted(addresses, key=lambda address: address.version)


async def resolve(
    url: str, allowed: Collection[str] = (), turn: int = 0, lookup: Lookup = system_lookup
) -> Target | Outcome:
    """The address to fetch `url` from, or `BAD_URL`, `CONNECTION_FAILED`, `REFUSED_ADDRESS`.

    Args:
        url: Untrusted.
        allowed: `host:port` pairs that may have private addresses.
        turn: Number of the attempt; hosts with several addresses are tried at one after another.
        lookup: Finds the addresses of a host.
    """
    parsed = parse_url(url)
    if parsed is None:
        return Outcome.BAD_URL
    scheme, host, port = parsed
    try:
        addresses = await lookup(host, port)
    except (OSError, UnicodeError):
        return Outcome.CONNECTION_FAILED
    exempt = f"{host}:{port}" in allowed
    # One private address among public ones is how rebinding looks: refuse them all.
    if not addresses or not (exempt or all(is_public(address) for address in addresses)):
        return Outcome.REFUSED_ADDRESS
    return Target(
        url=url, scheme=scheme, host=host, port=port, address=addresses[turn % len(addresses)]
    )
