"""How a crawler treats a host: how much at once, how often, and when it stops trying."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embed.outages import Silence
from embed.permits import Permits
from pipelines.contract import ConfigError

# The four that hold nearly all images of the dumps, and Imgur's pages. None publishes a limit for
# images. Reddit's are a content delivery network; Imgur answers high concurrency with 429 and bans.
MAIN_HOSTS = (
    "i.redd.it=16/40",
    "preview.redd.it=8/20",
    "external-preview.redd.it=8/20",
    "i.imgur.com=4/8",
    "imgur.com=2/2",
)


@dataclass(frozen=True, kw_only=True)
class HostLimits:
    """Bounds on requests to one host.

    Args:
        at_once: Requests under way.
        per_s: Requests begun a second, evenly spaced: no burst after a pause.
        of_all: Requests under way of all crawlers, where those are more: each request of theirs
            needs a permit (`embed.permits`). 0: at_once is enough.
    """

    at_once: int
    per_s: float
    of_all: int = 0

    def __post_init__(self) -> None:
        if self.at_once < 1 or self.per_s <= 0:
            raise ConfigError(f"limits of a host: {self}; expected at_once >= 1 and per_s > 0")

    def shared_by(self, crawlers: int) -> HostLimits:
        """What each of several crawlers may do, so that all together keep these limits."""
        return HostLimits(
            at_once=max(1, self.at_once // crawlers),
            per_s=self.per_s / max(1, crawlers),
            of_all=self.at_once if crawlers > self.at_once else 0,
        )


def parse_host_limits(words: Iterable[str]) -> dict[str, HostLimits]:
    """Limits by host from words such as `i.redd.it=16/40`: 16 requests at once, 40 a second.

    Raises:
        ConfigError: A word of another form.
    """
    found = {}
    for word in words:
        match = re.fullmatch(r"([^=/\s]+)=(\d+)/(\d+(?:\.\d+)?)", word.strip())
        if match is None:
            raise ConfigError(
                f"host_limits={word!r}: expected HOST=AT_ONCE/PER_SECOND, such as {MAIN_HOSTS[0]}"
            )
        host, at_once, per_s = match.groups()
        found[host.lower()] = HostLimits(at_once=int(at_once), per_s=float(per_s))
    return found


@dataclass(kw_only=True)
class Host:
    """What is known of one host. Times are of one monotonic clock, in seconds.

    A host that gave no answer (no address, no connection, silence) `patience` times in a row is
    closed for `cool_down_s`, and again after every further failure, until it answers. One that has
    been silent for `outage_s` is given up while it is closed.
    """

    name: str
    limits: HostLimits
    patience: int
    cool_down_s: float
    outage_s: float = 0.0
    unanswered: int = 0
    _silent_since: float = 0.0
    _next_at: float = 0.0
    _held_until: float = 0.0
    _closed_until: float = 0.0

    def due_in(self, now: float) -> float:
        """Seconds until a request may begin; 0 grants it, and moves the next one on."""
        due_at = max(self._next_at, self._held_until)
        if now < due_at:
            return due_at - now
        self._next_at = now + 1 / self.limits.per_s
        return 0.0

    def hold(self, now: float, pause_s: float) -> None:
        """Begin no request for as long as the host asked."""
        self._held_until = max(self._held_until, now + pause_s)

    def held_for(self, now: float) -> float:
        """Seconds for which the host still asks not to be asked."""
        return max(0.0, self._held_until - now)

    def closed_for(self, now: float) -> float:
        """Seconds for which the host is not tried, for it did not answer."""
        return max(0.0, self._closed_until - now)

    def silent_for(self, now: float) -> float:
        """Seconds since the host last answered, or since it was first asked."""
        return now - self._silent_since if self.unanswered else 0.0

    def is_given_up(self, now: float) -> bool:
        """Whether nobody waits until the host is tried again."""
        return now < self._closed_until and now - self._silent_since >= self.outage_s

    def note(self, now: float, answered: bool) -> None:
        """Remember whether a request got any answer, whatever it said."""
        if answered or not self.unanswered:
            self._silent_since = now
        self.unanswered = 0 if answered else self.unanswered + 1
        if self.unanswered >= self.patience:
            self._closed_until = now + self.cool_down_s


@dataclass(kw_only=True)
class Hosts:
    """All hosts that a crawler met; outlives the connections to them.

    Args:
        named: Limits of hosts by name.
        others: Limits of each other host.
        patience: Failures in a row after which a host is not tried for a while.
        cool_down_s: That while.
        outage_s: Silence of a named host that is waited out; of the others, none is.
        permits: Where permits are to be had for hosts that need one.
        notes: Folder for notes on hosts that are waited for; empty: none is left.
    """

    named: Mapping[str, HostLimits] = field(default_factory=lambda: parse_host_limits(MAIN_HOSTS))
    others: HostLimits = HostLimits(at_once=4, per_s=10)
    patience: int = 5
    cool_down_s: float = 60.0
    outage_s: float = 0.0
    permits: Permits | None = None
    notes: str = ""
    _met: dict[str, Host] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Host:
        if name not in self._met:
            self._met[name] = Host(
                name=name,
                limits=self.named.get(name, self.others),
                patience=self.patience,
                cool_down_s=self.cool_down_s,
                outage_s=self.outage_s if name in self.named else 0.0,
            )
        return self._met[name]

    async def may_ask(self, host: Host, token: str) -> bool:
        """Whether a request may begin as far as other crawlers go; the token stands for it."""
        if not (self.permits and host.limits.of_all):
            return True
        return await self.permits.take(host.name, host.limits.of_all, token)

    async def asked(self, host: Host, token: str) -> None:
        """The request is over, or was not made."""
        if self.permits and host.limits.of_all:
            await self.permits.give_back(host.name, token)

    def note_silence(self, host: Host, now: float, now_utc: float) -> None:
        """Let whoever watches know that a host is waited for."""
        if self.notes:
            Silence(
                host=host.name,
                since_utc=now_utc - host.silent_for(now),
                patience_s=host.outage_s,
                until_utc=now_utc + host.closed_for(now),
            ).note(Path(self.notes))
