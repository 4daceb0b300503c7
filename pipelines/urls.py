"""One url as posted -> the url of the image it shows, in the one spelling that stands for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

# The longest url seen in a dump has 511,885 characters; no server answers one of a tenth of that.
MAX_URL_CHARS = 4096

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp", ".jfif", ".apng")
# imgur shows a still image of a video under the same id.
VIDEO_SUFFIXES = (".gifv", ".mp4", ".webm")

# Hosts that went dark, or that answer with a video: a preview is worth more than their own url.
FADING_HOSTS = ("gfycat.com", "giphy.com", "minus.com", "quickmeme.com", "qkme.me", "tinypic.com")

_REDDIT_HOSTS = ("reddit.com", "redd.it")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\<>\"^`{|}\u2028\u2029]")
_IMGUR_ID = r"[A-Za-z0-9]{5,8}"
_IMGUR_FILE = re.compile(rf"/({_IMGUR_ID})(?:_d)?\.([A-Za-z0-9]+)")
_IMGUR_IDS = re.compile(rf"/(?:r/[^/]+/)?({_IMGUR_ID}(?:,{_IMGUR_ID})*)/?")
_IMGUR_PAGES = frozenset({"about", "login", "rules", "signin", "search", "upload", "removed"})
# An id has 5 or 7 characters; one more of these asks for a thumbnail of it.
_IMGUR_THUMBNAILS = frozenset("sbtmlh")
# `title-of-the-post-v0-ID.jpeg`: the original is at i.redd.it/ID.jpeg.
_REDDIT_FILE = re.compile(r"/(?:[^/]*-v\d+-)?([A-Za-z0-9]+)\.([A-Za-z]+)")
_PLACEHOLDERS = frozenset({"removed.png", "image-removed.png", "no_image.png"})

Resolution = Literal["direct", "page", "album", "none"]


@dataclass(frozen=True)
class Resolved:
    """What a url leads to.

    Args:
        how: `direct`: an image; `page`: images of a page that shows them; `album`: a page whose
            images only the host's API can name; `none`: no image that the url tells of.
        urls: Canonical urls of the images, in order.
    """

    how: Resolution
    urls: tuple[str, ...] = ()


NOTHING = Resolved("none")
ALBUM = Resolved("album")


def image_id(url: str) -> str:
    """128-bit BLAKE2b of a canonical url, hexadecimal."""
    return hashlib.blake2b(url.encode(), digest_size=16).hexdigest()


def resolve(text: str) -> Resolved:
    """The images behind a url as posted; `&amp;` in it is undone.

    Urls that are no plain http(s) urls, hold characters that urls cannot, or are longer than
    4,096 characters lead to nothing.
    """
    parts = split(text)
    if parts is None:
        return NOTHING
    host = _host(parts)
    for suffix, resolver in _BY_HOST.items():
        if host == suffix or host.endswith("." + suffix):
            return resolver(parts)
    return _resolve_other(parts)


def split(text: str) -> SplitResult | None:
    """Parts of an http(s) url without fragment, or None if `text` is not one."""
    text = text.strip().replace("&amp;", "&")
    if len(text) > MAX_URL_CHARS or _UNSAFE.search(text):
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), fragment="")


def is_fading(text: str) -> bool:
    """Whether the url's host is one of FADING_HOSTS."""
    parts = split(text)
    return parts is not None and _is_under(_host(parts), FADING_HOSTS)


def has_suffix(path: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether a url path ends like a file of one of these kinds."""
    return path.lower().endswith(suffixes)


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _is_under(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith("." + domain) for domain in domains)


def _direct(url: str) -> Resolved:
    return Resolved("direct", (url,))


def _resolve_other(parts: SplitResult) -> Resolved:
    """Any host: a path that ends like an image is one; queries stay, for some are signatures."""
    path = parts.path
    if path.rsplit("/", 1)[-1].lower() in _PLACEHOLDERS or "/wiki/" in path:
        return NOTHING
    return _direct(urlunsplit(parts)) if has_suffix(path) else NOTHING


def _resolve_redd_it(parts: SplitResult) -> Resolved:
    host, path = _host(parts), parts.path
    if host in ("i.redd.it", "preview.redd.it"):
        match = _REDDIT_FILE.fullmatch(path)
        if match is not None and has_suffix(path):
            return _direct(f"https://i.redd.it/{match[1]}.{match[2].lower()}")
        signed = host == "preview.redd.it" and has_suffix(path)
        return _direct(_https(parts)) if signed else NOTHING
    return _direct(_https(parts)) if host == "external-preview.redd.it" else NOTHING


def _resolve_reddit_com(parts: SplitResult) -> Resolved:
    """reddit.com/media?url=... wraps an image; everything else there is a page."""
    inner = parse_qs(parts.query).get("url") if parts.path.rstrip("/") == "/media" else None
    if not inner:
        return NOTHING
    unwrapped = split(inner[0])
    if unwrapped is None or _is_under(_host(unwrapped), ("reddit.com",)):
        return NOTHING
    return resolve(inner[0])


def _resolve_signed(parts: SplitResult) -> Resolved:
    """Old image hosts of Reddit: no suffix needed, the query is a signature."""
    return _direct(_https(parts)) if parts.path.strip("/") else NOTHING


def _resolve_imgur(parts: SplitResult) -> Resolved:
    path = parts.path
    file = _IMGUR_FILE.fullmatch(path.rstrip("/"))
    if file is not None:
        return _imgur_file(file[1], "." + file[2].lower())
    if path.startswith(("/a/", "/gallery/", "/t/", "/topic/", "/album/")):
        return ALBUM
    pages = _IMGUR_IDS.fullmatch(path)
    if pages is None:
        return NOTHING
    ids = pages[1].split(",")
    if ids[0].lower() in _IMGUR_PAGES:
        return NOTHING
    return Resolved("page", tuple(f"https://i.imgur.com/{_imgur_original(i)}.jpg" for i in ids))


def _imgur_file(name: str, suffix: str) -> Resolved:
    if name.lower() in _IMGUR_PAGES:
        return NOTHING
    if suffix in VIDEO_SUFFIXES:
        suffix = ".jpg"
    if suffix not in IMAGE_SUFFIXES:
        return NOTHING
    return _direct(f"https://i.imgur.com/{_imgur_original(name)}{suffix}")


def _imgur_original(name: str) -> str:
    is_thumbnail = len(name) in (6, 8) and name[-1] in _IMGUR_THUMBNAILS
    return name[:-1] if is_thumbnail else name


def _resolve_twitter(parts: SplitResult) -> Resolved:
    """pbs.twimg.com/media/ID.jpg:large and /media/ID?format=jpg&name=small are one image."""
    if _host(parts) != "pbs.twimg.com":
        return NOTHING
    path = parts.path.split(":", 1)[0]
    form = parse_qs(parts.query).get("format", [""])[0].lower()
    if not has_suffix(path):
        path = f"{path}.{form}"
    return _direct(f"https://pbs.twimg.com{path}") if has_suffix(path) else NOTHING


def _https(parts: SplitResult) -> str:
    return urlunsplit(parts._replace(scheme="https"))


_BY_HOST: dict[str, Callable[[SplitResult], Resolved]] = {
    "redd.it": _resolve_redd_it,
    "reddit.com": _resolve_reddit_com,
    "redditmedia.com": _resolve_signed,
    "reddituploads.com": _resolve_signed,
    "imgur.com": _resolve_imgur,
    "twimg.com": _resolve_twitter,
}
