"""Prometheus metrics of the API; nothing in them tells of a user."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """Counts of one process, in a registry of their own.

    Args:
        replica: Names the process where there are several behind one address, for each look at
            them reaches another; empty: it is alone.
    """

    def __init__(self, replica: str = "") -> None:
        self._registry = CollectorRegistry()
        own = {"replica": replica} if replica else {}
        self._own = tuple(own.values())
        self._requests = Counter(
            "tastegraph_requests", "Requests", ("route", "status", *own), registry=self._registry
        )
        self._seconds = Histogram(
            "tastegraph_request_seconds",
            "Seconds to answer",
            ("route", *own),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._verbalized = Counter(
            "tastegraph_verbalized",
            "Personas made for new users, and why there was none",
            ("outcome", *own),
            registry=self._registry,
        )
        self._personas = Gauge("tastegraph_personas", "In the store", registry=self._registry)

    def request(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        """One request was answered; `route` is its pattern, so that no id becomes a label."""
        route = getattr(scope.get("route"), "path", None) or "other"
        self._requests.labels(route, str(status), *self._own).inc()
        self._seconds.labels(route, *self._own).observe(seconds)

    def verbalized(self, outcome: str) -> None:
        """A persona was made ("ok"), or failed for a named reason."""
        self._verbalized.labels(outcome, *self._own).inc()

    def personas(self, count: int) -> None:
        """Personas in the store."""
        self._personas.set(count)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
