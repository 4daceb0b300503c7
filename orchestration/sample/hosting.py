"""Where images lie: image -> its urls, and how the objects of a dump of 2019 refer to it.

`canonical_url` is what the image archive is keyed by, and what ingest must make of the references.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from orchestration.sample.activity import Form, Image, Post
from orchestration.sample.config import RULES

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE62 = _BASE36 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HEX = "0123456789abcdef"
_WIDTHS = (108, 216, 320, 640)
_NATIVE = 1080  # side of the original, pixels, as the preview of a picture says


def image_url(seed: int, image: Image, form: Form) -> str:
    """The url where an image of a post of this form can be fetched."""
    code = _code(seed, image)
    match form:
        case Form.REDDIT | Form.GALLERY | Form.INLINE:
            return f"https://i.redd.it/{code.word(_BASE36, 13)}.jpg"
        case Form.IMGUR | Form.IMGUR_PAGE | Form.GIFV:
            return f"https://i.imgur.com/{code.word(_BASE62, 7)}.jpg"
        case Form.ELSEWHERE:
            return f"https://media.example.org/{code.word(_BASE36, 2)}/{code.word(_HEX, 16)}.jpg"
        case Form.VIDEO | Form.ALBUM:
            name, query = code.word(_BASE62, 43), code.word(_HEX, 40)
            return f"https://external-preview.redd.it/{name}.jpg?auto=webp&s={query}"
    raise ValueError(f"form={form!r}: the images of a crosspost have the parent's urls")


def canonical_urls(seed: int, post: Post, parent: Post | None) -> list[str]:
    """The urls of a post's images, in their order; a crosspost has its parent's."""
    source = post if parent is None else parent
    return [image_url(seed, image, source.form) for image in source.images]


def link_fields(  # noqa: PLR0911 (one return a form)
    seed: int, post: Post, post_id: str, self_url: str
) -> dict[str, Any]:
    """The fields of a submission object that say what an image post shows; not of crossposts."""
    first = post.images[0]
    url = image_url(seed, first, post.form)
    code = _code(seed, first)
    match post.form:
        case Form.REDDIT:
            return _direct(url, "i.redd.it", is_media=True) | _preview(seed, first)
        case Form.IMGUR:
            return _direct(url, "i.imgur.com") | _external(_signed(url))
        case Form.ELSEWHERE:
            return _direct(url, "media.example.org")
        case Form.IMGUR_PAGE:
            page = url.replace("i.imgur.com", "imgur.com").removesuffix(".jpg")
            return {"url": page, "domain": "imgur.com", "post_hint": "link"}
        case Form.GIFV:
            gifv = url.removesuffix(".jpg") + ".gifv"
            return {"url": gifv, "domain": "i.imgur.com", "post_hint": "link"}
        case Form.ALBUM:
            album = f"https://imgur.com/a/{code.word(_BASE62, 7)}"
            return {"url": album, "domain": "imgur.com", "post_hint": "link"} | _external(url)
        case Form.VIDEO:
            video = f"https://v.redd.it/{code.word(_BASE36, 13)}"
            fields = {"url": video, "domain": "v.redd.it", "post_hint": "hosted:video"}
            return fields | {"is_video": True, "media": _video(video)} | _external(url)
        case Form.GALLERY:
            return _gallery(seed, post, post_id)
        case Form.INLINE:
            return {"url": self_url, "media_metadata": _metadata(seed, post.images)}
    raise ValueError(f"form={post.form!r}: not an image post of its own")


def text_with_images(seed: int, post: Post, text: str) -> str:
    """The text of a post with images in it, links to previews where the images stand."""
    links = [f"https://preview.redd.it/{_media_id(seed, image)}.jpg" for image in post.images]
    return "\n\n".join([text, *(f"{link}?width=640&amp;format=pjpg" for link in links)])


class _Code:
    """Letters that belong to an image, the same ones in any process."""

    def __init__(self, key: str) -> None:
        self._random = random.Random(key)

    def word(self, letters: str, length: int) -> str:
        return "".join(self._random.choices(letters, k=length))


def _code(seed: int, image: Image) -> _Code:
    # Another picture, another url, for embeddings are kept by url when a world is made anew.
    return _Code(f"{RULES}/{seed}/{image}")


def _media_id(seed: int, image: Image) -> str:
    return image_url(seed, image, Form.REDDIT).rsplit("/", 1)[-1].removesuffix(".jpg")


def _direct(url: str, domain: str, *, is_media: bool = False) -> dict[str, Any]:
    return {
        "url": url,
        "domain": domain,
        "is_reddit_media_domain": is_media,
        "post_hint": "image",
    }


def _signed(url: str) -> str:
    """Where the site keeps a copy of an image from another host."""
    code = _Code(f"{url}/signed")
    name, sign = code.word(_BASE62, 43), code.word(_HEX, 40)
    return f"https://external-preview.redd.it/{name}.jpg?auto=webp&s={sign}"


def _preview(seed: int, image: Image) -> dict[str, Any]:
    """`preview` of an uploaded image: urls signed, and escaped as in 2018-09 to 2023-03."""
    code = _Code(f"{seed}/{image.number}/preview")
    media = f"https://preview.redd.it/{_media_id(seed, image)}.jpg"
    cropped = "crop=smart&amp;auto=webp"
    sizes = [
        {
            "height": width,
            "url": f"{media}?width={width}&amp;{cropped}&amp;s={code.word(_HEX, 40)}",
            "width": width,
        }
        for width in _WIDTHS
    ]
    source = f"{media}?auto=webp&amp;s={code.word(_HEX, 40)}"
    return _preview_object(source, sizes, code.word(_BASE62, 43), enabled=True)


def _external(url: str) -> dict[str, Any]:
    """`preview` of a page elsewhere: the only place where its image can be had."""
    code = _Code(f"{url}/preview")
    return _preview_object(url.replace("&", "&amp;"), [], code.word(_BASE62, 43), enabled=False)


def _preview_object(
    source: str, sizes: Sequence[dict[str, Any]], name: str, *, enabled: bool
) -> dict[str, Any]:
    image = {
        "id": name,
        "resolutions": list(sizes),
        "source": {"height": _NATIVE, "url": source, "width": _NATIVE},
        "variants": {},
    }
    return {"preview": {"enabled": enabled, "images": [image]}}


def _video(url: str) -> dict[str, Any]:
    playlist = {"dash_url": f"{url}/DASHPlaylist.mpd", "duration": 11, "is_gif": True}
    return {"reddit_video": playlist | {"fallback_url": f"{url}/DASH_720", "height": _NATIVE}}


def _metadata(seed: int, images: Sequence[Image]) -> dict[str, Any]:
    """`media_metadata`: by media id, in an order that says nothing."""
    entries = {}
    for image in images:
        code, media_id = _Code(f"{seed}/{image.number}/metadata"), _media_id(seed, image)
        url = f"https://preview.redd.it/{media_id}.jpg"
        sign = code.word(_HEX, 40)
        small = f"{url}?width=108&amp;crop=smart&amp;auto=webp&amp;s={sign[::-1]}"
        full = f"{url}?width={_NATIVE}&amp;format=pjpg&amp;auto=webp&amp;s={sign}"
        entries[media_id] = {
            "e": "Image",
            "id": media_id,
            "m": "image/jpg",
            "p": [{"u": small, "x": 108, "y": 108}],
            "s": {"u": full, "x": _NATIVE, "y": _NATIVE},
            "status": "valid",
        }
    return dict(sorted(entries.items()))


def _gallery(seed: int, post: Post, post_id: str) -> dict[str, Any]:
    """A gallery; every third one has an item that was never processed, so that it has no image."""
    metadata = _metadata(seed, post.images)
    items = [
        {"id": 1_000 * image.number + 7, "media_id": _media_id(seed, image)}
        for image in post.images
    ]
    code = _Code(f"{seed}/{post.images[0].number}/gallery")
    if post.images[0].number % 3 == 0:
        broken = code.word(_BASE36, 13)
        metadata[broken] = {"id": broken, "status": "unprocessed"}
        items.insert(1, {"id": 1_000 * post.images[0].number + 8, "media_id": broken})
    return {
        "url": f"https://www.reddit.com/gallery/{post_id}",
        "domain": "reddit.com",
        "gallery_data": {"items": items},
        "is_gallery": True,
        "media_metadata": dict(sorted(metadata.items())),
    }
