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
    Spans,
    kernel,
)
from pipelines.native.simd import byte_at
from pipelines.native.values import texts

_NOTHING, _DIRECT, _LOOK = range(3)
_UPLOAD = np.frombuffer(b"https://i.redd.it/", np.uint8)
_TEXT_POST = np.frombuffer(b"https://www.reddit.com/r/", np.uint8)
_SUFFIXES = np.array(
    [int.from_bytes(s, "little") for s in (b".jpg", b".png", b".gif", b".jpeg", b".webp")],
    np.uint64,
)
_MAX_BYTES = 64


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


class _Submission(Mapping[str, Any]):
    """A scanned submission whose fields are parsed when they are asked for."""

    def __init__(self, spans: Spans, row: int) -> None:
        self._spans = spans
        self._row = row

    def __getitem__(self, key: str) -> Any:
        spans, field = self._spans, self._spans.keys.names.index(key)
        kind = spans.kind_LF[self._row, field]
        if kind == ABSENT:
            raise KeyError(key)
        quote = int(kind == TEXT or kind == ESCAPED)
        begin = int(spans.start_LF[self._row, field]) - quote
        end = int(spans.end_LF[self._row, field]) + quote
        return orjson.loads(spans.buffer[begin:end].tobytes())

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
    shown = [images_of(_Submission(spans, row), over_18) for row in rows[look].tolist()]
    counts = (found == _DIRECT).astype(np.int32)
    counts[look] = [len(one.images) for one in shown]
    kinds = np.full(len(direct), TEXT, np.uint8)
    uploads = texts(
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
