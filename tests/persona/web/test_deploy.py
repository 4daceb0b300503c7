"""The graph in a real Ray Serve, and the settings file that configures it."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve
from ray.serve.exceptions import RayServeException

from orchestration.bench.chat_server import chat_server
from persona.config import VerbalizeConfig
from persona.schema import Persona
from persona.web.config import ApiConfig
from persona.web.deploy import API, SharedLimit, build, read_file, read_settings
from persona.web.guards import RateLimit
from pipelines.contract import ConfigError, Run
from tests.persona.synthetic import user_id


def test_settings_come_from_one_file(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(
        '[api]\nroot = "runs/a"\nburst = 7\nrequests_per_s = 3\n[verbalize]\nseed = 4\n'
    )
    assert read_settings(read_file(path)) == (
        ApiConfig(root="runs/a", burst=7, requests_per_s=3),
        VerbalizeConfig(seed=4),
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"api": {}}, "api.root is missing"),
        ({"apis": {}}, "settings: no 'apis' here; there are api, verbalize"),
        ({"api": {"root": "r", "prot": 1}}, "api: no 'prot' here; there are root, host, port"),
        ({"api": {"root": "r", "port": "80"}}, "api.port='80': expected int"),
        ({"api": {"root": "r"}, "verbalize": {"verbalizer": "x"}}, "verbalizer='x': expected"),
    ],
)
def test_wrong_settings_are_named(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings(args)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "no such file"), ("a = ", "not TOML"), ("a = 1", "sections api")]
)
def test_files_that_are_no_settings_are_refused(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "serve.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_file(path)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Away:
    """A handle of a deployment that is not there."""

    async def remote(self, _: str, __: int) -> tuple[int, float]:
        raise RayServeException("away")


class Counting:
    """A handle that counts how often it is called."""

    def __init__(self, per_s: float, burst: int, now: Callable[[], float]) -> None:
        self._limit, self.calls = RateLimit(per_s, burst, now), 0

    async def remote(self, caller: str, most: int) -> tuple[int, float]:
        self.calls += 1
        return self._limit.take(caller, most)


def test_callers_are_counted_while_the_count_of_all_is_away() -> None:
    rate = SharedLimit(Away(), RateLimit(0.001, 2), 0.001)

    async def ask() -> list[bool]:
        return [await rate("ann") == 0.0 for _ in range(3)]

    assert asyncio.run(ask()) == [True, True, False]


def test_busy_callers_are_counted_by_many_requests_at_once_and_pass_no_more() -> None:
    clock = [0.0]
    handle = Counting(100.0, 100, lambda: clock[0])
    rates = [SharedLimit(handle, RateLimit(1.0, 1), 100.0, lambda: clock[0]) for _ in range(2)]

    async def ask() -> int:
        passed = 0
        for tick in range(2000):  # two replicas, a thousand requests each in two seconds
            clock[0] = tick / 1000
            passed += await rates[tick % 2]("ann") == 0.0
        return passed

    assert 290 <= asyncio.run(ask()) <= 300  # the burst, and a hundred a second
    before = handle.calls
    clock[0] = 10.0
    asyncio.run(ask_once(rates[0], 40))
    assert handle.calls - before <= 4


async def ask_once(rate: SharedLimit, times: int) -> None:
    for _ in range(times):
        assert await rate("ann") == 0.0


@pytest.mark.engine
def test_replicas_keep_one_limit_together_and_count_by_name(root: Run, ray_local: None) -> None:
    port = free_port()
    api = {"root": str(root.root), "port": port, "replicas": 2, "max_replicas": 2}
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(
            build({"api": {**api, "requests_per_s": 0.001, "burst": 5}}),
            name=API,
            route_prefix="/",
        )
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            asked = [client.get(f"/personas/{user_id(0)}").status_code for _ in range(20)]
            shown = [client.get("/metrics").text for _ in range(20)]
    finally:
        serve.shutdown()
    assert sorted(asked) == [200] * 5 + [429] * 15
    counted = r'tastegraph_requests_total\{replica="(\w+)",route="other",status="429"\} (\d+)'
    by_replica = dict(match for text in shown for match in re.findall(counted, text))
    assert sum(map(int, by_replica.values())) == 15


@pytest.mark.engine
def test_the_graph_answers_and_a_model_describes_new_users(root: Run, ray_local: None) -> None:
    port = free_port()
    with chat_server() as model:
        settings: dict[str, dict[str, Any]] = {
            "api": {"root": str(root.root), "port": port},
            "verbalize": {"verbalizer": "openai", "base_url": model.base_url, "model": "scripted"},
        }
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        try:
            serve.run(build(settings), name=API, route_prefix="/")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                assert client.get("/healthz").json()["personas"] == 12
                assert client.get(f"/personas/{user_id(0)}").status_code == 200
                assert client.get("/personas/nobody").status_code == 404
                body = {"subreddits": [{"name": "neonnights"}]}
                made = client.post("/users", json=body).raise_for_status().json()
        finally:
            serve.shutdown()
    assert Persona.model_validate(made["persona"]).interests[0].evidence == ("s:neonnights",)
    assert len(model.requests) >= 1
