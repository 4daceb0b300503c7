"""One submission object -> the images that it shows, in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.urls import NOTHING, is_fading, resolve

Source = Literal["direct", "gallery", "crosspost", "preview", "inline", "page"]

# A gallery holds at most 20 items; a hostile object may claim any number.
MAX_IMAGES = 100
# What a submission object must keep for `images_of`.
MEDIA_KEYS = (
    "url",
    "url_overridden_by_dest",
    "gallery_data",
    "is_gallery",
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
_GONE_AUTHORS = frozenset({"[deleted]", "[removed]"})


@dataclass(frozen=True)
class Image:
    """One image of a submission.

    Args:
        position: Order in the submission, from 0.
        url: Canonical url to fetch.
        source: What named it: `direct`, the url is the image; `page`, the url is a page of an
            image host that shows it; `gallery`; `inline`, in a self post; `crosspost`, the
            submission that this one repeats; `preview`, Reddit's copy of what the url shows.
    """

    position: int
    url: str
    source: Source


def images_of(submission: Mapping[str, Any], over_18: bool = False) -> list[Image]:
    """Images of a submission object of any era; each url once.

    The first of these that names any: the repeated submission, the gallery, the url, images in
    the selftext, the preview. Hosts that went dark come after the preview. Albums of imgur name
    their images only to the API, so their preview stands for them (see `is_unresolved_album`).
    Wrong types count as absence: a submission without images is still a submission.

    Args:
        submission: Fields `MEDIA_KEYS`.
        over_18: Take the images of a repeated submission also if that one is marked over 18.
    """
    parent = _parent(submission)
    sources: Iterable[tuple[str, Source]]
    if parent is not None:
        sources = _sources_of_parent(parent, over_18)
    elif _has_gallery(submission):
        sources = _gallery(submission)
    else:
        sources = _own(submission)
    urls: dict[str, Source] = {}
    for url, source in sources:
        urls.setdefault(url, source)
        if len(urls) == MAX_IMAGES:
            break
    return [Image(n, url, source) for n, (url, source) in enumerate(urls.items())]


def is_unresolved_album(submission: Mapping[str, Any]) -> bool:
    """Whether its url is an album that only the host's API can take apart."""
    return any(resolve(url).how == "album" for url in _urls(submission)[:1])


def _parent(submission: Mapping[str, Any]) -> Mapping[str, Any] | None:
    parents = submission.get("crosspost_parent_list")
    if isinstance(parents, list) and parents and isinstance(parents[-1], dict):
        return parents[-1]
    return None


def _sources_of_parent(parent: Mapping[str, Any], over_18: bool) -> Iterator[tuple[str, Source]]:
    is_gone = parent.get("removed_by_category") or parent.get("author") in _GONE_AUTHORS
    if is_gone or (parent.get("over_18") is True and not over_18):
        return
    images = _gallery(parent) if _has_gallery(parent) else _own(parent)
    yield from ((url, "crosspost") for url, _ in images)


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
        if isinstance(media_id, str):
            yield from ((url, "gallery") for url in _uploaded(media_id, metadata.get(media_id)))


def _own(submission: Mapping[str, Any]) -> Iterable[tuple[str, Source]]:
    urls = _urls(submission)
    resolved = next((r for r in map(resolve, urls) if r.urls), NOTHING)
    named: Source = "page" if resolved.how == "page" else "direct"
    if resolved.urls and not is_fading(urls[0]):
        return [(url, named) for url in resolved.urls]
    inline = list(_inline(submission))
    previews: list[tuple[str, Source]] = [(url, "preview") for url in _preview(submission)]
    return inline or previews or [(url, named) for url in resolved.urls]


def _urls(submission: Mapping[str, Any]) -> Sequence[str]:
    """Where the submission leads: the destination that overrides the permalink, then the url."""
    found = (submission.get(key) for key in ("url_overridden_by_dest", "url"))
    return [url for url in found if isinstance(url, str) and url]


def _preview(submission: Mapping[str, Any]) -> Sequence[str]:
    preview = submission.get("preview")
    images = preview.get("images") if isinstance(preview, dict) else None
    found: list[str] = []
    for image in images[:MAX_IMAGES] if isinstance(images, list) else ():
        source = image.get("source") if isinstance(image, dict) else None
        url = source.get("url") if isinstance(source, dict) else None
        if isinstance(url, str):
            found.extend(resolve(url).urls)
    return found


def _inline(submission: Mapping[str, Any]) -> Iterator[tuple[str, Source]]:
    """Images uploaded into a selftext, as it shows them; emotes and GIFs of others are none."""
    metadata, selftext = submission.get("media_metadata"), submission.get("selftext")
    if not isinstance(metadata, dict) or not metadata:
        return
    shown = _INLINE_LINK.findall(selftext) if isinstance(selftext, str) else []
    for media_id in dict.fromkeys([*shown, *metadata]):
        yield from ((url, "inline") for url in _uploaded(media_id, metadata.get(media_id)))


def _uploaded(media_id: str, item: object) -> Iterable[str]:
    """The original of one valid item of `media_metadata`."""
    if not isinstance(item, dict) or item.get("status") != "valid":
        return
    if item.get("e") not in ("Image", "AnimatedImage") or not _MEDIA_ID.fullmatch(media_id):
        return
    media_type = item.get("m")
    suffix = _SUFFIX_OF_TYPE.get(media_type) if isinstance(media_type, str) else None
    if suffix is not None:
        yield f"https://i.redd.it/{media_id}.{suffix}"
