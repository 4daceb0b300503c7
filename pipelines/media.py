"""One submission object -> the images that it shows, in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pipelines.urls import ALBUM, NOTHING, Resolved, resolve

Source = Literal["direct", "gallery", "crosspost", "preview", "inline", "page"]
Found = Iterable[tuple[str, Source]]

# A gallery holds at most 20 items; a hostile object may claim any number.
MAX_IMAGES = 100
# What must be kept of a submission object for `images_of`.
MEDIA_KEYS = (
    "url",
    "url_overridden_by_dest",
    "is_gallery",
    "gallery_data",
    "media_metadata",
    "preview",
    "crosspost_parent_list",
    "selftext",
)
_MEDIA_ID = re.compile(r"[A-Za-z0-9]{5,32}")
# Reddit writes image/jpg, rarely image/jpeg.
_SUFFIX_OF_TYPE = {"image/jpg": "jpg", "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif"}
_INLINE_LINK = re.compile(
    r"https?://(?:preview|i)\.redd\.it/(?:[^\s/)]*-v\d+-)?([A-Za-z0-9]{5,32})\."
)
GONE_AUTHORS = frozenset({"[deleted]", "[removed]"})


class Image(NamedTuple):
    """One image of a submission.

    Args:
        url: Canonical url to fetch.
        source: What named it: `direct`, the url is the image; `page`, the url is a page of an
            image host that shows it; `gallery`; `inline`, in a self post; `crosspost`, the
            submission that this one repeats; `preview`, Reddit's copy of what the url shows.
    """

    url: str
    source: Source


class Shown(NamedTuple):
    """What a submission shows.

    Args:
        images: In order, each url once; an image's position is its index.
        is_lost_album: The url is an album that only its host's API can take apart, and nothing
            stands for it.
    """

    images: list[Image]
    is_lost_album: bool


def images_of(submission: Mapping[str, Any], over_18: bool = False) -> Shown:
    """Images of a submission object of any era.

    The first of these that names any: the repeated submission, the gallery, the url, images in
    the selftext, the preview. The preview goes before urls of hosts that went dark. Albums of
    imgur tell their images only through an API that registers nobody any more: their preview
    stands for them, as for videos. Wrong types count as absence: without its images, a submission
    is still one.

    Args:
        submission: Fields `MEDIA_KEYS`.
        over_18: Take the images of a repeated submission also if that one is marked over 18.
    """
    resolved = NOTHING
    parent = _parent(submission)
    found: Found
    if parent is not None:
        found = _repeated(parent, over_18)
    elif _has_gallery(submission):
        found = _gallery(submission)
    else:
        resolved = _resolved(submission)
        found = _own(submission, resolved)
    urls: dict[str, Source] = {}
    for url, source in found:
        urls.setdefault(url, source)
        if len(urls) == MAX_IMAGES:
            break
    images = [Image(url, source) for url, source in urls.items()]
    return Shown(images, resolved is ALBUM and not images)


def _parent(submission: Mapping[str, Any]) -> Mapping[str, Any] | None:
    parents = submission.get("crosspost_parent_list")
    if isinstance(parents, list) and parents and isinstance(parents[-1], dict):
        return parents[-1]
    return None


def _repeated(parent: Mapping[str, Any], over_18: bool) -> Found:
    """Images of the repeated submission, unless it is gone: that holds for its repetitions too."""
    author = parent.get("author")
    is_gone = isinstance(author, str) and author in GONE_AUTHORS
    if is_gone or parent.get("removed_by_category") or (parent.get("over_18") and not over_18):
        return ()
    images = _gallery(parent) if _has_gallery(parent) else _own(parent, _resolved(parent))
    return [(url, "crosspost") for url, _ in images]


def _has_gallery(submission: Mapping[str, Any]) -> bool:
    """Also where its data are null: the images of a deleted gallery are gone."""
    return submission.get("is_gallery") is True or isinstance(submission.get("gallery_data"), dict)


def _gallery(submission: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    """Valid items in gallery order: the map beside it has none."""
    data, metadata = submission.get("gallery_data"), submission.get("media_metadata")
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(items, list) or not isinstance(metadata, dict):
        return
    for item in items:
        media_id = item.get("media_id") if isinstance(item, dict) else None
        url = _uploaded(media_id, metadata) if isinstance(media_id, str) else None
        if url is not None:
            yield url, "gallery"


def _resolved(submission: Mapping[str, Any]) -> Resolved:
    """Where the submission leads: the destination that overrides the permalink, else the url."""
    first = NOTHING
    for key in ("url_overridden_by_dest", "url"):
        url = submission.get(key)
        found = resolve(url) if isinstance(url, str) else NOTHING
        if found.urls:
            return found
        first = found if first is NOTHING else first
    return first


def _own(submission: Mapping[str, Any], resolved: Resolved) -> Found:
    named: Source = "page" if resolved.how == "page" else "direct"
    own: list[tuple[str, Source]] = [(url, named) for url in resolved.urls]
    if own and not resolved.is_fading:
        return own
    return list(_inline(submission)) or list(_preview(submission)) or own


def _preview(submission: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    preview = submission.get("preview")
    images = preview.get("images") if isinstance(preview, dict) else None
    for image in images[:MAX_IMAGES] if isinstance(images, list) else ():
        source = image.get("source") if isinstance(image, dict) else None
        url = source.get("url") if isinstance(source, dict) else None
        if isinstance(url, str):
            yield from ((found, "preview") for found in resolve(url).urls)


def _inline(submission: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    """Images uploaded into a selftext, in its order; emotes and other people's GIFs are none."""
    metadata, selftext = submission.get("media_metadata"), submission.get("selftext")
    if not isinstance(metadata, dict) or not metadata:
        return
    shown = _INLINE_LINK.findall(selftext) if isinstance(selftext, str) else []
    for media_id in dict.fromkeys([*shown, *metadata]):
        url = _uploaded(media_id, metadata)
        if url is not None:
            yield url, "inline"


def _uploaded(media_id: str, metadata: Mapping[str, Any]) -> str | None:
    """Url of the original of a valid item of `media_metadata`."""
    item = metadata.get(media_id)
    if not isinstance(item, dict) or item.get("status") != "valid":
        return None
    if item.get("e") not in ("Image", "AnimatedImage") or not _MEDIA_ID.fullmatch(media_id):
        return None
    media_type = item.get("m")
    suffix = _SUFFIX_OF_TYPE.get(media_type) if isinstance(media_type, str) else None
    return f"https://i.redd.it/{media_id}.{suffix}" if suffix is not None else None
