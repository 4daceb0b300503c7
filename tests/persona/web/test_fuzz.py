"""Requests that the API's own schema suggests, made odd: every answer is deliberate."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from orchestration.bench.api_load import fuzz, get, load, post
from pipelines.contract import Run
from tests.persona.synthetic import user_id
from tests.persona.web.served import served

pytestmark = pytest.mark.engine


def test_odd_requests_are_refused_and_break_nothing(client: httpx.Client) -> None:
    statuses = fuzz(client, 600, seed=7)
    assert statuses.keys() <= {200, 400, 404, 405, 422, 503}
    assert statuses[200] > 60 and statuses[422] > 100  # it finds its way in, and to the checks
    assert client.get("/healthz").status_code == 200


def test_many_clients_at_once_get_answers_or_deliberate_refusals(root: Run) -> None:
    requests = [get(f"/personas/{user_id(i)}") for i in range(12)]
    requests.append(post("/search", {"text": "lens", "by": "text"}))
    with served(root, requests_per_s=1e6, burst=10**6) as running:
        port = int(running.url.rstrip("/").rpartition(":")[2])
        result = asyncio.run(load(port, requests, clients=100, seconds=1.5))
    assert set(result.statuses) == {200}
    figures = result.figures()
    assert figures["errors"] == 0 and figures["p99_ms"] > 0
    with served(root, requests_per_s=20.0, burst=20) as running:
        port = int(running.url.rstrip("/").rpartition(":")[2])
        limited = asyncio.run(load(port, requests, clients=50, seconds=1.0))
    assert set(limited.statuses) == {200, 429}
    assert 20 <= limited.statuses[200] <= 20 + 20 * (limited.elapsed_s + 1)
