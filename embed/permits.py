"""Who may ask a host at this moment, where there are more crawlers than it may be asked at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

# Between a permit and the request that it is for; past it the permit counts as given back.
IDLE_S = 30.0
POLL_S = 0.1


class Permits(Protocol):
    """Permits of a desk that may be elsewhere."""

    async def take(self, host: str, at_once: int, token: str) -> bool:
        """Whether the token is a permit to ask the host now, one of at most `at_once`."""

    async def give_back(self, host: str, token: str) -> None:
        """The request is over."""


class PermitDesk:
    """Hands out permits; one that is not given back, for its crawler died, runs out.

    Args:
        lease_s: That time; no request takes longer.
        clock: Seconds, monotonic.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s, self._clock = lease_s, clock
        self._until: dict[str, dict[str, float]] = {}

    def take(self, host: str, at_once: int, token: str) -> bool:
        """As `Permits.take`."""
        now = self._clock()
        held = {name: until for name, until in self._until.get(host, {}).items() if now < until}
        if len(held) < at_once:
            held[token] = now + self._lease_s
        self._until[host] = held
        return token in held

    def give_back(self, host: str, token: str) -> None:
        """As `Permits.give_back`."""
        self._until.get(host, {}).pop(token, None)
