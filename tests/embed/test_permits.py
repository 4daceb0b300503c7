import asyncio
import threading
import time
from http.server import BaseHTTPRequestHandler

from embed.answers import Fetched
from embed.fetch import Fetcher, FetchLimits
from embed.hosts import HostLimits, Hosts
from embed.outcomes import Outcome
from embed.permits import PermitDesk
from tests.embed.loopback import Answer, reply, serve


class Here:
    """A desk in this process, asked from several event loops."""

    def __init__(self, desk: PermitDesk) -> None:
        self.desk, self.lock = desk, threading.Lock()

    async def take(self, host: str, at_once: int, token: str) -> bool:
        with self.lock:
            return self.desk.take(host, at_once, token)

    async def give_back(self, host: str, token: str) -> None:
        with self.lock:
            self.desk.give_back(host, token)


def slow(content: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, before: int) -> None:
        time.sleep(0.03)
        reply(content=content)(handler, before)

    return answer


def test_no_more_permits_are_out_than_a_host_has_and_those_of_the_dead_run_out() -> None:
    now = 0.0
    desk = PermitDesk(lease_s=10.0, clock=lambda: now)
    assert [desk.take("a", 2, token) for token in "xyz"] == [True, True, False]
    assert desk.take("b", 1, "z")
    desk.give_back("a", "x")
    desk.give_back("a", "never taken")
    assert [desk.take("a", 2, token) for token in "xz"] == [True, False]
    now = 10.0
    assert [desk.take("a", 2, token) for token in "zvw"] == [True, True, False]


def test_crawlers_that_are_more_than_the_limit_together_keep_it() -> None:
    num_crawlers, num_urls = 4, 12
    here = Here(PermitDesk(lease_s=60.0))
    found: list[list[Fetched]] = []
    with serve() as server:
        server.answers |= {f"/{i}": slow(b"\x89PNG\r\n\x1a\n") for i in range(num_urls)}
        limits = FetchLimits(allowed_private=frozenset({server.host}))
        of_one = HostLimits(at_once=2, per_s=4_000).shared_by(num_crawlers)

        async def crawl(number: int) -> list[Fetched]:
            fetcher = Fetcher(limits, Hosts(others=of_one, permits=here))
            urls = [f"http://{server.host}/{i}" for i in range(number, num_urls, num_crawlers)]
            try:
                return await fetcher.fetch_all(urls, lambda fetched: fetched)
            finally:
                await fetcher.close()

        threads = [
            threading.Thread(target=lambda n=n: found.append(asyncio.run(crawl(n))))
            for n in range(num_crawlers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [fetched.outcome for part in found for fetched in part] == [Outcome.OK] * num_urls
    assert server.most_at_once == 2
    assert not any(here.desk._until.values())
