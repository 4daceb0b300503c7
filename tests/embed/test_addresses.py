import asyncio
import ipaddress

import pytest

from embed.addresses import Target, is_public, parse_url, resolve
from embed.outcomes import Outcome


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.8", "198.18.0.1",
        "::", "::1", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "::127.0.0.1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
        "64:ff9b:1:a00:0:100:808:808",
        "2002:7f00:1::", "2001:0:7f00:1::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_behind_the_crawler_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "151.101.1.140", "2001:4860:4860::8888", "::ffff:8.8.8.8"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("https://i.redd.it/a.jpg", ("https", "i.redd.it", 443)),
        ("http://I.Imgur.com:8080/a?b=c#d", ("http", "i.imgur.com", 8080)),
        ("https://bücher.example/x.png", ("https", "xn--bcher-kva.example", 443)),
        ("http://[::1]:81/", ("http", "::1", 81)),
    ],
)
def test_a_fetchable_url_gives_scheme_host_and_port(url: str, parsed: tuple[str, str, int]) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    "url",
    [
        "", "i.redd.it/a.jpg", "ftp://a.example/b", "file:///etc/passwd", "data:image/png,x",
        "https://user:secret@a.example/", "https://@a.example/", "http://", "http://a.example:0/",
        "http://a.example:99999/", "http://[::1/", "http://a.example/\r\nX: y", "http://a b/",
        "http://" + "ü" * 70 + ".example/",
    ],
)  # fmt: skip
def test_a_url_that_is_not_fetchable_is_a_bad_url(url: str) -> None:
    assert parse_url(url) is None
    assert asyncio.run(resolve(url)) is Outcome.BAD_URL


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/", "http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/",
        "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/meta-data",
    ],
)  # fmt: skip
def test_a_private_address_is_refused_however_it_is_spelled(url: str) -> None:
    assert asyncio.run(resolve(url)) is Outcome.REFUSED_ADDRESS


def test_an_allowed_host_may_be_private_on_its_port_alone() -> None:
    target = asyncio.run(resolve("http://localhost:8123/a", {"localhost:8123"}))
    assert isinstance(target, Target)
    assert (target.host, target.port, target.address.is_loopback) == ("localhost", 8123, True)
    other_port = asyncio.run(resolve("http://localhost:8124/a", {"localhost:8123"}))
    assert other_port is Outcome.REFUSED_ADDRESS


def test_a_public_literal_is_its_own_target() -> None:
    target = asyncio.run(resolve("https://8.8.8.8/a.png"))
    assert isinstance(target, Target)
    assert (str(target.address), target.origin) == ("8.8.8.8", "https://8.8.8.8:443")


def test_a_name_that_no_server_knows_is_a_failed_connection() -> None:
    assert asyncio.run(resolve("http://nowhere.invalid/a")) is Outcome.CONNECTION_FAILED
