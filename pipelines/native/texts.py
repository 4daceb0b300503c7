"""Spans of texts -> texts unescaped by JSON and by era, and which of them need more cleaning
(`pipelines.text`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipelines.native.scan import ESCAPED, TEXT, Field, borrowing, hex4, inlined
from pipelines.native.simd import LANES, any_of, byte_at, copy_block, first_bit, unclean

# What a byte of a text asks for: nothing, or a look at it.
_PLAIN, _ESCAPE, _CARE, _SLASH, _LEAD, _AT_SIGN, _AMPERSAND = range(7)
_CLASS_OF_BYTE = np.full(256, _PLAIN, np.uint8)
_CLASS_OF_BYTE[:32] = _CARE
_CLASS_OF_BYTE[[ord("\n"), ord("\t")]] = _PLAIN
_CLASS_OF_BYTE[0x7F] = _CARE
_CLASS_OF_BYTE[ord("&")] = _AMPERSAND
_CLASS_OF_BYTE[ord("\\")] = _ESCAPE
_CLASS_OF_BYTE[ord("/")] = _SLASH
_CLASS_OF_BYTE[ord("@")] = _AT_SIGN
_CLASS_OF_BYTE[[0xC2, 0xC4, 0xC5, 0xE2, 0xEF]] = _LEAD
# What follows an ampersand: Reddit's own escapes with what they stand for, and its fillers.
_AMP, _LT, _GT, _NBSP, _ZERO_WIDTH = (
    np.frombuffer(name, np.uint8) for name in (b"amp;", b"lt;", b"gt;", b"nbsp;", b"#x200b;")
)
_AMP_SIGN, _LT_SIGN, _GT_SIGN = np.frombuffer(b"&<>", np.uint8)


@borrowing
def _needs_care(code):
    """Whether a character is removed or replaced in texts, or is a letter's twin in lower case."""
    if code < 0x20:
        return code != 10 and code != 9
    if code < 0x7F:
        return False
    if code <= 0x9F or code == 0xAD:
        return True
    if code == 0x130 or code == 0x131 or code == 0x17F or code == 0x212A or code == 0xFEFF:
        return True
    if code < 0x200B or code > 0x2069:
        return False
    return (
        code == 0x200B
        or code == 0x200E
        or code == 0x200F
        or 0x202A <= code <= 0x202E
        or code == 0x2060
        or code >= 0x2066
    )


@borrowing
def _write_utf8(code, out, o):
    if code < 0x80:
        out[o] = code
        return o + 1
    if code < 0x800:
        out[o] = 0xC0 | (code >> 6)
        out[o + 1] = 0x80 | (code & 63)
        return o + 2
    if code < 0x10000:
        out[o] = 0xE0 | (code >> 12)
        out[o + 1] = 0x80 | ((code >> 6) & 63)
        out[o + 2] = 0x80 | (code & 63)
        return o + 3
    out[o] = 0xF0 | (code >> 18)
    out[o + 1] = 0x80 | ((code >> 12) & 63)
    out[o + 2] = 0x80 | ((code >> 6) & 63)
    out[o + 3] = 0x80 | (code & 63)
    return o + 4


@borrowing
def _unescaped(c):
    if c == 110:
        return 10
    if c == 116:
        return 9
    if c == 114:
        return 13
    if c == 98:
        return 8
    if c == 102:
        return 12
    return c


@borrowing
def _is_letter(c):
    """Whether a byte surely is part of a word: of others than ASCII, only some characters are."""
    return 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 95


@borrowing
def _may_mention(out, begin, slash):
    """Whether u or user, perhaps as a word of its own, stands before the slash."""
    k = slash - 1
    if k < begin:
        return False
    c = out[k] | 32
    if c == 114 and k - 3 >= begin:  # user
        if (out[k - 1] | 32) == 101 and (out[k - 2] | 32) == 115 and (out[k - 3] | 32) == 117:
            k -= 3
            c = 117
    if c != 117:
        return False
    return k == begin or not _is_letter(out[k - 1])


@borrowing
def _follows(out, i, end, name):
    """Whether the name, in lower case, stands at i."""
    if end - i < name.shape[0]:
        return False
    for k in range(name.shape[0]):
        c = out[i + k]
        if c != name[k] and not (c == 66 and name[k] == 98):  # &#x200B; is written in both cases
            return False
    return True


@borrowing
def _without_escapes(out, begin, end):
    """Replaces `&amp;`, `&lt;` and `&gt;` from begin to end; where the text ends then."""
    i = o = begin
    while i < end:
        c = out[i]
        i += 1
        if c == _AMP_SIGN:
            if _follows(out, i, end, _AMP):
                i += _AMP.shape[0]
            elif _follows(out, i, end, _LT):
                c = _LT_SIGN
                i += _LT.shape[0]
            elif _follows(out, i, end, _GT):
                c = _GT_SIGN
                i += _GT.shape[0]
        out[o] = c
        o += 1
    return o


@borrowing
def _has_entity(out, begin, end, is_line):
    """Whether there is what cleaning replaces: fillers in texts, `&amp;` in lines."""
    for i in range(begin, end):
        if out[i] == _AMP_SIGN:
            if is_line:
                if _follows(out, i + 1, end, _AMP):
                    return True
            elif _follows(out, i + 1, end, _NBSP) or _follows(out, i + 1, end, _ZERO_WIDTH):
                return True
    return False


@inlined
def _is_wide_space(a, b, c):
    """Whether a character of three bytes is white space. Unicode 15, White_Space."""
    if a == 0xE2:
        if b == 0x80:
            return 0x80 <= c <= 0x8A or c == 0xA8 or c == 0xA9 or c == 0xAF
        return b == 0x81 and c == 0x9F
    return (a == 0xE1 and b == 0x9A and c == 0x80) or (a == 0xE3 and b == 0x80 and c == 0x80)


@borrowing
def _has_outer_space(out, begin, end):
    """Whether a text of UTF-8 begins or ends with white space."""
    if end == begin:
        return False
    first, last = out[begin], out[end - 1]
    if first <= 32 or last <= 32:
        return True
    if first == 0xC2 and out[begin + 1] == 0xA0:
        return True
    if 0xE1 <= first <= 0xE3 and _is_wide_space(first, out[begin + 1], out[begin + 2]):
        return True
    if last < 0x80:
        return False
    if out[end - 2] == 0xC2 and last == 0xA0:
        return True
    lead = out[end - 3] if end - begin >= 3 else np.uint8(0)
    return 0xE1 <= lead <= 0xE3 and _is_wide_space(lead, out[end - 2], last)


@borrowing
def _text(base, i, end, classes, is_line, is_escaped, target, out, o):
    """Writes the text unescaped to `out` at `o`; where it ends, and if it needs care."""
    begin = o
    care = has_entities = False
    while i < end:
        if i + LANES <= end:
            looks = unclean(base + i)
            copy_block(base + i, target + o)
            step = first_bit(looks) if looks != 0 else LANES
            i += step
            o += step
            if looks == 0:
                continue
        c = byte_at(base + i)
        kind = classes[c]
        if kind == _PLAIN:
            out[o] = c
            o += 1
            i += 1
        elif kind == _ESCAPE:
            c = np.int64(byte_at(base + i + 1))
            if c != 117:
                c = _unescaped(c)
                i += 2
            else:
                c = hex4(base, i + 2, end)
                i += 6
                if 0xD800 <= c <= 0xDBFF:
                    c = 0x10000 + ((c - 0xD800) << 10) + hex4(base, i + 2, end) - 0xDC00
                    i += 6
            has_entities |= c == 38
            care |= (
                _needs_care(c)
                or (is_line and c < 32)
                or c == 64
                or (c == 47 and _may_mention(out, begin, o))
            )
            o = _write_utf8(c, out, o)
        else:
            if kind == _SLASH:
                care |= _may_mention(out, begin, o)
            elif kind == _LEAD:
                second = np.int64(byte_at(base + i + 1))
                if c >= 0xE0:
                    third = np.int64(byte_at(base + i + 2))
                    code = ((np.int64(c) & 15) << 12) | ((second & 63) << 6) | (third & 63)
                else:
                    code = ((np.int64(c) & 31) << 6) | (second & 63)
                care |= _needs_care(code)
            elif kind == _AMPERSAND:
                has_entities = True
            elif kind == _AT_SIGN:
                # In an address, a letter stands before it.
                care |= o == begin or not _is_letter(out[o - 1])
            else:
                care = True
            out[o] = c
            o += 1
            i += 1
    if has_entities:
        if is_escaped:
            o = _without_escapes(out, begin, o)
        care |= _has_entity(out, begin, o, is_line)
    return o, care or _has_outer_space(out, begin, o)


@borrowing
def _texts(base, starts, ends, kinds, max_bytes, classes, is_line, is_escaped, offsets, out, care):
    o = 0
    target = out.ctypes.data
    for row in range(starts.shape[0]):
        offsets[row] = o
        care[row] = False
        kind = kinds[row]
        if kind == TEXT or kind == ESCAPED:
            o, care[row] = _text(
                base, starts[row], ends[row], classes, is_line, is_escaped[row], target, out, o
            )
            care[row] |= o - offsets[row] > max_bytes
    offsets[starts.shape[0]] = o


@inlined
def _upper(c):
    return c - np.uint8(32) if 97 <= c <= 122 else c


@inlined
def _first_of(base, i, end, total, one, other):
    """First position from i on, before `end`, that holds one of two bytes; `end`: none does."""
    while i + LANES <= total and i < end:
        hits = any_of(base + i, one, other, other)
        if hits != 0:
            return min(i + first_bit(hits), end)
        i += LANES
    while i < end and byte_at(base + i) != one and byte_at(base + i) != other:
        i += 1
    return min(i, end)


@inlined
def _holds_name(base, i, end, total, names, n0, n1):
    """Whether the text from i to `end` holds a name in any case, or may hold it escaped."""
    size = n1 - n0
    first, last = names[n0], names[n1 - 1]
    first_upper, last_upper = _upper(first), _upper(last)
    for k in range(n0, n1):
        if names[k] == 95:  # the editor escapes underscores
            if _first_of(base, i, end, total, np.uint8(92), np.uint8(92)) < end:
                return True
            break
    while i + size <= end:
        # Both ends are compared before what is between them: most texts hold the first letter.
        if i + size - 1 + LANES <= total:
            hits = any_of(base + i, first, first_upper, first_upper)
            hits &= any_of(base + i + size - 1, last, last_upper, last_upper)
            if hits == 0:
                i += LANES
                continue
            i += first_bit(hits)
            if i + size > end:
                return False
        k = 0
        while k < size:
            c = byte_at(base + i + k)
            if 65 <= c <= 90:
                c += np.uint8(32)
            if c != names[n0 + k]:
                break
            k += 1
        if k == size:
            return True
        i += 1
    return False


@borrowing
def _holds_names(out, offsets, names, name_offsets, codes, care):
    """Marks texts that hold the name (lower case) whose code is beside them."""
    base, total = out.ctypes.data, out.shape[0]
    for row in range(codes.shape[0]):
        code = codes[row]
        if not care[row] and code >= 0:
            n0, n1 = name_offsets[code], name_offsets[code + 1]
            care[row] = _holds_name(base, offsets[row], offsets[row + 1], total, names, n0, n1)


@dataclass(frozen=True)
class Texts:
    """Unescaped texts, one below the other.

    Args:
        data: UTF-8 bytes.
        offsets: int64 [rows + 1].
        needs_care: Whether what is left of cleaning (`pipelines.text.shown`) may change a text.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    needs_care: npt.NDArray[np.bool_]

    def to_series(self) -> pl.Series:
        """As a column without nulls."""
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        return pl.Series(pa.Array.from_buffers(pa.large_string(), len(self.offsets) - 1, buffers))

    def mark_names(
        self,
        names: npt.NDArray[np.uint8],
        name_offsets: npt.NDArray[np.int64],
        codes: npt.NDArray[np.int64],
    ) -> None:
        """Texts that hold the name beside them need care too; code -1 stands for no name."""
        _holds_names(self.data, self.offsets, names, name_offsets, codes, self.needs_care)


def texts_of(
    field: Field,
    max_bytes: int,
    *,
    is_line: bool = False,
    is_escaped: npt.NDArray[np.bool_] | None = None,
) -> Texts:
    """The texts of a field; what is none is empty.

    Args:
        field: Where they lie.
        max_bytes: Longer ones need care.
        is_line: Those with newlines, tabs and `&amp;` need it too, and those with fillers do not.
        is_escaped: Of which texts Reddit's escapes are undone; of none, unless told.
    """
    num_rows = len(field.kind_L)
    capacity = int((field.end_L - field.start_L)[field.is_text].sum(dtype=np.int64))
    out = np.empty(capacity + LANES, np.uint8)  # whole blocks are copied
    offsets = np.empty(num_rows + 1, np.int64)
    care = np.empty(num_rows, np.bool_)
    _texts(
        field.base,
        field.start_L,
        field.end_L,
        field.kind_L,
        max_bytes,
        _CLASS_OF_BYTE,
        is_line,
        np.zeros(num_rows, np.bool_) if is_escaped is None else is_escaped,
        offsets,
        out,
        care,
    )
    return Texts(out[: offsets[-1]], offsets, care)
