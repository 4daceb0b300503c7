"""Scanned submissions -> the images that they show: `pipelines.media`, without objects where the
answer is plain: an upload to i.redd.it, or a text post with no images about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pyarrow as pa

from pipelines.media import MEDIA_KEYS, images_of
from pipelines.native.scan import (
    ABSENT,
    ESCAPED,
    LIST,
    NULL,
    OBJECT,
    TEXT,
    TRUE,
    Field,
    Keys,
    Spans,
    after_space,
    byte_or_zero,
    fields_in,
    kernel,
    nested_end,
    room_for_expected,
    scalar_end,
    scan_object,
    text_end,
)
from pipelines.native.simd import byte_at
from pipelines.native.texts import texts_of

_NOTHING, _DIRECT, _LOOK = range(3)
_UPLOAD = np.frombuffer(b"https://i.redd.it/", np.uint8)
_TEXT_POST = np.frombuffer(b"https://www.reddit.com/r/", np.uint8)
_SUFFIXES = np.array(
    [int.from_bytes(s, "little") for s in (b".jpg", b".png", b".gif", b".jpeg", b".webp")],
    np.uint64,
)
_MAX_BYTES = 64
# A gallery holds 20; ids are compared with each other.
_MAX_UPLOADS = 64
_IMAGES, _SOURCE, _URL = Keys.of(["images"]), Keys.of(["source"]), Keys.of(["url"])
_ITEM = Keys.of(["status", "e", "m"])
_TYPES = ("image/jpg", "image/jpeg", "image/png", "image/gif")
_ITEMS = tuple({"status": "valid", "e": "Image", "m": name} for name in _TYPES)
_TYPE_BYTES = np.zeros((len(_TYPES), 16), np.uint8)
for _number, _name in enumerate(_TYPES):
    _TYPE_BYTES[_number, : len(_name) + 1] = [len(_name), *_name.encode()]
_WORDS = (
    *(np.frombuffer(word, np.uint8) for word in (b"valid", b"Image", b"AnimatedImage")),
    _TYPE_BYTES,
)
_QUOTE, _OPEN, _CLOSE, _CLOSE_LIST = ord('"'), ord("{"), ord("}"), ord("]")


@kernel
def _starts_with(base, start, end, prefix):
    if end - start < prefix.shape[0]:
        return False
    for k in range(prefix.shape[0]):
        if byte_at(base + start + k) != prefix[k]:
            return False
    return True


@kernel
def _is_upload(base, start, end, prefix, suffixes):
    """Whether the text is https://i.redd.it/ID.ext, in its one spelling."""
    if end - start > _MAX_BYTES or not _starts_with(base, start, end, prefix):
        return False
    i = start + prefix.shape[0]
    begin = i
    while i < end:
        c = byte_at(base + i)
        if not (48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122):
            break
        i += 1
    if i == begin or end - i > 5:
        return False
    suffix = np.uint64(0)
    for k in range(end - i):
        suffix |= np.uint64(byte_at(base + i + k)) << np.uint64(8 * k)
    for known in suffixes:
        if suffix == known:
            return True
    return False


@kernel
def _classes(base, starts, ends, kinds, upload, text_post, suffixes, out, out_starts, out_ends):
    """Axes: rows; then url, url_overridden_by_dest, is_gallery, gallery_data, media_metadata,
    preview, crosspost_parent_list: the order of `_KEYS`."""
    for row in range(starts.shape[0]):
        out[row] = _LOOK
        kind = kinds[row]
        has_parent = kind[6] == LIST and ends[row, 6] - starts[row, 6] > 2
        if has_parent or kind[2] == TRUE or kind[3] == OBJECT:
            continue
        is_own = kind[1] == ABSENT or kind[1] == NULL
        f = 0 if is_own else 1
        if kind[f] != TEXT:
            continue
        start, end = starts[row, f], ends[row, f]
        if _is_upload(base, start, end, upload, suffixes):
            out[row] = _DIRECT
            out_starts[row], out_ends[row] = start, end
        elif is_own and kind[4] != OBJECT and kind[5] != OBJECT:
            if _starts_with(base, start, end, text_post):
                out[row] = _NOTHING


_KEYS = (
    "url",
    "url_overridden_by_dest",
    "is_gallery",
    "gallery_data",
    "media_metadata",
    "preview",
    "crosspost_parent_list",
)


@kernel
def _is_text(base, start, end, expected):
    return end - start == expected.shape[0] and _starts_with(base, start, end, expected)


@kernel
def _type_of_upload(base, starts, ends, kinds, words):
    """Number of the media type of an item of `media_metadata`; 0: no image, -1: escaped texts."""
    status, image, animated, types = words
    for f in range(3):
        if kinds[f] == ESCAPED:
            return -1
    for f in range(3):
        if kinds[f] != TEXT:
            return 0
    if not _is_text(base, starts[0], ends[0], status):
        return 0
    if not _is_text(base, starts[1], ends[1], image):
        if not _is_text(base, starts[1], ends[1], animated):
            return 0
    for number in range(types.shape[0]):
        size = types[number, 0]
        if ends[2] - starts[2] == size:
            if _starts_with(base, starts[2], ends[2], types[number, 1 : size + 1]):
                return number + 1
    return 0


@kernel
def _uploads(base, n, starts, kinds, keys, slots, words, none, out):
    """Uploads in objects `media_metadata`: row, start and end of the id, number of the type.

    Rows with many members, or with what JSON lets be read in two ways, end with the number -1.
    """
    found = 0
    shape = (3,)
    inner = (np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(shape, np.uint8))
    for row in range(starts.shape[0]):
        if kinds[row] != OBJECT:
            continue
        first = found
        i = after_space(base, starts[row] + 1, n)
        is_clear = byte_or_zero(base, i, n) == _QUOTE
        members = 0
        while is_clear:
            begin = i + 1
            end, is_escaped = text_end(base, begin, n)
            i = after_space(base, after_space(base, end + 1, n) + 1, n)
            number = 0
            if byte_or_zero(base, i, n) == _OPEN:
                inner[2][:] = ABSENT
                i, _ = scan_object(base, i, n, keys, slots, *inner, none, 0)
                if i >= 0:
                    number = _type_of_upload(base, *inner, words)
            else:
                i, _ = scalar_end(base, i, n)
            members += 1
            is_clear = i >= 0 and number >= 0 and not is_escaped and members <= _MAX_UPLOADS
            is_clear = is_clear and found < out.shape[0]
            for k in range(first, found):
                same = out[k, 2] - out[k, 1] == end - begin
                j = 0
                while same and j < end - begin:
                    same = byte_at(base + out[k, 1] + j) == byte_at(base + begin + j)
                    j += 1
                is_clear = is_clear and not same
            if not is_clear:
                break
            out[found, 0], out[found, 1], out[found, 2], out[found, 3] = row, begin, end, number
            found += 1
            i = after_space(base, i, n)
            if byte_or_zero(base, i, n) == _CLOSE:
                break
            i = after_space(base, i + 1, n)
        if not is_clear:
            found = first
            out[found, 0], out[found, 3] = row, -1
            found += 1
    return found


@kernel
def _only_elements(base, n, starts, kinds, odd, out_starts, out_kinds):
    """Where the objects lie that are all that a list holds; rows with further elements are odd."""
    for row in range(starts.shape[0]):
        out_kinds[row] = ABSENT
        if kinds[row] != LIST:
            continue
        i = after_space(base, starts[row] + 1, n)
        c = byte_or_zero(base, i, n)
        if c == _OPEN:
            end = after_space(base, nested_end(base, i, n), n)
            odd[row] |= byte_or_zero(base, end, n) != _CLOSE_LIST
            out_starts[row], out_kinds[row] = i, OBJECT
        else:
            odd[row] |= c != _CLOSE_LIST


def _only(field: Field, is_odd: npt.NDArray[np.bool_]) -> Field:
    starts, kinds = np.zeros(len(is_odd), np.int32), np.empty(len(is_odd), np.uint8)
    arrays = (field.start_L, field.kind_L, is_odd, starts, kinds)
    _only_elements(field.base, field.size_bytes, *arrays)
    return Field(field.base, field.size_bytes, starts, starts, kinds)


class _Look:
    """Submissions that `images_of` must look at, with what it asks of long objects cut out."""

    def __init__(self, spans: Spans, rows: npt.NDArray[np.intp]) -> None:
        self._bytes = spans.buffer
        self._places = {key: place for place, key in enumerate(spans.keys.names)}
        arrays = (spans.kind_LF[rows], spans.start_LF[rows], spans.end_LF[rows])
        self._values = zip(*(array.tolist() for array in arrays), strict=True)
        self._previews = self._preview_urls(Field.of(spans, "preview").take(rows))
        self._uploads = self._uploads_of(Field.of(spans, "media_metadata").take(rows))

    def submissions(self) -> Iterator[_Submission]:
        """One for each row."""
        for k, value in enumerate(self._values):
            yield _Submission(self._bytes, self._places, value, self._reduced(k))

    def _reduced(self, k: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if k in self._previews:
            found["preview"] = {"images": [{"source": {"url": self._previews[k]}}]}
        if k in self._uploads:
            found["media_metadata"] = self._uploads[k]
        return found

    def _preview_urls(self, preview: Field) -> dict[int, str]:
        is_odd = np.zeros(len(preview.kind_L), np.bool_)
        (images,) = fields_in(preview, _IMAGES, is_odd)
        (source,) = fields_in(_only(images, is_odd), _SOURCE, is_odd)
        (url,) = fields_in(source, _URL, is_odd)
        rows = np.flatnonzero(url.is_text & ~is_odd)
        return dict(zip(rows.tolist(), texts_of(url.take(rows), 0).to_series(), strict=True))

    def _uploads_of(self, metadata: Field) -> dict[int, dict[str, Any]]:
        sizes = (metadata.end_L - metadata.start_L)[metadata.kind_L == OBJECT]
        # The shortest member, "":0, with its comma; and one more for each row in doubt.
        out = np.empty((int(sizes.sum(dtype=np.int64)) // 5 + len(sizes) + 1, 4), np.int32)
        count = _uploads(
            metadata.base,
            metadata.size_bytes,
            metadata.start_L,
            metadata.kind_L,
            _ITEM.words,
            _ITEM.slots,
            _WORDS,
            room_for_expected(1),
            out,
        )
        found: dict[int, dict[str, Any]] = {
            k: {} for k in np.flatnonzero(metadata.kind_L == OBJECT).tolist()
        }
        for row, begin, end, number in out[:count].tolist():
            if number < 0:
                del found[row]
            elif number:
                name = self._bytes[begin:end].tobytes().decode()
                found[row][name] = _ITEMS[number - 1]
        return found


class _Submission(Mapping[str, Any]):
    """A scanned submission whose fields are parsed when they are asked for.

    Args:
        buffer: Where it lies.
        places: Key -> its place in `values`.
        values: Of each field: kinds, starts, ends.
        reduced: Fields that are known already.
    """

    def __init__(
        self,
        buffer: npt.NDArray[np.uint8],
        places: Mapping[str, int],
        values: tuple[list[int], list[int], list[int]],
        reduced: Mapping[str, Any],
    ) -> None:
        self._buffer = buffer
        self._places = places
        self._values = values
        self._reduced = reduced

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key of `MEDIA_KEYS`."""
        place = self._places[key]
        kind = self._values[0][place]
        if kind in (ABSENT, NULL):
            return default if kind == ABSENT else None
        if key in self._reduced:
            return self._reduced[key]
        quote = kind in (TEXT, ESCAPED)
        begin, end = self._values[1][place] - quote, self._values[2][place] + quote
        return orjson.loads(self._buffer[begin:end].tobytes())

    def __getitem__(self, key: str) -> Any:
        if self._values[0][self._places[key]] == ABSENT:
            raise KeyError(key)
        return self.get(key)

    def __iter__(self) -> Iterator[str]:
        return (key for key in MEDIA_KEYS if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def media_of(spans: Spans, rows: npt.NDArray[np.intp], over_18: bool) -> tuple[pl.Series, int]:
    """Column `media` of these lines, nested, and the number of albums that nothing stands for.

    Args:
        spans: Scanned submissions.
        rows: Some of them.
        over_18: As `media.images_of`.
    """
    fields = [spans.keys.names.index(key) for key in _KEYS]
    found = np.empty(len(rows), np.uint8)
    starts, ends = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int32)
    _classes(
        spans.buffer.ctypes.data,
        spans.start_LF[rows][:, fields],
        spans.end_LF[rows][:, fields],
        spans.kind_LF[rows][:, fields],
        _UPLOAD,
        _TEXT_POST,
        _SUFFIXES,
        found,
        starts,
        ends,
    )
    direct, look = np.flatnonzero(found == _DIRECT), np.flatnonzero(found == _LOOK)
    shown = [images_of(one, over_18) for one in _Look(spans, rows[look]).submissions()]
    counts = (found == _DIRECT).astype(np.int32)
    counts[look] = [len(one.images) for one in shown]
    kinds = np.full(len(direct), TEXT, np.uint8)
    uploads = texts_of(
        Field(spans.buffer.ctypes.data, spans.buffer.size, starts[direct], ends[direct], kinds),
        _MAX_BYTES,
    )
    images = [image for one in shown for image in one.images]
    urls = pl.concat([uploads.to_series(), pl.Series([i.url for i in images], dtype=pl.String())])
    sources = pl.Series(["direct"] * len(direct) + [i.source for i in images], dtype=pl.String())
    # Both lists are in order of the rows; an image's place is found by its row.
    row_of_image = np.concatenate([direct, np.repeat(look, counts[look])])
    order = np.argsort(row_of_image, kind="stable")
    structs = pa.StructArray.from_arrays(
        [urls.gather(order).to_arrow(), sources.gather(order).to_arrow()], names=["url", "source"]
    )
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), structs)
    return pl.Series("media", lists), sum(one.is_lost_album for one in shown)
