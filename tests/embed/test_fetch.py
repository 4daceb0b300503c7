import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from embed.addresses import IpAddress, Lookup, Target, system_lookup
from embed.answers import Fetched
from embed.connections import address_url
from embed.fetch import Fetcher, FetchLimits
from embed.hosts import HostLimits, Hosts
from embed.outcomes import Outcome
from tests.embed.loopback import Loopback, in_turn, reply, serve

PNG = b"\x89PNG\r\n\x1a\n and so on"
QUICK = FetchLimits(timeout_s=2.0, backoff_s=0.01)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serve() as running:
        yield running


def fetch(
    server: Loopback,
    *paths: str,
    limits: FetchLimits = QUICK,
    tls: ssl.SSLContext | None = None,
    scheme: str = "http",
    hosts: Hosts | None = None,
    lookup: Lookup | None = None,
    held: Mapping[str, Fetched] | None = None,
) -> list[Fetched]:
    async def run() -> list[Fetched]:
        allowed = replace(limits, allowed_private=limits.allowed_private | {server.host})
        fetcher = Fetcher(allowed, hosts or of_any_pace(), tls, lookup)
        urls = [p if "://" in p else f"{scheme}://{server.host}{p}" for p in paths]
        try:
            return await fetcher.fetch_all(urls, lambda fetched: fetched, held)
        finally:
            await fetcher.close()

    return asyncio.run(run())


def of_any_pace(
    at_once: int = 8, per_s: float = 10_000, patience: int = 5, cool_down_s: float = 60.0
) -> Hosts:
    others = HostLimits(at_once=at_once, per_s=per_s)
    return Hosts(others=others, patience=patience, cool_down_s=cool_down_s)


def outcome(server: Loopback, path: str, limits: FetchLimits = QUICK) -> Outcome:
    return fetch(server, path, limits=limits)[0].outcome


def test_a_body_comes_back_and_the_host_is_asked_by_name_for_an_image(server: Loopback) -> None:
    server.answers["/a.png?s=1"] = reply(content=PNG)
    assert fetch(server, "/a.png?s=1#part") == [
        Fetched(outcome=Outcome.OK, content=PNG, http_status=200)
    ]
    ((path, headers),) = server.seen
    assert path == "/a.png?s=1"
    assert headers["Host"] == server.host
    assert headers["Accept"].startswith("image/") and "html" not in headers["Accept"]
    assert headers["User-Agent"] == "tastegraph"
    assert headers["Accept-Encoding"] == "identity"


def test_answers_keep_the_order_of_their_urls(server: Loopback) -> None:
    for index in range(20):
        server.answers[f"/{index}"] = reply(content=b"%d" % index)
    found = fetch(server, *(f"/{index}" for index in range(20)))
    assert [fetched.content for fetched in found] == [b"%d" % index for index in range(20)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, Outcome.NOT_FOUND),
        (410, Outcome.NOT_FOUND),
        (403, Outcome.FORBIDDEN),
        (418, Outcome.CLIENT_ERROR),
        (304, Outcome.CLIENT_ERROR),
    ],
)
def test_a_refusal_is_classed_and_not_repeated(
    server: Loopback, status: int, expected: Outcome
) -> None:
    server.answers["/a"] = reply(status)
    assert outcome(server, "/a") is expected
    assert server.count("/a") == 1


def test_a_passing_failure_is_tried_again(server: Loopback) -> None:
    server.answers["/a"] = in_turn(reply(503), reply(429), reply(content=PNG))
    assert outcome(server, "/a") is Outcome.OK
    assert server.count("/a") == 3


@pytest.mark.parametrize(
    ("status", "expected"), [(500, Outcome.SERVER_ERROR), (429, Outcome.RATE_LIMITED)]
)
def test_a_lasting_failure_is_tried_as_often_as_allowed(
    server: Loopback, status: int, expected: Outcome
) -> None:
    server.answers["/a"] = reply(status)
    assert outcome(server, "/a", replace(QUICK, attempts=4)) is expected
    assert server.count("/a") == 4


def test_retry_after_is_waited_for(server: Loopback) -> None:
    server.answers["/a"] = in_turn(reply(429, headers={"Retry-After": "1"}), reply(content=PNG))
    started = time.monotonic()
    assert outcome(server, "/a") is Outcome.OK
    assert time.monotonic() - started >= 1.0


def test_a_host_that_asks_for_too_long_a_pause_is_left_alone(server: Loopback) -> None:
    server.answers["/a"] = reply(429, headers={"Retry-After": "3600"})
    assert outcome(server, "/a") is Outcome.RATE_LIMITED
    assert server.count("/a") == 1


def test_a_silent_host_and_a_trickling_body_both_run_into_the_timeout(server: Loopback) -> None:
    def silent(handler: BaseHTTPRequestHandler, before: int) -> None:
        time.sleep(0.8)

    def trickle(handler: BaseHTTPRequestHandler, before: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(8):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)

    server.answers |= {"/silent": silent, "/trickle": trickle}
    limits = replace(QUICK, timeout_s=0.3, attempts=1)
    found = fetch(server, "/silent", "/trickle", limits=limits)
    assert [fetched.outcome for fetched in found] == [Outcome.TIMEOUT] * 2


def test_a_body_is_cut_off_at_the_cap_whatever_its_headers_say(server: Loopback) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler, before: int) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for _ in range(4000):
            handler.wfile.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
            sent += 0x4000

    server.answers["/a"] = endless
    assert outcome(server, "/a", replace(QUICK, max_bytes=100_000)) is Outcome.TOO_LARGE
    assert sent < 30_000_000
    server.answers["/c"] = reply(content=bytes(100_001))
    assert outcome(server, "/c", replace(QUICK, max_bytes=100_000)) is Outcome.TOO_LARGE
    server.answers["/b"] = reply(content=bytes(100_000))
    assert outcome(server, "/b", replace(QUICK, max_bytes=100_000)) is Outcome.OK


def test_a_connection_that_breaks_off_is_a_failed_connection(server: Loopback) -> None:
    def broken(handler: BaseHTTPRequestHandler, before: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.close_connection = True

    server.answers["/a"] = broken
    assert outcome(server, "/a") is Outcome.CONNECTION_FAILED
    assert server.count("/a") == 3


def test_a_closed_port_is_a_failed_connection(server: Loopback) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = Loopback(host=f"localhost:{free.getsockname()[1]}")
    assert outcome(closed, "/a") is Outcome.CONNECTION_FAILED


def test_redirects_are_followed_to_the_end(server: Loopback) -> None:
    server.answers |= {
        "/a": reply(302, headers={"Location": "b/c"}),
        "/b/c": reply(308, headers={"Location": f"http://{server.host}/d.png"}),
        "/d.png": reply(content=PNG),
    }
    assert fetch(server, "/a") == [Fetched(outcome=Outcome.OK, content=PNG, http_status=200)]


def test_a_loop_of_redirects_ends(server: Loopback) -> None:
    server.answers["/a"] = reply(302, headers={"Location": "/a"})
    assert outcome(server, "/a") is Outcome.TOO_MANY_REDIRECTS
    assert server.count("/a") == QUICK.max_redirects + 1


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("file:///etc/passwd", Outcome.BAD_URL),
        ("http://[bad/", Outcome.BAD_URL),
        ("http://169.254.169.254/latest/meta-data", Outcome.REFUSED_ADDRESS),
        ("https://i.imgur.com/removed.png", Outcome.REMOVED),
        ("https://s.yimg.com/pw/images/en-us/photo_unavailable.png", Outcome.REMOVED),
    ],
)
def test_where_a_redirect_leads_is_judged_again(
    server: Loopback, location: str, expected: Outcome
) -> None:
    server.answers["/a"] = reply(302, headers={"Location": location})
    assert outcome(server, "/a") is expected


def test_a_redirect_to_a_private_server_never_reaches_it(server: Loopback) -> None:
    with serve() as private:
        private.answers["/"] = reply(content=PNG)
        server.answers["/a"] = reply(302, headers={"Location": f"http://{private.host}/"})
        assert outcome(server, "/a") is Outcome.REFUSED_ADDRESS
        assert private.seen == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Robots-Tag": "noai, noimageai"}, Outcome.OPTED_OUT),
        ({"Content-Type": "text/html; charset=utf-8"}, Outcome.NOT_IMAGE),
        ({"Content-Type": "video/mp4"}, Outcome.NOT_IMAGE),
        ({"Content-Type": "application/octet-stream"}, Outcome.OK),
        ({"Content-Type": "image/jpeg"}, Outcome.OK),
    ],
)
def test_headers_of_a_success_can_rule_it_out(
    server: Loopback, headers: dict[str, str], expected: Outcome
) -> None:
    server.answers["/a"] = reply(content=PNG, headers=headers)
    assert outcome(server, "/a") is expected


def test_an_empty_body_is_empty(server: Loopback) -> None:
    server.answers["/a"] = reply()
    assert outcome(server, "/a") is Outcome.EMPTY


def test_no_more_requests_than_allowed_are_under_way_to_one_host(server: Loopback) -> None:
    def slow(handler: BaseHTTPRequestHandler, before: int) -> None:
        time.sleep(0.03)
        reply(content=PNG)(handler, before)

    server.answers |= {f"/{index}": slow for index in range(24)}
    fetch(server, *server.answers, hosts=of_any_pace(at_once=3))
    assert server.most_at_once == 3


def test_requests_to_one_host_begin_no_faster_than_allowed(server: Loopback) -> None:
    begun: list[float] = []

    def noting(handler: BaseHTTPRequestHandler, before: int) -> None:
        begun.append(time.monotonic())
        reply(content=PNG)(handler, before)

    server.answers |= {f"/{index}": noting for index in range(20)}
    fetch(server, *server.answers, hosts=of_any_pace(per_s=40))
    assert len(begun) == 20
    # 19 gaps of 25 ms; a request may reach the server a little earlier or later than it was due.
    assert max(begun) - min(begun) >= 19 / 40 - 0.02


def test_a_pause_that_a_host_asks_for_holds_for_all_its_urls(server: Loopback) -> None:
    server.answers["/a"] = in_turn(reply(429, headers={"Retry-After": "1"}), reply(content=PNG))
    server.answers["/b"] = reply(content=PNG)
    hosts = of_any_pace(at_once=1)
    started = time.monotonic()
    found = fetch(server, "/a", "/b", hosts=hosts)
    assert [fetched.outcome for fetched in found] == [Outcome.OK] * 2
    assert time.monotonic() - started >= 1.0
    assert server.seen[0][0] == "/a"

    server.answers["/c"] = reply(503, headers={"Retry-After": "3600"})
    first, second = fetch(server, "/c", "/d", hosts=hosts)
    assert (first.outcome, second.outcome) == (Outcome.SERVER_ERROR, Outcome.RATE_LIMITED)
    assert server.count("/d") == 0


def found_after(failures: int) -> tuple[Lookup, list[str]]:
    """A lookup that fails so often, and the hosts that it was asked for."""
    calls: list[str] = []

    async def lookup(host: str, port: int) -> list[IpAddress]:
        calls.append(host)
        if len(calls) <= failures:
            raise OSError("no such host")
        return await system_lookup(host, port)

    return lookup, calls


def test_a_host_that_gives_no_answer_is_soon_tried_no_more_and_again_later(
    server: Loopback,
) -> None:
    lookup, _ = found_after(4)
    server.answers |= {f"/{index}": reply(content=PNG) for index in range(500)}
    limits = replace(QUICK, lookup_ttl_s=0, attempts=1)
    hosts = of_any_pace(patience=4, cool_down_s=1.0, at_once=1)
    started = time.monotonic()
    found = fetch(server, *server.answers, limits=limits, hosts=hosts, lookup=lookup)
    assert time.monotonic() - started < 1.0
    assert [fetched.outcome for fetched in found] == (
        [Outcome.CONNECTION_FAILED] * 4 + [Outcome.UNREACHABLE] * 496
    )
    assert server.seen == []
    time.sleep(1.0)
    found = fetch(server, "/0", "/1", limits=limits, hosts=hosts, lookup=lookup)
    assert [fetched.outcome for fetched in found] == [Outcome.OK] * 2


def test_a_short_outage_of_a_main_host_costs_no_image(server: Loopback) -> None:
    lookup, _ = found_after(9)
    server.answers |= {f"/{index}": reply(content=PNG) for index in range(50)}
    limits = replace(QUICK, lookup_ttl_s=0, attempts=2)
    name = server.host.rpartition(":")[0]
    hosts = Hosts(
        named={name: HostLimits(at_once=2, per_s=1e4)}, patience=2, cool_down_s=0.2, outage_s=30.0
    )
    found = fetch(server, *server.answers, limits=limits, hosts=hosts, lookup=lookup)
    assert {fetched.outcome for fetched in found} == {Outcome.OK}
    assert len(server.seen) == 50


def test_a_name_that_was_not_found_is_looked_up_again_by_the_next_attempt(server: Loopback) -> None:
    lookup, calls = found_after(1)
    server.answers["/a"] = reply(content=PNG)
    (fetched,) = fetch(server, "/a", lookup=lookup)
    assert (fetched.outcome, len(calls)) == (Outcome.OK, 2)


def test_an_unreachable_network_ends_fast(server: Loopback) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = Loopback(host=f"localhost:{free.getsockname()[1]}")
    limits = replace(QUICK, backoff_s=0.5)
    started = time.monotonic()
    found = fetch(closed, *(f"/{index}" for index in range(2_000)), limits=limits)
    assert time.monotonic() - started < 5
    assert {fetched.outcome for fetched in found} == {
        Outcome.CONNECTION_FAILED,
        Outcome.UNREACHABLE,
    }
    assert sum(fetched.outcome is Outcome.UNREACHABLE for fetched in found) > 1_900


def test_name_servers_that_do_not_answer_hold_nothing_up(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = socket.getaddrinfo

    def hanging(host: str, *args: object, **kwargs: object) -> object:
        if host.endswith(".invalid"):
            time.sleep(1.0)
            raise OSError("no answer")
        return known(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    urls = [f"http://{index}.invalid/a" for index in range(300)]
    server.answers["/a"] = reply(content=PNG)
    limits = replace(QUICK, connect_s=0.3, attempts=1)
    started = time.monotonic()
    first, *others = fetch(server, "/a", *urls, limits=limits, lookup=None)
    assert time.monotonic() - started < 3
    assert first.outcome is Outcome.OK
    assert {fetched.outcome for fetched in others} == {Outcome.TIMEOUT}


def test_a_body_that_is_here_is_asked_for_only_if_it_changed(server: Loopback) -> None:
    dated = "Wed, 21 Oct 2015 07:28:00 GMT"

    def tagged(handler: BaseHTTPRequestHandler, before: int) -> None:
        if handler.headers.get("If-None-Match") == '"1"':
            return reply(304)(handler, before)
        headers = {"ETag": '"1"', "Last-Modified": dated}
        return reply(content=PNG, headers=headers)(handler, before)

    server.answers |= {"/a": tagged, "/b": tagged}
    (first,) = fetch(server, "/a")
    assert (first.etag, first.last_modified) == ('"1"', dated)
    held = {
        f"http://{server.host}/a": first,
        f"http://{server.host}/b": replace(first, etag='"0"', content=b"old"),
    }
    server.seen.clear()
    unchanged = replace(first, http_status=304, content=b"")
    assert fetch(server, "/a", "/b", held=held) == [unchanged, first]
    assert {path: headers.get("If-None-Match") for path, headers in server.seen} == {
        "/a": '"1"',
        "/b": '"0"',
    }
    assert {headers.get("If-Modified-Since") for _, headers in server.seen} == {dated}


def test_a_connection_is_made_to_the_judged_address_and_no_other(server: Loopback) -> None:
    """The name is known to this lookup alone, and its second answer is never asked for."""
    answers = [[ipaddress.ip_address("127.0.0.1")], [ipaddress.ip_address("127.0.0.9")]]
    asked = []

    async def rebinding(host: str, port: int) -> list[IpAddress]:
        asked.append(host)
        return list(answers[min(len(asked) - 1, 1)])

    name = f"rebinding.invalid:{server.host.partition(':')[2]}"
    server.answers["/a"] = reply(content=PNG)
    limits = replace(QUICK, allowed_private=frozenset({name}), lookup_ttl_s=0)
    (fetched,) = fetch(server, f"http://{name}/a", limits=limits, lookup=rebinding)
    assert (fetched.outcome, asked) == (Outcome.OK, ["rebinding.invalid"])
    assert server.seen[0][1]["Host"] == name


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "10.0.0.8", "::1", "::ffff:127.0.0.1"]
)
def test_a_redirect_to_a_name_of_a_private_address_never_reaches_it(
    server: Loopback, address: str
) -> None:
    async def lookup(host: str, port: int) -> list[IpAddress]:
        if host == "inside.invalid":
            return [ipaddress.ip_address(address)]
        return await system_lookup(host, port)

    port = server.host.partition(":")[2]
    server.answers |= {
        "/a": reply(302, headers={"Location": f"http://inside.invalid:{port}/b"}),
        "/b": reply(content=PNG),
    }
    (fetched,) = fetch(server, "/a", lookup=lookup)
    assert fetched.outcome is Outcome.REFUSED_ADDRESS
    assert server.count("/b") == 0


def test_no_more_bodies_are_held_than_requests_may_be_in_flight(server: Loopback) -> None:
    server.answers |= {f"/{index}": reply(content=PNG) for index in range(30)}
    most, lock = 0, threading.Lock()

    def slowly(fetched: Fetched) -> Outcome:
        nonlocal most
        with lock:
            most = max(most, len(server.seen) - len(done))
        time.sleep(0.01)
        with lock:
            done.append(fetched.outcome)
        return fetched.outcome

    done: list[Outcome] = []

    async def run() -> list[Outcome]:
        limits = replace(QUICK, in_flight=3, allowed_private=frozenset({server.host}))
        fetcher = Fetcher(limits, of_any_pace(at_once=30))
        try:
            urls = [f"http://{server.host}{path}" for path in server.answers]
            return await fetcher.fetch_all(urls, slowly)
        finally:
            await fetcher.close()

    assert asyncio.run(run()) == [Outcome.OK] * 30
    assert most <= 3


def test_the_certificate_is_of_the_name_though_the_address_is_connected_to(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    for name, expected in (("localhost", Outcome.OK), ("else.where", Outcome.CONNECTION_FAILED)):
        key_and_certificate = certificate(tmp_path, name)
        here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        here.load_cert_chain(key_and_certificate)
        trust = ssl.create_default_context(cafile=str(key_and_certificate))
        with serve(here) as server:
            server.answers["/a"] = reply(content=PNG)
            (fetched,) = fetch(
                server, "/a", limits=replace(QUICK, attempts=1), tls=trust, scheme="https"
            )
            assert fetched.outcome is expected


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for one host name, with its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2090, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / f"{name}.pem"
    path.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("8.8.8.8", "https://8.8.8.8:443/b?c=d%20e"),
        ("2001:db8::1", "https://[2001:db8::1]:443/b?c=d%20e"),
    ],
)
def test_the_url_that_is_asked_holds_the_judged_address(address: str, url: str) -> None:
    target = Target(
        url="https://a.example/b?c=d%20e#f",
        scheme="https",
        host="a.example",
        port=443,
        address=ipaddress.ip_address(address),
    )
    assert address_url(target) == url
