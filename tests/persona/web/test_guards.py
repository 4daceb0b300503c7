"""Limits by a clock that the test moves, and settings that would leave the door open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from persona.web.config import ApiConfig, read_keys
from persona.web.guards import Guard, RateLimit
from persona.web.metrics import Metrics
from pipelines.contract import ConfigError


def test_a_bucket_holds_a_burst_and_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(per_s=2.0, burst=3, now=lambda: now[0])
    assert [limit.wait_s("ann") for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 0.5]
    assert limit.wait_s("bob") == 0.0
    now[0] = 0.5
    assert [limit.wait_s("ann"), limit.wait_s("ann")] == [0.0, 0.5]
    now[0] = 100.0
    assert [limit.wait_s("ann") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_an_open_api_listens_at_home_alone() -> None:
    ApiConfig(root="r", host="127.0.0.1")
    ApiConfig(root="r", host="0.0.0.0", keys_file="keys")
    with pytest.raises(ConfigError, match=r"host='0\.0\.0\.0' without keys_file"):
        ApiConfig(root="r", host="0.0.0.0")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"burst": 0}, "burst=0: expected more than 0"),
        ({"replicas": 3, "max_replicas": 2}, "max_replicas=2: expected at least replicas=3"),
    ],
)
def test_wrong_limits_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ApiConfig(root="r", **settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("# nothing\n\n", "no key in it"),
        ("a-key-that-is-long-enough\nshort\n", "key 2 has fewer than 16 characters"),
    ],
)
def test_bad_key_files_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_keys(str(path))


def test_no_key_is_in_its_message(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("hunter2\n")
    with pytest.raises(ConfigError) as caught:
        read_keys(str(tmp_path / "keys"))
    assert "hunter2" not in str(caught.value)


def test_what_is_open_to_everybody_waits_for_no_body() -> None:
    """Else bodies that never end would hold every place."""
    sent: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 405, "headers": []})

    async def never() -> dict[str, Any]:
        raise AssertionError("the body was waited for")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    guard = Guard(
        app,
        keys=("an-api-key-of-the-team",),
        rate=RateLimit(1.0, 1),
        max_body_bytes=1000,
        max_in_flight=1,
        metrics=Metrics(),
    )
    headers = [(b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "method": "POST", "path": "/healthz", "headers": headers}
    asyncio.run(guard(scope, never, send))
    assert [message["status"] for message in sent] == [405]
