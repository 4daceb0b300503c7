"""Previews, galleries and videos of generated submissions: JSON with fresh ids and signatures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from orchestration.bench.templates import Template
from orchestration.bench.vocabulary import endless_codes, endless_signatures

WIDTHS = (108, 216, 320, 640, 960, 1080)
SIZES = (
    (1080, 1350), (1170, 2532), (3024, 4032), (4032, 3024), (1920, 1080), (1080, 1080),
    (750, 1000), (640, 480), (540, 960), (2048, 1536), (1284, 2778), (828, 1104),
)  # fmt: skip
TYPES = ("jpg",) * 17 + ("png",) * 3
MAX_ITEMS = 20
_PREVIEW_KEYS = ("url", "width", "height")
_NSFW_PREVIEWS = 0.9  # Of submissions that are over 18.


class Pictures:
    """Makes what shows images in a submission.

    Args:
        rng: Decides everything.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._codes = endless_codes(rng, 13)
        self._signatures = endless_signatures(rng)
        self._luck = _endless(rng)

    def code(self) -> bytes:
        """Id of an image or a video."""
        return next(self._codes)

    def preview(self, code: bytes, over_18: bool, host: str, enabled: bool) -> bytes:
        """`,"preview":{...}` of one image.

        Args:
            code: Id of the image.
            over_18: Blurred variants are listed, too.
            host: preview.redd.it or external-preview.redd.it.
            enabled: Whether the image is the submission.
        """
        shape = next(self._luck)
        nsfw = over_18 and shape % 100 < 100 * _NSFW_PREVIEWS
        plain, blurred = _preview(shape % len(SIZES), shape % 7 % 2, host, enabled)
        variants = b""
        if nsfw:
            variant = self._filled(blurred, code)
            variants = b'"nsfw":%b,"obfuscated":%b' % (variant, variant)
        return b',"preview":' + self._filled(plain, code, variants)

    def gallery(self, num_items: int, over_18: bool) -> tuple[bytes, bytes]:
        """`,"gallery_data":{...}` and `,"media_metadata":{...}`; one item in 50 is unprocessed."""
        items, media = [], []
        for _ in range(min(num_items, MAX_ITEMS)):
            code, luck = next(self._codes), next(self._luck)
            caption = b'"caption":"%b",' % code[:5] if luck % 3 == 0 else b""
            items.append(b'{%b"id":%d,"media_id":"%b"}' % (caption, 800_000_000 + luck, code))
            if luck % 50 == 0:
                media.append(b'"%b":{"status":"unprocessed"}' % code)
                continue
            template = _item(luck % len(SIZES), luck % len(TYPES), over_18)
            media.append(b'"%b":%b' % (code, self._filled(template, code)))
        data = b',"gallery_data":{"items":[%b]}' % b",".join(items)
        return data, b',"media_metadata":{%b}' % b",".join(sorted(media))

    def video(self, code: bytes) -> bytes:
        """`media` of a video that Reddit holds."""
        return self._filled(_VIDEO, code)

    def _filled(self, template: Template, code: bytes, variants: bytes = b"") -> bytes:
        given = {"code": code, "variants": b"{%b}" % variants}
        values = [given.get(slot) or next(self._signatures) for slot in template.slots]
        return template.text % tuple(values)


def _endless(rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.integers(0, 1 << 26, 8192).tolist()


@lru_cache(maxsize=1 << 12)
def _preview(shape: int, kind: int, host: str, enabled: bool) -> tuple[Template, Template]:
    """Of the preview, and of the blurred variant in it: nsfw and obfuscated are the same."""
    base = f"https://{host}/@code@.{'png' if kind else 'jpeg'}"
    images = _sized(base, shape, "", _PREVIEW_KEYS)
    images |= {"id": "@code@", "variants": "@=variants@"}
    blurred = _sized(base, shape, "&blur=40", _PREVIEW_KEYS)
    return Template.of({"enabled": enabled, "images": [images]}), Template.of(blurred)


def _sized(base: str, shape: int, more: str, keys: tuple[str, str, str]) -> dict[str, Any]:
    """Source and smaller versions of an image."""
    (url, x, y), (width, height) = keys, SIZES[shape]
    smaller = [w for w in WIDTHS if w <= width]
    crops = [(w, f"{base}?width={w}&crop=smart&auto=webp{more}&s=@signature@") for w in smaller]
    return {
        "resolutions": [{url: crop, x: w, y: w * height // width} for w, crop in crops],
        "source": {url: f"{base}?auto=webp{more}&s=@signature@", x: width, y: height},
    }


@lru_cache(maxsize=1 << 12)
def _item(shape: int, kind: int, over_18: bool) -> Template:
    suffix = TYPES[kind]
    base = f"https://preview.redd.it/@code@.{suffix}"
    sized = _sized(base, shape, "", ("u", "x", "y"))
    fields: dict[str, Any] = {
        "e": "Image",
        "id": "@code@",
        "m": f"image/{suffix}",
        "status": "valid",
    }
    fields |= {"p": sized["resolutions"], "s": sized["source"]}
    if over_18:
        fields["o"] = [sized["source"] | {"u": f"{base}?width=1080&blur=40&s=@signature@"}]
    return Template.of(fields)


_VIDEO = Template.of(
    {
        "reddit_video": {
            "bitrate_kbps": 2400,
            "dash_url": "https://v.redd.it/@code@/DASHPlaylist.mpd?a=1767312000%2C@signature@&v=1&f=sd",
            "duration": 34,
            "fallback_url": "https://v.redd.it/@code@/DASH_720.mp4?source=fallback",
            "has_audio": True,
            "height": 1280,
            "hls_url": "https://v.redd.it/@code@/HLSPlaylist.m3u8?a=1767312000%2C@signature@&v=1&f=sd",
            "is_gif": False,
            "scrubber_media_url": "https://v.redd.it/@code@/DASH_96.mp4",
            "transcoding_status": "completed",
            "width": 720,
        }
    }
)
