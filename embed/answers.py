"""What an answer to a request for an image means: one `Outcome`, and the bytes if it is a body."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from embed.outcomes import Outcome, outcome_of_status

USER_AGENT = "tastegraph"
OPT_OUT_DIRECTIVES = frozenset({"noai", "noimageai"})
# Directives with a value, which a colon sets off as it does the name of a crawler.
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
_WEEKDAY = re.compile(r"(unavailable_after: *[a-z]+),")
NOT_PICTURES = ("text/html", "application/xhtml", "application/json", "video/", "audio/")
# Imgur answers a removed image with a redirect to, or the body of, a placeholder: a PNG of 503
# bytes, 161 x 81. Flickr redirects to photo_unavailable.
REMOVED_MD5 = frozenset({"d835884373f4d6c8f24742ceabe74946"})
REMOVED_NAMES = frozenset(
    {
        "removed.png",
        "photo_unavailable.png",
        "photo_unavailable_l.png",
        "photo_unavailable.gif",
    }
)
REMOVED_SIZES = frozenset({(161, 81)})
MAX_PLACEHOLDER_BYTES = 2_000
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The answer for one url.

    Args:
        outcome: Its class.
        content: The body; empty unless `outcome` is `OK`.
        http_status: Of the last answer; 0 if there was none.
        etag, last_modified: What the host calls this version of the body; empty if it does not.
    """

    outcome: Outcome
    content: bytes = field(default=b"", repr=False)
    http_status: int = 0
    etag: str = ""
    last_modified: str = ""

    def validators(self) -> dict[str, str]:
        """Headers that ask for the body only if it is another than this one."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in asked.items() if value and value.isascii()}


def redirected(url: str, location: str) -> str | Outcome:
    """Where a redirect leads: a url, `REMOVED` for a known placeholder, or `BAD_URL`."""
    try:
        onward = urljoin(url, location)
        name = urlsplit(onward).path.rpartition("/")[2]
    except ValueError:
        return Outcome.BAD_URL
    return Outcome.REMOVED if name in REMOVED_NAMES else onward


def judge_body(content: bytes) -> Fetched:
    """A body that came with success: `EMPTY`, `REMOVED` for a known placeholder, else `OK`."""
    if not content:
        return Fetched(outcome=Outcome.EMPTY)
    if is_placeholder(content):
        return Fetched(outcome=Outcome.REMOVED)
    return Fetched(outcome=Outcome.OK, content=content)


def is_placeholder(content: bytes) -> bool:
    """Whether a body is what a host shows for removed images, by its hash or its size."""
    if len(content) > MAX_PLACEHOLDER_BYTES:
        return False
    size = (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big"))
    if content.startswith(_PNG) and size in REMOVED_SIZES:
        return True
    return hashlib.md5(content, usedforsecurity=False).hexdigest() in REMOVED_MD5


def judge_archived(http_status: int, content: bytes, max_bytes: int) -> Fetched:
    """An archived answer under the rules that a fresh one is judged by."""
    outcome = outcome_of_status(http_status)
    if outcome is not Outcome.OK:
        return Fetched(outcome=outcome)
    return Fetched(outcome=Outcome.TOO_LARGE) if len(content) > max_bytes else judge_body(content)


def judge_headers(headers: Mapping[str, str], robots: Iterable[str], max_bytes: int) -> Outcome:
    """What the headers of a success say of its body: `OK`, or why it need not be read."""
    if opted_out(robots):
        return Outcome.OPTED_OUT
    if headers.get("content-type", "").lower().startswith(NOT_PICTURES):
        return Outcome.NOT_IMAGE
    length = headers.get("content-length", "")
    is_too_large = length.isdecimal() and int(length) > max_bytes
    return Outcome.TOO_LARGE if is_too_large else Outcome.OK


def opted_out(robots_tags: Iterable[str]) -> bool:
    """Whether X-Robots-Tag headers forbid use by machine learning, for all crawlers or this one."""
    for header in robots_tags:
        crawler = ""
        # A date may hold a comma of its own.
        for part in _WEEKDAY.sub(r"\1", header.lower()).split(","):
            first, colon, directive = part.partition(":")
            if not colon:
                directive = first
            elif first.strip() not in _VALUED:
                crawler = first.strip()
            if crawler in {"", "*", USER_AGENT} and directive.strip() in OPT_OUT_DIRECTIVES:
                return True
    return False


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for; a date counts from the answer's own `Date`."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        sent = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - sent).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def pause_before(url: str, attempt: int, backoff_s: float, seed: int = 0) -> float:
    """Seconds to wait after failed attempt `attempt` (from 0): doubling, spread by a hash."""
    digest = hashlib.blake2b(f"{seed}:{attempt}:{url}".encode(), digest_size=4).digest()
    spread = int.from_bytes(digest, "big") / 2**32
    return float(backoff_s * 2**attempt * (0.5 + spread))
