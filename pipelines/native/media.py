"""Scanned submissions -> the images that they show: `pipelines.media`, without objects where the
answer is plain: uploads, galleries, links that Reddit has a preview of, posts without images, and
repetitions of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pyarrow as pa

from pipelines.media import GONE_AUTHORS, MEDIA_KEYS, images_of
from pipelines.native.scan import (
    ABSENT,
    ESCAPED,
    FALSE,
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
)
from pipelines.native.shown import (
    CLASS_KEYS,
    DIRECT,
    GALLERY,
    ITEM,
    LOOK,
    MAX_UPLOAD_URL_BYTES,
    MAX_URL_BYTES,
    MEDIA_ID,
    PREVIEW,
    TYPES,
    WORDS,
    classes,
    galleries,
    upload_urls,
    uploads,
)
from pipelines.native.texts import Texts, texts_of
from pipelines.urls import MAX_URL_CHARS

_IMAGES, _SOURCE, _URL = Keys.of(["images"]), Keys.of(["source"]), Keys.of(["url"])
_GALLERY_ITEMS = Keys.of(["items"])
# Of a repeated submission: what it shows, and what tells that it is gone, or over 18.
_PARENT_SIGNS = ("author", "removed_by_category", "over_18")
_PARENT = Keys.of([*CLASS_KEYS, *_PARENT_SIGNS])
_METADATA = tuple({"status": "valid", "e": "Image", "m": name} for name in TYPES)
_IMAGE = {"url": pl.String(), "source": pl.String()}
_OPEN, _CLOSE_LIST = ord("{"), ord("]")
# Reddit's own previews: the upload behind one, or a signed copy of what a link shows.
_PREVIEW_OF_UPLOAD = (
    r"^https://preview\.redd\.it/([A-Za-z0-9]+\.(?:jpg|jpeg|png|gif|webp))\?[!$-;=?-\[\]_a-z~]*$"
)
_PREVIEW_OF_LINK = r"^https://external-preview\.redd\.it/[!$-;=@-\[\]_a-z~]+\?[!$-;=?-\[\]_a-z~]*$"


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


def _preview_urls(preview: Field) -> tuple[npt.NDArray[np.intp], pl.Series]:
    """Rows whose preview is of one image, and its url in each."""
    is_odd = np.zeros(len(preview.kind_L), np.bool_)
    (images,) = fields_in(preview, _IMAGES, is_odd)
    (source,) = fields_in(_only(images, is_odd), _SOURCE, is_odd)
    (url,) = fields_in(source, _URL, is_odd)
    rows = np.flatnonzero(url.is_text & ~is_odd)
    return rows, texts_of(url.take(rows), 0).to_series()


def _uploads(metadata: Field) -> npt.NDArray[np.int32]:
    """What `shown.uploads` finds."""
    sizes = (metadata.end_L - metadata.start_L)[metadata.kind_L == OBJECT]
    # The shortest member, "":0, with its comma; and one more for each row in doubt.
    out = np.empty((int(sizes.sum(dtype=np.int64)) // 5 + len(sizes) + 1, 4), np.int32)
    arrays = (metadata.start_L, metadata.kind_L, ITEM.words, ITEM.slots, WORDS)
    count = uploads(metadata.base, metadata.size_bytes, *arrays, room_for_expected(1), out)
    return out[:count]


class _Look:
    """Submissions that `images_of` must look at, with what it asks of long objects cut out."""

    def __init__(self, spans: Spans, rows: npt.NDArray[np.intp]) -> None:
        self._bytes = spans.buffer
        self._places = {key: place for place, key in enumerate(spans.keys.names)}
        arrays = (spans.kind_LF[rows], spans.start_LF[rows], spans.end_LF[rows])
        self._values = zip(*(array.tolist() for array in arrays), strict=True)
        previews, urls = _preview_urls(Field.of(spans, "preview").take(rows))
        self._previews = dict(zip(previews.tolist(), urls, strict=True))
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

    def _uploads_of(self, metadata: Field) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {
            k: {} for k in np.flatnonzero(metadata.kind_L == OBJECT).tolist()
        }
        for row, begin, end, number in _uploads(metadata).tolist():
            if number < 0:
                del found[row]
            elif number:
                name = self._bytes[begin:end].tobytes().decode()
                found[row][name] = _METADATA[number - 1]
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


_Shown = tuple[npt.NDArray[np.intp], pl.Series, str]
"""Rows, one for each image and in order; its url; how it was found."""


def _direct(field: Field, rows: npt.NDArray[np.intp]) -> _Shown:
    return rows, texts_of(field.take(rows), MAX_URL_BYTES).to_series(), "direct"


def _previews(preview: Field, rows: npt.NDArray[np.intp]) -> tuple[_Shown, npt.NDArray[np.intp]]:
    """Images of previews in their usual spelling, and the rows of others."""
    one, urls = _preview_urls(preview)
    posted = pl.col("url").str.replace_all("&amp;", "&", literal=True)
    upload = "https://i.redd.it/" + posted.str.extract(_PREVIEW_OF_UPLOAD)
    is_signed = posted.str.contains(_PREVIEW_OF_LINK) & (
        pl.col("url").str.len_bytes() <= MAX_URL_CHARS
    )
    found = pl.coalesce(upload, pl.when(is_signed).then(posted))
    named = urls.to_frame("url").select(found).to_series()
    is_plain = np.zeros(len(rows), np.bool_)
    is_plain[one] = named.is_not_null().to_numpy()
    return (rows[is_plain], named.drop_nulls(), "preview"), rows[~is_plain]


def _galleries(
    data: Field, metadata: Field, rows: npt.NDArray[np.intp]
) -> tuple[_Shown, npt.NDArray[np.intp]]:
    """Images of galleries, and the rows that must be looked at."""
    is_odd = np.zeros(len(rows), np.bool_)
    (items,) = fields_in(data, _GALLERY_ITEMS, is_odd)
    found = _uploads(metadata)
    counts, named = np.empty(len(rows), np.int64), np.empty((len(found), 3), np.int32)
    keys = (MEDIA_ID.words, MEDIA_ID.slots, room_for_expected(1))
    lists = (items.start_L, items.kind_L, found, len(found))
    count = galleries(data.base, data.size_bytes, *lists, *keys, is_odd, counts, named)
    offsets = np.empty(count + 1, np.int64)
    out = np.empty(count * MAX_UPLOAD_URL_BYTES, np.uint8)
    size = upload_urls(data.base, named[:count], offsets, out)
    urls = Texts(out[:size], offsets, np.empty(0, np.bool_)).to_series()
    return (np.repeat(rows, counts), urls, "gallery"), rows[is_odd]


def _plain(fields: Mapping[str, Field]) -> tuple[list[_Shown], npt.NDArray[np.intp]]:
    """Images of the submissions that say plainly what they show, and the rows of all others.

    Args:
        fields: Those of `CLASS_KEYS`, of the same submissions.
    """
    url, ordered = fields["url"], [fields[key] for key in CLASS_KEYS]
    found = np.empty(len(url.kind_L), np.uint8)
    starts, ends = np.zeros(len(found), np.int32), np.zeros(len(found), np.int32)
    classes(
        url.base,
        np.stack([field.start_L for field in ordered], axis=1),
        np.stack([field.end_L for field in ordered], axis=1),
        np.stack([field.kind_L for field in ordered], axis=1),
        found,
        starts,
        ends,
    )
    uploaded = Field(url.base, url.size_bytes, starts, ends, np.full(len(found), TEXT, np.uint8))
    direct, preview, gallery, look = (
        np.flatnonzero(found == of) for of in (DIRECT, PREVIEW, GALLERY, LOOK)
    )
    previews, odd_previews = _previews(fields["preview"].take(preview), preview)
    data, metadata = (fields[key].take(gallery) for key in ("gallery_data", "media_metadata"))
    in_galleries, odd_galleries = _galleries(data, metadata, gallery)
    shown = [_direct(uploaded, direct), previews, in_galleries]
    return shown, np.concatenate([look, odd_previews, odd_galleries])


def _repeated(
    lists: Field, rows: npt.NDArray[np.intp], over_18: bool
) -> tuple[list[_Shown], npt.NDArray[np.intp]]:
    """Images of submissions that repeat one other, which shows plainly what it does; other rows.

    Args:
        lists: Their `crosspost_parent_list`.
        rows: Their numbers.
        over_18: As `media.images_of`.
    """
    is_odd = lists.kind_L != LIST
    parent = _only(lists, is_odd)
    is_odd |= parent.kind_L != OBJECT
    fields = dict(zip(_PARENT.names, fields_in(parent, _PARENT, is_odd), strict=True))
    author, removed, adult = (fields.pop(key) for key in _PARENT_SIGNS)
    is_odd |= author.kind_L == ESCAPED
    is_odd |= ~np.isin(removed.kind_L, (ABSENT, NULL, FALSE, TEXT))
    is_odd |= ~np.isin(adult.kind_L, (ABSENT, NULL, FALSE, TRUE))
    is_gone = texts_of(author, 0).to_series().is_in(GONE_AUTHORS).to_numpy()
    is_gone |= (removed.kind_L == TEXT) & (removed.end_L > removed.start_L)
    is_gone |= (adult.kind_L == TRUE) & (not over_18)
    shown = np.flatnonzero(~is_odd & ~is_gone)
    found, look = _plain({key: field.take(shown) for key, field in fields.items()})
    images: list[_Shown] = [(rows[shown[of]], urls, "crosspost") for of, urls, _ in found]
    return images, np.concatenate([rows[is_odd], rows[shown[look]]])


def media_of(spans: Spans, rows: npt.NDArray[np.intp], over_18: bool) -> tuple[pl.Series, int]:
    """Column `media` of these lines, nested, and the number of albums that nothing stands for.

    Args:
        spans: Scanned submissions.
        rows: Some of them.
        over_18: As `media.images_of`.
    """
    fields = {key: Field.of(spans, key).take(rows) for key in CLASS_KEYS}
    plain, look = _plain(fields)
    repeated, look = _repeated(fields["crosspost_parent_list"].take(look), look, over_18)
    plain += repeated
    shown = [images_of(one, over_18) for one in _Look(spans, rows[look]).submissions()]
    images = [image for one in shown for image in one.images]
    looked = pl.DataFrame(images, ["url", "source"], orient="row", schema_overrides=_IMAGE)
    urls = pl.concat([*(urls for _, urls, _ in plain), looked["url"]])
    labels = (pl.repeat(how, len(of), dtype=pl.String(), eager=True) for of, _, how in plain)
    sources = pl.concat([*labels, looked["source"]])
    looked_at = np.repeat(look, [len(one.images) for one in shown])
    # Each part is in order within a row; an image's place is found by its row.
    row_of_image = np.concatenate([*(part[0] for part in plain), looked_at])
    order = np.argsort(row_of_image, kind="stable")
    structs = pa.StructArray.from_arrays(
        [urls.gather(order).to_arrow(), sources.gather(order).to_arrow()], names=["url", "source"]
    )
    counts = np.bincount(row_of_image, minlength=len(rows))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), structs)
    return pl.Series("media", lists), sum(one.is_lost_album for one in shown)
