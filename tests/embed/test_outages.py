import asyncio
import time
from pathlib import Path

import pytest

from embed import outages
from embed.fetch import Fetcher, FetchLimits
from embed.hosts import HostLimits, Hosts
from embed.outages import SLACK_S, Silence, outages_told, silences
from embed.outcomes import Outcome
from tests.embed.loopback import reply, serve


def silence(host: str, until_utc: float) -> Silence:
    return Silence(host=host, since_utc=100.0, patience_s=600.0, until_utc=until_utc)


def test_the_last_note_on_a_host_holds_until_it_is_tried_again(tmp_path: Path) -> None:
    silence("a.example", 160.0).note(tmp_path)
    silence("b.example", 130.0).note(tmp_path)
    silence("a.example", 220.0).note(tmp_path)
    assert silences(tmp_path, 125.0) == [silence("a.example", 220.0), silence("b.example", 130.0)]
    assert silences(tmp_path, 130.0 + SLACK_S) == [silence("a.example", 220.0)]
    assert silences(tmp_path, 220.0 + SLACK_S) == []


def test_a_main_host_that_is_waited_for_is_told_of_until_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "POLL_S", 0.05)
    monkeypatch.setattr(outages, "SLACK_S", 0.1)
    shown: list[str] = []
    told: list[str] = []
    with serve() as server:
        server.answers["/a"] = reply(content=b"\x89PNG\r\n\x1a\n")
        name = server.host.partition(":")[0]
        hosts = Hosts(
            named={name: HostLimits(at_once=1, per_s=1_000)},
            patience=1,
            cool_down_s=0.5,
            outage_s=30.0,
            notes=str(tmp_path / "silent"),
        )
        hosts[name].note(time.monotonic(), answered=False)

        async def crawl() -> Outcome:
            limits = FetchLimits(allowed_private=frozenset({server.host}))
            fetcher = Fetcher(limits, hosts)
            fetched = await fetcher.fetch(f"http://{server.host}/a")
            await asyncio.sleep(0.4)
            await fetcher.close()
            return fetched.outcome

        with outages_told(tmp_path / "silent", shown.append, told.append):
            assert asyncio.run(crawl()) is Outcome.OK
    assert len(told) == 1 and told[0].startswith(f"{name} gives no answer; it is waited for")
    assert shown[0] == f"{name} silent for 0 of 30 s" and shown[-1] == ""
