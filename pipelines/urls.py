"""One url as posted -> the urls of the images it shows, each in the one spelling for its image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import parse_qs

# The longest url seen in a dump has 511,885 characters; no server answers one of a tenth of that.
MAX_URL_CHARS = 4096
IMAGE_ID_BYTES = 16

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp", ".jfif", ".apng")
# imgur shows a still image of a video under the same id.
VIDEO_SUFFIXES = (".gifv", ".mp4", ".webm")

# Hosts that went dark or show videos: Reddit's preview is worth more than the url.
_FADING = frozenset(
    {"gfycat.com", "giphy.com", "minus.com", "quickmeme.com", "qkme.me", "tinypic.com"}
)

# No user names or passwords, no IPv6, no characters that urls cannot hold; the fragment is cut.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+)\.?(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[^?#\x00-\x20\x7f-\xa0\\<>\"^`{|}\u2028\u2029]*)?"
    r"(?P<query>\?[^#\x00-\x20\x7f-\xa0\\<>\"^`{|}\u2028\u2029]*)?(?:#.*)?",
    re.IGNORECASE,
)
_IMGUR_ID = r"[A-Za-z0-9]{5,8}"
_IMGUR_FILE = re.compile(rf"/({_IMGUR_ID})(?:_d)?(\.[A-Za-z0-9]+)/?")
_IMGUR_IDS = re.compile(rf"/(?:r/[^/]+/)?({_IMGUR_ID}(?:,{_IMGUR_ID})*)/?")
_IMGUR_ALBUM = re.compile(r"/(?:a|gallery|album|t/[^/]+|topic/[^/]+)/.")
# Stack Exchange's images, whose ids are other images at i.imgur.com.
_STACK_HOST = "i.stack.imgur.com"
_IMGUR_PAGES = frozenset({"about", "login", "rules", "signin", "search", "upload", "removed"})
# An id has 5 or 7 characters; one more of these asks for a thumbnail of it.
_IMGUR_THUMBNAILS = frozenset("sbtmlh")
# `title-of-the-post-v0-ID.jpeg`: the original is i.redd.it/ID.jpeg.
_REDDIT_FILE = re.compile(r"/(?:[^/]*-v[0-9]+-)?([A-Za-z0-9]+)(\.[A-Za-z]+)")
_PLACEHOLDERS = ("/removed.png", "/image-removed.png", "/no_image.png")

How = Literal["direct", "page", "album", "none"]


@dataclass(frozen=True)
class Resolved:
    """What a url leads to.

    Args:
        how: `direct`: an image; `page`: a page of an image host, whose images its address tells;
            `album`: one whose images only the host's API tells; `none`: no image known.
        urls: Canonical urls of the images, in order.
        is_fading: The url's host went dark or shows videos: a preview is worth more.
    """

    how: How
    urls: tuple[str, ...] = ()
    is_fading: bool = False


class _Parts(NamedTuple):
    """A url in parts: host in lower case, query with its question mark; parts may be empty."""

    scheme: str
    host: str
    port: str
    path: str
    query: str

    def text(self, scheme: str) -> str:
        """The url under a scheme."""
        return f"{scheme}://{self.host}{self.port}{self.path}{self.query}"


NOTHING = Resolved("none")
ALBUM = Resolved("album")


def image_id(url: str) -> str:
    """BLAKE2b of a canonical url, of 128 bits, hexadecimal."""
    return hashlib.blake2b(url.encode(), digest_size=IMAGE_ID_BYTES).hexdigest()


def resolve(text: str) -> Resolved:
    """The images behind a url as posted; `&amp;` in it is undone.

    Known hosts have one spelling for each image, over https. Of other hosts, a url whose path ends
    like an image file is one, and stays as posted but for its fragment and the case of its host:
    its query may be a signature. Urls with a password, with characters that urls cannot hold, or
    with more than 4,096 characters lead to nothing.
    """
    parts = _split(text)
    if parts is None:
        return NOTHING
    domain = ".".join(parts.host.split(".")[-2:])
    resolver = _BY_DOMAIN.get(domain)
    if resolver is not None:
        return resolver(parts)
    path = parts.path.lower()
    if not path.endswith(IMAGE_SUFFIXES) or path.endswith(_PLACEHOLDERS) or "/wiki/" in path:
        return NOTHING
    return Resolved("direct", (parts.text(parts.scheme),), domain in _FADING)


def _split(text: str) -> _Parts | None:
    if len(text) > MAX_URL_CHARS:
        return None
    match = _URL.fullmatch(text.strip().replace("&amp;", "&"))
    if match is None:
        return None
    scheme, host, port, path, query = match.groups(default="")
    return _Parts(scheme.lower(), host.rstrip(".").lower(), port, path, query)


def _direct(url: str) -> Resolved:
    return Resolved("direct", (url,))


def _resolve_redd_it(parts: _Parts) -> Resolved:
    """Reddit's own images; v.redd.it and the short links redd.it/ID show none."""
    if parts.host == "external-preview.redd.it":
        return _direct(parts.text("https")) if len(parts.path) > 1 else NOTHING
    if parts.host not in ("i.redd.it", "preview.redd.it"):
        return NOTHING
    match = _REDDIT_FILE.fullmatch(parts.path)
    if match is not None and match[2].lower() in IMAGE_SUFFIXES:
        return _direct(f"https://i.redd.it/{match[1]}{match[2].lower()}")
    is_image = parts.path.lower().endswith(IMAGE_SUFFIXES)
    return _direct(parts.text("https")) if is_image else NOTHING


def _resolve_reddit_com(parts: _Parts) -> Resolved:
    """reddit.com/media?url=... wraps an image; everything else there is a page."""
    if parts.path.rstrip("/") != "/media":
        return NOTHING
    inner = parse_qs(parts.query[1:]).get("url", [""])[0]
    unwrapped = _split(inner)
    if unwrapped is None or unwrapped.host.endswith("reddit.com"):
        return NOTHING
    return resolve(inner)


def _resolve_signed(parts: _Parts) -> Resolved:
    """Reddit's old image hosts: names without suffix, a signature as query."""
    return _direct(parts.text("https")) if len(parts.path) > 1 else NOTHING


def _resolve_imgur(parts: _Parts) -> Resolved:
    if parts.host == _STACK_HOST:
        is_image = parts.path.lower().endswith(IMAGE_SUFFIXES)
        return _direct(f"https://{_STACK_HOST}{parts.path}") if is_image else NOTHING
    file = _IMGUR_FILE.fullmatch(parts.path)
    if file is not None:
        suffix = file[2].lower()
        suffix = ".jpg" if suffix in VIDEO_SUFFIXES else suffix
        if suffix not in IMAGE_SUFFIXES or file[1].lower() in _IMGUR_PAGES:
            return NOTHING
        return _direct(f"https://i.imgur.com/{_imgur_original(file[1])}{suffix}")
    if _IMGUR_ALBUM.match(parts.path):
        return ALBUM
    page = _IMGUR_IDS.fullmatch(parts.path)
    if page is None or page[1].lower() in _IMGUR_PAGES:
        return NOTHING
    names = [_imgur_original(name) for name in page[1].split(",")]
    return Resolved("page", tuple(f"https://i.imgur.com/{name}.jpg" for name in names))


def _imgur_original(name: str) -> str:
    is_thumbnail = len(name) in (6, 8) and name[-1] in _IMGUR_THUMBNAILS
    return name[:-1] if is_thumbnail else name


def _resolve_twitter(parts: _Parts) -> Resolved:
    """pbs.twimg.com/media/ID.jpg:large and /media/ID?format=jpg&name=small are one image."""
    if parts.host != "pbs.twimg.com":
        return NOTHING
    path = parts.path.partition(":")[0]
    if not path.lower().endswith(IMAGE_SUFFIXES):
        path = f"{path}.{parse_qs(parts.query[1:]).get('format', [''])[0]}"
    is_image = path.lower().endswith(IMAGE_SUFFIXES)
    return _direct(f"https://pbs.twimg.com{path}") if is_image else NOTHING


_BY_DOMAIN: dict[str, Callable[[_Parts], Resolved]] = {
    "redd.it": _resolve_redd_it,
    "reddit.com": _resolve_reddit_com,
    "redditmedia.com": _resolve_signed,
    "reddituploads.com": _resolve_signed,
    "imgur.com": _resolve_imgur,
    "twimg.com": _resolve_twitter,
}
