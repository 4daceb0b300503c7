"""Kernels for the images of submissions that say plainly what they show: `pipelines.media`."""

from __future__ import annotations

import numpy as np

from pipelines.native.scan import (
    ABSENT,
    ESCAPED,
    LIST,
    NULL,
    OBJECT,
    TEXT,
    TRUE,
    Keys,
    after_space,
    byte_or_zero,
    kernel,
    scalar_end,
    scan_object,
    text_end,
)
from pipelines.native.simd import byte_at

NOTHING, DIRECT, PREVIEW, GALLERY, LOOK = range(5)
# In the order of the axis F of `classes`.
CLASS_KEYS = (
    "url",
    "url_overridden_by_dest",
    "is_gallery",
    "gallery_data",
    "media_metadata",
    "preview",
    "crosspost_parent_list",
)
MAX_URL_BYTES = 64
# A gallery holds 20; ids are compared with each other.
_MAX_UPLOADS = 64
_UPLOAD = np.frombuffer(b"https://i.redd.it/", np.uint8)
_SUFFIXES = np.array(
    [int.from_bytes(s, "little") for s in (b".jpg", b".png", b".gif", b".jpeg", b".webp")],
    np.uint64,
)
_SCHEMES = (np.frombuffer(b"https://", np.uint8), np.frombuffer(b"http://", np.uint8))
_VIDEOS, _PAGES = (np.frombuffer(host, np.uint8) for host in (b"v.redd.it", b"www.reddit.com"))
_POSTS = np.frombuffer(b"/r/", np.uint8)
# Of the domains that `urls` knows; the ends suffice, as what is taken for one is looked at.
_ENDS = tuple(
    np.frombuffer(end, np.uint8)
    for end in (b"redd.it", b"reddit.com", b"media.com", b"uploads.com", b"imgur.com", b"twimg.com")
)
_MAX_LINK_BYTES = 4096
_LONGEST_SUFFIX = 5
TYPES = ("image/jpg", "image/jpeg", "image/png", "image/gif")
_TYPE_BYTES = np.zeros((len(TYPES), 16), np.uint8)
for _number, _name in enumerate(TYPES):
    _TYPE_BYTES[_number, : len(_name) + 1] = [len(_name), *_name.encode()]
_FILE_SUFFIXES = np.frombuffer(b".jpg.jpg.png.gif", np.uint8).reshape(len(TYPES), 4)
WORDS = (
    *(np.frombuffer(word, np.uint8) for word in (b"valid", b"Image", b"AnimatedImage")),
    _TYPE_BYTES,
)
_MIN_ID_BYTES, _MAX_ID_BYTES = 5, 32
_QUOTE, _OPEN, _CLOSE, _CLOSE_LIST = ord('"'), ord("{"), ord("}"), ord("]")
_COMMA, _SLASH, _DOT, _HYPHEN, _UNDERSCORE = ord(","), ord("/"), ord("."), ord("-"), ord("_")
_QUESTION, _HASH, _SPACE, _DELETE = ord("?"), ord("#"), ord(" "), 0x7F


@kernel
def _is_alphanumeric(c):
    return 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122


@kernel
def _starts_with(base, start, end, prefix):
    if end - start < prefix.shape[0]:
        return False
    for k in range(prefix.shape[0]):
        if byte_at(base + start + k) != prefix[k]:
            return False
    return True


@kernel
def _is_upload(base, start, end):
    """Whether the text is https://i.redd.it/ID.ext, in its one spelling."""
    if end - start > MAX_URL_BYTES or not _starts_with(base, start, end, _UPLOAD):
        return False
    i = start + _UPLOAD.shape[0]
    begin = i
    while i < end:
        if not _is_alphanumeric(byte_at(base + i)):
            break
        i += 1
    if i == begin or end - i > 5:
        return False
    suffix = np.uint64(0)
    for k in range(end - i):
        suffix |= np.uint64(byte_at(base + i + k)) << np.uint64(8 * k)
    for known in _SUFFIXES:
        if suffix == known:
            return True
    return False


@kernel
def _is_text(base, start, end, expected):
    return end - start == expected.shape[0] and _starts_with(base, start, end, expected)


@kernel
def _leads_nowhere(base, start, end):
    """Whether `urls.resolve` surely finds no image behind the link: False where it must look."""
    if end - start > _MAX_LINK_BYTES:
        return False
    i = start
    for scheme in _SCHEMES:
        if _starts_with(base, start, end, scheme):
            i = start + scheme.shape[0]
    host = i
    while i < end and byte_at(base + i) != _SLASH:
        c = byte_at(base + i)
        is_lower = 97 <= c <= 122 or 48 <= c <= 57
        if not (is_lower or c == _DOT or c == _HYPHEN or c == _UNDERSCORE):
            return False
        i += 1
    if host == start or i == host or byte_at(base + i - 1) == _DOT:
        return False
    for known in _ENDS:
        if i - host >= known.shape[0] and _starts_with(base, i - known.shape[0], i, known):
            if _is_text(base, host, i, _VIDEOS):
                return True
            return _is_text(base, host, i, _PAGES) and _starts_with(base, i, end, _POSTS)
    last_dot = host
    while i < end:
        c = byte_at(base + i)
        if c == _QUESTION or c == _HASH:
            break
        if c <= _SPACE or c >= _DELETE:
            return False
        if c == _DOT:
            last_dot = i
        i += 1
    return i - last_dot > _LONGEST_SUFFIX


@kernel
def classes(base, starts, ends, kinds, out, out_starts, out_ends):
    """How each submission shows images; where the url of a DIRECT one lies.

    Axes: rows, and F as `CLASS_KEYS`.
    """
    for row in range(starts.shape[0]):
        out[row] = LOOK
        kind = kinds[row]
        if kind[6] == LIST and ends[row, 6] - starts[row, 6] > 2:
            continue
        if kind[2] == TRUE or kind[3] == OBJECT:
            out[row] = GALLERY if kind[3] == OBJECT and kind[4] == OBJECT else NOTHING
            continue
        is_own = kind[1] == ABSENT or kind[1] == NULL
        f = 0 if is_own else 1
        if kind[f] != TEXT:
            continue
        start, end = starts[row, f], ends[row, f]
        if _is_upload(base, start, end):
            out[row] = DIRECT
            out_starts[row], out_ends[row] = start, end
        elif kind[4] != OBJECT and _leads_nowhere(base, start, end):
            if is_own or (kind[0] == TEXT and _leads_nowhere(base, starts[row, 0], ends[row, 0])):
                out[row] = PREVIEW if kind[5] == OBJECT else NOTHING


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
def uploads(base, n, starts, kinds, keys, slots, words, none, out):
    """Uploads in objects `media_metadata`: row, start and end of the id, number of the type.

    Rows with many members, or with what JSON lets be read in two ways, end with the number -1.
    """
    found = 0
    shape = (1, 3)
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
                inner[2][0, :] = ABSENT
                i, _ = scan_object(base, i, n, keys, slots, 0, *inner, none, 0, 0)
                if i >= 0:
                    number = _type_of_upload(base, inner[0][0], inner[1][0], inner[2][0], words)
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
def galleries(base, n, starts, kinds, found, num_found, keys, slots, none, odd, counts, out):
    """The uploads that lists of gallery items name, in their order: start, end, number of the type.

    Args:
        base, n: Address and length of the buffer.
        starts, kinds: Of the lists.
        found, num_found: What `uploads` found in the same rows; used up.
        keys, slots, none: Of the key media_id.
        odd: Set where a list holds what must be looked at.
        counts: Filled with the uploads of each row.
        out: [num_found, 3], filled.
    """
    named, k1 = 0, 0
    shape = (1, 1)
    inner = (np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(shape, np.uint8))
    for row in range(starts.shape[0]):
        k0 = k1
        while k1 < num_found and found[k1, 0] == row:
            k1 += 1
        counts[row] = 0
        if k1 > k0 and found[k0, 3] < 0:
            odd[row] = True
        if odd[row] or kinds[row] != LIST:
            continue
        first = named
        i = after_space(base, starts[row] + 1, n)
        is_clear, is_done = True, byte_or_zero(base, i, n) == _CLOSE_LIST
        while is_clear and not is_done:
            is_clear = byte_or_zero(base, i, n) == _OPEN
            if is_clear:
                inner[2][0, 0] = ABSENT
                i, _ = scan_object(base, i, n, keys, slots, 0, *inner, none, 0, 0)
                is_clear = i >= 0 and inner[2][0, 0] != ESCAPED
            if not is_clear:
                break
            if inner[2][0, 0] == TEXT:
                k = _upload_named(base, inner[0][0, 0], inner[1][0, 0], found, k0, k1)
                if k >= 0:
                    out[named, 0], out[named, 1], out[named, 2] = (
                        found[k, 1],
                        found[k, 2],
                        found[k, 3],
                    )
                    # Shown once, however often it is named.
                    found[k, 3] = 0
                    named += 1
            i = after_space(base, i, n)
            c = byte_or_zero(base, i, n)
            is_done = c == _CLOSE_LIST
            is_clear = is_done or c == _COMMA
            i = after_space(base, i + 1, n)
        if not is_clear:
            odd[row], named = True, first
        counts[row] = named - first
    return named


@kernel
def _upload_named(base, start, end, found, k0, k1):
    """Which of the uploads k0 to k1 that are images has this id; -1: none, or it is no id."""
    if not _MIN_ID_BYTES <= end - start <= _MAX_ID_BYTES:
        return -1
    for i in range(start, end):
        if not _is_alphanumeric(byte_at(base + i)):
            return -1
    for k in range(k0, k1):
        if found[k, 3] > 0 and found[k, 2] - found[k, 1] == end - start:
            j = 0
            while j < end - start and byte_at(base + start + j) == byte_at(base + found[k, 1] + j):
                j += 1
            if j == end - start:
                return k
    return -1


@kernel
def upload_urls(base, uploads, offsets, out):
    """Writes the urls of uploads (start, end, number of the type) below each other; their bytes."""
    size = 0
    for k in range(uploads.shape[0]):
        offsets[k] = size
        for j in range(_UPLOAD.shape[0]):
            out[size + j] = _UPLOAD[j]
        size += _UPLOAD.shape[0]
        for i in range(uploads[k, 0], uploads[k, 1]):
            out[size] = byte_at(base + i)
            size += 1
        for j in range(_FILE_SUFFIXES.shape[1]):
            out[size + j] = _FILE_SUFFIXES[uploads[k, 2] - 1, j]
        size += _FILE_SUFFIXES.shape[1]
    offsets[uploads.shape[0]] = size
    return size


MAX_UPLOAD_URL_BYTES = len(_UPLOAD) + _MAX_ID_BYTES + _FILE_SUFFIXES.shape[1]
ITEM = Keys.of(["status", "e", "m"])
MEDIA_ID = Keys.of(["media_id"])
