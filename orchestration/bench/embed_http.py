"""Fetching against hosts that misbehave by plan: is every image counted as planned, politely?

`python -m orchestration.bench.embed_http [--quick]` prints a table; `run` is for other benches.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from embed.addresses import IpAddress
from embed.answers import Fetched
from embed.decode import Decoded, decode
from embed.fetch import Fetcher, FetchLimits
from embed.hosts import HostLimits, Hosts
from embed.outcomes import Outcome
from orchestration.bench.image_hosts import PRIVATE_NAME
from orchestration.bench.measure import Measured, measure

NUM_IMAGES, NUM_QUICK = 20_000, 1_000
SLICE = 4096  # as many as a shard
TARGET_PX = 224
LIMITS = FetchLimits(max_bytes=200_000, timeout_s=4.0, read_s=3.0, backoff_s=0.2)
HOSTS = {
    "i.redd.it": (0.5, HostLimits(at_once=16, per_s=300)),
    "preview.redd.it": (0.2, HostLimits(at_once=12, per_s=120)),
    "external-preview.redd.it": (0.2, HostLimits(at_once=12, per_s=120)),
    "i.imgur.com": (0.1, HostLimits(at_once=6, per_s=60)),
}
# Fault: share of the images in thousandths, and what becomes of them. All others are `fine`.
FAULTS = {
    "octet_stream": (10, Outcome.OK),
    "says_png": (10, Outcome.OK),
    "busy_once": (20, Outcome.OK),
    "busy_waits_once": (2, Outcome.OK),
    "busy": (5, Outcome.RATE_LIMITED),
    "error_once": (20, Outcome.OK),
    "error": (5, Outcome.SERVER_ERROR),
    "slow_once": (3, Outcome.OK),
    "slow": (2, Outcome.TIMEOUT),
    "reset_once": (10, Outcome.OK),
    "reset": (5, Outcome.CONNECTION_FAILED),
    "moved": (20, Outcome.OK),
    "loop": (5, Outcome.TOO_MANY_REDIRECTS),
    "to_private": (5, Outcome.REFUSED_ADDRESS),
    "to_private_name": (5, Outcome.REFUSED_ADDRESS),
    "to_private_mapped": (5, Outcome.REFUSED_ADDRESS),
    "to_own_port": (5, Outcome.REFUSED_ADDRESS),
    "to_metadata": (5, Outcome.REFUSED_ADDRESS),
    "html": (10, Outcome.NOT_IMAGE),
    "html_as_jpeg": (10, Outcome.NOT_IMAGE),
    "json": (5, Outcome.NOT_IMAGE),
    "truncated": (10, Outcome.TRUNCATED),
    "oversized": (5, Outcome.TOO_LARGE),
    "endless": (5, Outcome.TOO_LARGE),
    "noai": (10, Outcome.OPTED_OUT),
    "noimageai": (10, Outcome.OPTED_OUT),
    "placeholder": (10, Outcome.REMOVED),
    "placeholder_body": (10, Outcome.REMOVED),
    "missing": (20, Outcome.NOT_FOUND),
    "forbidden": (10, Outcome.FORBIDDEN),
    "empty": (10, Outcome.EMPTY),
}


def planned(n_images: int) -> list[tuple[str, str]]:
    """(host, fault) of each image; the same for the same number of images."""
    rng = np.random.default_rng(n_images)
    faults = [name for name, (share, _) in FAULTS.items() for _ in range(n_images * share // 1000)]
    faults += ["fine"] * (n_images - len(faults))
    hosts = rng.choice(list(HOSTS), n_images, p=[share for share, _ in HOSTS.values()])
    return [
        (str(host), faults[i]) for host, i in zip(hosts, rng.permutation(n_images), strict=True)
    ]


def expected_of(fault: str) -> Outcome:
    """What becomes of an image with a fault."""
    return FAULTS[fault][1] if fault in FAULTS else Outcome.OK


def judged(fetched: Fetched) -> Outcome:
    """What becomes of an answer once its picture is decoded."""
    if fetched.outcome is not Outcome.OK:
        return fetched.outcome
    found = decode(fetched.content, 10**7, TARGET_PX)
    return Outcome.OK if isinstance(found, Decoded) else found


async def crawl(plan: Sequence[tuple[str, str]], port: int) -> list[Outcome]:
    """The outcome of each planned image, with the hosts at `port` of the loopback."""

    async def lookup(host: str, port: int) -> list[IpAddress]:
        known = {*HOSTS, PRIVATE_NAME}
        return [ipaddress.ip_address("127.0.0.1" if host in known else host)]

    limits = FetchLimits(
        max_bytes=LIMITS.max_bytes,
        timeout_s=LIMITS.timeout_s,
        read_s=LIMITS.read_s,
        backoff_s=LIMITS.backoff_s,
        allowed_private=frozenset(f"{host}:{port}" for host in HOSTS),
    )
    fetcher = Fetcher(
        limits, Hosts(named={n: known for n, (_, known) in HOSTS.items()}), None, lookup
    )
    urls = [f"http://{host}:{port}/{fault}/{i}.jpg" for i, (host, fault) in enumerate(plan)]
    found: list[Outcome] = []
    try:
        for first in range(0, len(urls), SLICE):
            found += await fetcher.fetch_all(urls[first : first + SLICE], judged)
    finally:
        await fetcher.close()
    return found


def client(n_images: int, port: int) -> None:
    """Fetch the plan and print what became of it, as JSON."""
    plan = planned(n_images)
    start = time.perf_counter()
    found = asyncio.run(crawl(plan, port))
    seconds = time.perf_counter() - start
    wrong = Counter(
        f"{fault}: {outcome}"
        for (_, fault), outcome in zip(plan, found, strict=True)
        if outcome is not expected_of(fault)
    )
    print(json.dumps({"counted": Counter(found), "wrong": wrong, "seconds": seconds}))


def run(n_images: int = NUM_IMAGES, quick: bool = False) -> dict[str, Any]:
    """Fetch `n_images` (at most 1,000 if quick) from misbehaving hosts; print and return figures.

    Returns:
        sent, accounted: images; outcomes: expected and counted by class; wrong: images that became
        what they should not, by fault; private_reached: connections to the private server; hosts:
        requests, most at once and most begun in a second as the hosts saw them, beside the limits;
        images_per_s; peak_rss_bytes of the fetching process.
    """
    n_images = min(n_images, NUM_QUICK) if quick else n_images
    measured, seen = _measured(n_images)
    told = json.loads(measured.output)
    expected = Counter(expected_of(fault) for _, fault in planned(n_images))
    result = {
        "sent": n_images,
        "accounted": sum(told["counted"].values()),
        "outcomes": {
            "expected": {str(outcome): count for outcome, count in sorted(expected.items())},
            "counted": dict(sorted(told["counted"].items())),
        },
        "wrong": told["wrong"],
        "private_reached": seen["private_reached"],
        "hosts": {
            name: {**seen["hosts"][name], "limit_at_once": k.at_once, "limit_per_s": k.per_s}
            for name, (_, k) in HOSTS.items()
        },
        "images_per_s": n_images / told["seconds"],
        "peak_rss_bytes": measured.peak_rss_bytes,
    }
    show(result)
    return result


def _measured(n_images: int) -> tuple[Measured, dict[str, Any]]:
    """The client in a process of its own, and what the hosts in another saw of it."""
    command = [sys.executable, "-m", "orchestration.bench.image_hosts"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            port = json.loads(server.stdout.readline())["port"]
            words = ["--client", str(port), "--images", str(n_images)]
            client = [sys.executable, "-m", "orchestration.bench.embed_http", *words]
            measured = measure(client)
        finally:
            server.stdin.close()
        return measured, json.loads(server.stdout.readline())


def show(result: dict[str, Any]) -> None:
    """Print the figures as tables."""
    outcomes = result["outcomes"]
    print(f"{'outcome':20} {'expected':>9} {'counted':>9}")
    for name in sorted({*outcomes["expected"], *outcomes["counted"]}):
        row = outcomes["expected"].get(name, 0), outcomes["counted"].get(name, 0)
        print(f"{name:20} {row[0]:>9,} {row[1]:>9,}{'' if row[0] == row[1] else '  <-'}")
    for what, count in result["wrong"].items():
        print(f"wrong: {what}: {count}")
    print(f"\n{'host':26} {'requests':>9} {'at once':>12} {'in 1 s':>12} {'mean /s':>9}")
    for name, host in result["hosts"].items():
        at_once = f"{host['most_at_once']} <= {host['limit_at_once']}"
        per_s = f"{host['most_in_1_s']} <= {host['limit_per_s']:g}"
        print(f"{name:26} {host['requests']:>9,} {at_once:>12} {per_s:>12} {host['per_s']:>9}")
    print(
        f"\nsent {result['sent']:,}, accounted {result['accounted']:,}, "
        f"private reached {result['private_reached']}; {result['images_per_s']:,.0f} images/s, "
        f"peak {result['peak_rss_bytes'] / 1e6:,.0f} MB"
    )


def main() -> None:
    """Run the bench, or its client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=NUM_IMAGES)
    parser.add_argument("--quick", action="store_true", help=f"{NUM_QUICK:,} images")
    parser.add_argument("--client", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        client(options.images, options.client)
    else:
        run(options.images, options.quick)


if __name__ == "__main__":
    main()
