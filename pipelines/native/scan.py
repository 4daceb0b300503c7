"""Lines of JSON objects -> where the wanted values lie in them, at more than a gigabyte a second.

A line is scanned only if it is beyond doubt: valid JSON throughout, wanted keys once each, no lone
surrogates, numbers of at most 18 digits without exponents. Every other line is odd: it is left to
the slow way, so that the two ways cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.compiled import compiled
from pipelines.native.simd import (
    LANES,
    WIDE,
    byte_at,
    count_of,
    equal_bytes,
    first_bit,
    num_equal,
    prefetch,
    text_ends,
    word_at,
)

ABSENT, NULL, FALSE, TRUE, INT, FLOAT, TEXT, ESCAPED, OBJECT, LIST = range(10)

_MAX_DEPTH = 64
_MAX_DIGITS = 18
_WORD_BYTES = 8
_TABLE_BITS = 8
# Keys that follow each other in one line do so in the next: how many are looked for ahead.
_MAX_EXPECTED = 256
_LOOK_AHEAD = 3
_PLACE, _FIELD, _RUN, _SIZE, _MASK, _TEXT = range(6)
# Lines are read faster than the processor guesses that they will be.
_PREFETCH_BYTES = 1024
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NO_WORD = np.uint64(0)

_QUOTE, _BACKSLASH, _COMMA, _COLON = ord('"'), ord("\\"), ord(","), ord(":")
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = ord("{"), ord("}"), ord("["), ord("]")
_SPACE, _TAB, _RETURN, _NEWLINE = ord(" "), ord("\t"), ord("\r"), ord("\n")
_ZERO, _NINE, _MINUS, _POINT = ord("0"), ord("9"), ord("-"), ord(".")
_U, _T, _F, _N, _E = ord("u"), ord("t"), ord("f"), ord("n"), ord("e")
_ASCII = 0x80
_TRUE_WORD = np.uint64(int.from_bytes(b"true", "little"))
_NULL_WORD = np.uint64(int.from_bytes(b"null", "little"))
_ALSE_WORD = np.uint64(int.from_bytes(b"alse", "little"))

kernel = compiled()
# For kernels that allocate nothing: without counts of references, which cost more than scanning.
borrowing = compiled(_nrt=False)
# LLVM calls through a register, and passes arrays on the stack: short kernels are never called.
inlined = compiled(_nrt=False, forceinline=True)


@inlined
def byte_or_zero(base, i, n):
    return byte_at(base + i) if i < n else np.uint8(0)


@inlined
def _word(base, start, end, n):
    """Bytes start to end, at most 8, as a number, the first one lowest."""
    size = end - start
    if start + _WORD_BYTES <= n:
        word = word_at(base + start)
        if size < _WORD_BYTES:
            word &= _ALL >> np.uint64(8 * (_WORD_BYTES - size))
        return word
    word = _NO_WORD
    for i in range(min(size, _WORD_BYTES)):
        word |= np.uint64(byte_at(base + start + i)) << np.uint64(8 * i)
    return word


@inlined
def after_space(base, i, n):
    """First position from i on that holds no space; newlines end lines, so they are none."""
    while i < n:
        c = byte_at(base + i)
        if c > _SPACE or (c != _SPACE and c != _TAB and c != _RETURN):
            break
        i += 1
    return i


@kernel
def _utf8_end(base, i, n):
    """End of the character of several bytes at i; -1 where it is none. Unicode 15, table 3-7."""
    first = np.int64(byte_at(base + i))
    low, high, size = 0x80, 0xBF, 0
    if 0xC2 <= first <= 0xDF:
        size = 2
    elif 0xE0 <= first <= 0xEF:
        size = 3
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:
            high = 0x9F
    elif 0xF0 <= first <= 0xF4:
        size = 4
        if first == 0xF0:
            low = 0x90
        elif first == 0xF4:
            high = 0x8F
    if size == 0 or i + size > n:
        return -1
    second = np.int64(byte_at(base + i + 1))
    if second < low or second > high:
        return -1
    for k in range(2, size):
        if np.int64(byte_at(base + i + k)) & 0xC0 != 0x80:
            return -1
    return i + size


@kernel
def hex4(base, i, n):
    """The number that 4 hexadecimal digits at i write; -1 where they are none."""
    if i + 4 > n:
        return -1
    value = 0
    for k in range(4):
        c = np.int64(byte_at(base + i + k))
        if 48 <= c <= 57:
            digit = c - 48
        elif 97 <= c <= 102:
            digit = c - 87
        elif 65 <= c <= 70:
            digit = c - 55
        else:
            return -1
        value = value * 16 + digit
    return value


@kernel
def _escape_end(base, i, n):
    """End of the escape whose backslash is at i; -1 for what is none, or half of a pair."""
    c = byte_or_zero(base, i + 1, n)
    if c == _U:
        code = hex4(base, i + 2, n)
        if code < 0 or 0xDC00 <= code <= 0xDFFF:
            return -1
        if code < 0xD800 or code > 0xDBFF:
            return i + 6
        if byte_or_zero(base, i + 6, n) != _BACKSLASH or byte_or_zero(base, i + 7, n) != _U:
            return -1
        second = hex4(base, i + 8, n)
        return i + 12 if 0xDC00 <= second <= 0xDFFF else -1
    # " \ / b f n r t
    if c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116:
        return i + 2
    return -1


@inlined
def text_end(base, i, n):
    """Position of the quote that ends the text beginning at i (-1: invalid), and if it escapes."""
    if i + LANES <= n:
        ends = text_ends(base + i)
        if ends != 0:
            i += first_bit(ends)
            if byte_at(base + i) == _QUOTE:
                return i, False
        else:
            i += LANES
    return _long_text_end(base, i, n)


@kernel
def _long_text_end(base, i, n):
    is_escaped = False
    while i < n:
        if i + LANES <= n:
            ends = text_ends(base + i)
            if ends == 0:
                i += LANES
                continue
            i += first_bit(ends)
        c = byte_at(base + i)
        if c == _QUOTE:
            return i, is_escaped
        if c == _BACKSLASH:
            is_escaped = True
            i = _escape_end(base, i, n)
            if i < 0:
                return -1, False
        elif c >= _ASCII:
            while i < n and byte_at(base + i) >= _ASCII:
                i = _utf8_end(base, i, n)
                if i < 0:
                    return -1, False
        elif c < _SPACE:
            return -1, False
        else:
            i += 1
    return -1, False


@inlined
def _number_end(base, i, n):
    """End of the number at i, and its kind; -1 for what is none or needs care."""
    is_negative = byte_at(base + i) == _MINUS
    if is_negative:
        i += 1
    start = i
    while i < n and _ZERO <= byte_at(base + i) <= _NINE:
        i += 1
    digits = i - start
    leading_zero = digits > 0 and byte_at(base + start) == _ZERO
    if digits == 0 or digits > _MAX_DIGITS or (leading_zero and digits > 1):
        return -1, INT
    c = byte_or_zero(base, i, n)
    if c != _POINT:
        if (c | 32) == _E or (is_negative and leading_zero):
            return -1, INT
        return i, INT
    i += 1
    start = i
    while i < n and _ZERO <= byte_at(base + i) <= _NINE:
        i += 1
    if i == start or digits + i - start > _MAX_DIGITS or (byte_or_zero(base, i, n) | 32) == _E:
        return -1, FLOAT
    return i, FLOAT


@inlined
def scalar_end(base, i, n):
    """End of the text, number or literal at i (-1: invalid), and its kind."""
    c = byte_or_zero(base, i, n)
    if c == _QUOTE:
        end, is_escaped = text_end(base, i + 1, n)
        if end < 0:
            return -1, TEXT
        return end + 1, ESCAPED if is_escaped else TEXT
    if c == _N or c == _T:
        word = _word(base, i, min(i + 4, n), n)
        if word == _NULL_WORD:
            return i + 4, NULL
        if word == _TRUE_WORD:
            return i + 4, TRUE
        return -1, NULL
    if c == _F:
        word = _word(base, i + 1, min(i + 5, n), n)
        return (i + 5 if word == _ALSE_WORD else -1), FALSE
    if c == _MINUS or _ZERO <= c <= _NINE:
        return _number_end(base, i, n)
    return -1, NULL


@kernel
def _member(base, i, n):
    """Position of the value of the member whose key is at i; -1: there is no key."""
    if byte_or_zero(base, i, n) != _QUOTE:
        return -1
    end, _ = text_end(base, i + 1, n)
    if end < 0:
        return -1
    i = after_space(base, end + 1, n)
    return after_space(base, i + 1, n) if byte_or_zero(base, i, n) == _COLON else -1


@kernel
def nested_end(base, i, n):
    """End of the object or list at i; -1: invalid, or too deep."""
    depth = 0
    is_object = _NO_WORD  # a bit for each level, the innermost lowest
    while True:
        c = byte_or_zero(base, i, n)
        if c == _OPEN or c == _OPEN_LIST:
            if depth == _MAX_DEPTH:
                return -1
            depth += 1
            is_object = (is_object << np.uint64(1)) | np.uint64(c == _OPEN)
            i = after_space(base, i + 1, n)
            if byte_or_zero(base, i, n) != c + 2:
                if c == _OPEN:
                    i = _member(base, i, n)
                    if i < 0:
                        return -1
                continue
        else:
            i, _ = scalar_end(base, i, n)
            if i < 0:
                return -1
            i = after_space(base, i, n)
        while True:
            c = byte_or_zero(base, i, n)
            inside_object = is_object & np.uint64(1) == np.uint64(1)
            if c == _COMMA:
                i = after_space(base, i + 1, n)
                if inside_object:
                    i = _member(base, i, n)
                    if i < 0:
                        return -1
                break
            if c != (_CLOSE if inside_object else _CLOSE_LIST):
                return -1
            i += 1
            depth -= 1
            is_object >>= np.uint64(1)
            if depth == 0:
                return i
            i = after_space(base, i, n)


@inlined
def _field(base, start, end, n, keys, slots, shift):
    """Number of the wanted key that lies from start to end; -1: it is not wanted."""
    size = end - start
    first = _word(base, start, end, n)
    slot = ((first ^ np.uint64(size)) * keys[0, 0]) >> np.uint64(shift)
    field = slots[slot]
    if field < 0:
        return -1
    if keys[field + 1, 0] != np.uint64(size) or keys[field + 1, 1] != first:
        return -1
    for k in range(1, (size + _WORD_BYTES - 1) // _WORD_BYTES):
        word = _word(base, start + k * _WORD_BYTES, end, n)
        if word != keys[field + 1, k + 1]:
            return -1
    return field


@inlined
def _expected(base, i, n, k, expected, expected_at, count):
    """Number of the expected key that is at i, looked for from the k-th on; -1: none is."""
    if i + LANES > n:
        return -1
    row_bytes = expected.shape[1] * _WORD_BYTES
    for ahead in range(k, min(k + _LOOK_AHEAD, count)):
        mask = np.uint32(expected[ahead, _MASK])
        text_at = expected_at + ahead * row_bytes + _TEXT * _WORD_BYTES
        if equal_bytes(base + i, text_at) & mask == mask:
            return ahead
    return -1


@borrowing
def _expect(base, key, value, n, field, member):
    """Makes the key with its quote and colon an expected one; it is found alone only if short."""
    member[_PLACE], member[_FIELD] = key, field
    size = value - key
    is_short = size < LANES and byte_at(base + value - 1) == _COLON
    member[_SIZE] = size if is_short else 0
    member[_MASK] = (1 << size) - 1 if is_short else 0xFFFFFFFF
    for j in range(LANES // _WORD_BYTES):
        start = key + j * _WORD_BYTES
        end = min(start + _WORD_BYTES, value)
        member[_TEXT + j] = np.int64(_word(base, start, end, n)) if is_short and start < end else 0


@borrowing
def _expect_runs(expected, count):
    """Fills which member ends each run of unwanted ones; the last member is in no run."""
    for k in range(count - 1, -1, -1):
        is_in_run = k + 1 < count and expected[k, _FIELD] < 0
        expected[k, _RUN] = expected[k + 1, _RUN] if is_in_run else k


@inlined
def _after_known(base, key, n, k, expected):
    """Steps over unwanted members whose bytes are those of the line that is expected.

    Bytes that were valid there, between two keys, are valid here.

    Returns:
        The first key at or after `key` that differs or is wanted, and its number.
    """
    end = expected[k, _RUN]
    if end == k:
        return key, k
    first = expected[k, _PLACE]
    size = expected[end, _PLACE] - first
    same = 0
    while same < size and key + same + WIDE <= n:
        prefetch(base + key + same + _PREFETCH_BYTES)
        num = num_equal(base + key + same, base + first + same)
        same += num
        if num < WIDE:
            break
    if same >= size:
        return key + size, end
    while expected[k + 1, _PLACE] - first <= same:
        k += 1
    return key + expected[k, _PLACE] - first, k


@inlined
def scan_object(base, i, n, keys, slots, row, starts, ends, kinds, expected, expected_at, count):
    """End of the object at i, -1 if invalid or a key is twice; fills in where its values lie.

    `expected` are the members of an object before, in order, at the address `expected_at`; if
    `count` is -1, they become this one's.
    """
    shift = 64 - _TABLE_BITS
    learned, k = 0, 0
    i = after_space(base, i + 1, n)
    if byte_or_zero(base, i, n) == _CLOSE:
        return i + 1, 0
    while True:
        if byte_or_zero(base, i, n) != _QUOTE:
            return -1, learned
        key = i + 1
        if k < count:
            key, k = _after_known(base, key, n, k, expected)
        known = _expected(base, key, n, k, expected, expected_at, count)
        if known >= 0:
            k = known + 1
            field = expected[known, _FIELD]
            value = key + expected[known, _SIZE]
        else:
            key_end, is_escaped = text_end(base, key, n)
            if key_end < 0 or is_escaped:
                return -1, learned
            i = after_space(base, key_end + 1, n)
            if byte_or_zero(base, i, n) != _COLON:
                return -1, learned
            field = _field(base, key, key_end, n, keys, slots, shift)
            value = i + 1
            if count < 0 and learned < _MAX_EXPECTED:
                _expect(base, key, value, n, field, expected[learned])
                learned += 1
        value = after_space(base, value, n)
        c = byte_or_zero(base, value, n)
        if c == _OPEN or c == _OPEN_LIST:
            kind = OBJECT if c == _OPEN else LIST
            # The closing bracket of either is two characters on in ASCII.
            is_empty = byte_or_zero(base, value + 1, n) == c + 2
            i = value + 2 if is_empty else nested_end(base, value, n)
        else:
            i, kind = scalar_end(base, value, n)
        if i < 0:
            return -1, learned
        if field >= 0:
            if kinds[row, field] != ABSENT:
                return -1, learned
            is_text = kind == TEXT or kind == ESCAPED
            kinds[row, field] = kind
            starts[row, field] = value + is_text
            ends[row, field] = i - is_text
        i = after_space(base, i, n)
        c = byte_or_zero(base, i, n)
        if c == _CLOSE:
            return i + 1, learned
        if c != _COMMA:
            return -1, learned
        i = after_space(base, i + 1, n)


@kernel
def _line_end(base, i, n):
    while i < n and byte_at(base + i) != _NEWLINE:
        i += 1
    return i


@kernel
def count_newlines(buffer):
    """Newlines in an array of bytes."""
    base, n = buffer.ctypes.data, buffer.shape[0]
    whole = n - n % WIDE
    count = 0
    for i in range(0, whole, WIDE):
        count += count_of(base + i, np.uint8(_NEWLINE))
    for i in range(whole, n):
        count += byte_at(base + i) == _NEWLINE
    return count


@borrowing
def scan(base, n, i, keys, slots, lines, starts, ends, kinds, expected, count):
    """Scans lines from i on until the arrays are full.

    Args:
        base, n: Address and length of the buffer.
        i: Where the first line begins.
        keys, slots: Of `Keys`.
        lines: int32 [L, 3], filled with start, end and whether a line is odd.
        starts, ends, kinds: [L, F], filled with where the values lie and of which kinds they are.
        expected, count: The keys that a line is expected to have, and how many; -1: the first line
            decides.

    Returns:
        How many lines, how many that end in CR LF, where the next begins, and `count`.
    """
    num_lines, num_crlf = 0, 0
    capacity = lines.shape[0]
    expected_at = expected.ctypes.data
    while i < n and num_lines < capacity:
        for field in range(kinds.shape[1]):
            kinds[num_lines, field] = ABSENT
        end = after_space(base, i, n)
        if byte_or_zero(base, end, n) == _OPEN:
            end, learned = scan_object(
                base,
                end,
                n,
                keys,
                slots,
                num_lines,
                starts,
                ends,
                kinds,
                expected,
                expected_at,
                count,
            )
            if count < 0 and end >= 0:
                count = learned
                _expect_runs(expected, count)
            if end >= 0:
                end = after_space(base, end, n)
                if end < n and byte_at(base + end) != _NEWLINE:
                    end = -1
        else:
            end = -1
        lines[num_lines, 0] = i
        lines[num_lines, 2] = end < 0
        if end < 0:
            end = _line_end(base, i, n)
        lines[num_lines, 1] = end
        num_crlf += end > i and end < n and byte_at(base + end - 1) == _RETURN
        num_lines += 1
        i = end + 1
    return num_lines, num_crlf, i, count


@borrowing
def members(base, n, keys, slots, at, of_kind, odd, starts, ends, kinds, none):
    """Scans the objects that are values of a field; rows where a key is twice become odd."""
    for row in range(at.shape[0]):
        for field in range(kinds.shape[1]):
            kinds[row, field] = ABSENT
        if of_kind[row] == OBJECT and not odd[row]:
            end, _ = scan_object(
                base, at[row], n, keys, slots, row, starts, ends, kinds, none, 0, 0
            )
            odd[row] |= end < 0


@dataclass(frozen=True)
class Keys:
    """Wanted keys, hashed without collision.

    Args:
        names: The keys, ASCII.
        words: uint64 [1 + F, 1 + W]: the hash's multiplier; then of each key its length and its
            bytes in words of 8.
        slots: int8 [256]: number of the key with this hash, -1 for none.
    """

    names: tuple[str, ...]
    words: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int8]

    @classmethod
    def of(cls, names: Sequence[str]) -> Keys:
        """The table of these keys."""
        raw = [name.encode("ascii") for name in names]
        width = 1 + max(-(-len(key) // _WORD_BYTES) for key in raw)
        words = np.zeros((1 + len(raw), width), np.uint64)
        for row, key in enumerate(raw, 1):
            padded = key.ljust((width - 1) * _WORD_BYTES, b"\0")
            words[row] = [len(key), *np.frombuffer(padded, "<u8")]
        mixed = words[1:, 1] ^ words[1:, 0]
        generator = np.random.default_rng(0)
        while True:
            multiplier = generator.integers(1, 2**64, dtype=np.uint64) | np.uint64(1)
            hashes = (mixed * multiplier) >> np.uint64(64 - _TABLE_BITS)
            if len(set(hashes.tolist())) == len(raw):
                break
        words[0, 0] = multiplier
        slots = np.full(1 << _TABLE_BITS, -1, np.int8)
        slots[hashes] = np.arange(len(raw))
        return cls(tuple(names), words, slots)


@dataclass(frozen=True)
class Spans:
    """Where the wanted values of some lines lie in a buffer. Axes: L lines, F keys.

    Args:
        buffer: The bytes.
        keys: The keys, in the order of axis F.
        line_L: Start of each line.
        line_end_L: Its end, newline excluded.
        start_LF, end_LF: Where a value lies, int32; texts without their quotes.
        kind_LF: ABSENT to LIST, uint8.
        num_crlf: Lines that end in CR LF.
        next_position: Where the next line begins.
    """

    buffer: npt.NDArray[np.uint8]
    keys: Keys
    line_L: npt.NDArray[np.int32]
    line_end_L: npt.NDArray[np.int32]
    start_LF: npt.NDArray[np.int32]
    end_LF: npt.NDArray[np.int32]
    kind_LF: npt.NDArray[np.uint8]
    num_crlf: int
    next_position: int


@dataclass(frozen=True)
class Field:
    """One key over some lines: where its values lie, and of which kinds they are.

    Args:
        base: Address of the buffer.
        size_bytes: Its length.
        start_L, end_L, kind_L: As in `Spans`.
    """

    base: int
    size_bytes: int
    start_L: npt.NDArray[np.int32]
    end_L: npt.NDArray[np.int32]
    kind_L: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, spans: Spans, key: str) -> Field:
        """The field `key` of scanned lines."""
        f, buffer = spans.keys.names.index(key), spans.buffer
        arrays = (spans.start_LF[:, f], spans.end_LF[:, f], spans.kind_LF[:, f])
        return cls(buffer.ctypes.data, buffer.size, *arrays)

    def take(self, rows: npt.NDArray[np.intp]) -> Field:
        """Of these lines only."""
        arrays = (self.start_L[rows], self.end_L[rows], self.kind_L[rows])
        return Field(self.base, self.size_bytes, *arrays)

    @property
    def is_text(self) -> npt.NDArray[np.bool_]:
        """Whether the value is a text."""
        return (self.kind_L == TEXT) | (self.kind_L == ESCAPED)


def room_for_expected(num_keys: int = _MAX_EXPECTED) -> npt.NDArray[np.int64]:
    """For the members of a line that others resemble, int64 [members, 5 + words of a key].

    Of each: where its key lies, the wanted field that it is or -1, which member ends the run of
    unwanted ones that it begins, and the key with quote and colon: size, mask of its bytes, bytes.
    """
    return np.zeros((num_keys, _TEXT + LANES // _WORD_BYTES), np.int64)


def fields_in(field: Field, keys: Keys, is_odd: npt.NDArray[np.bool_]) -> list[Field]:
    """The values of `keys` in the objects that are a field's values.

    Lines where an object has one of them twice become odd.
    """
    shape = (len(field.start_L), len(keys.names))
    starts, ends = np.empty(shape, np.int32), np.empty(shape, np.int32)
    kinds = np.empty(shape, np.uint8)
    members(
        field.base,
        field.size_bytes,
        keys.words,
        keys.slots,
        field.start_L,
        field.kind_L,
        is_odd,
        starts,
        ends,
        kinds,
        room_for_expected(1),
    )
    columns = range(len(keys.names))
    return [
        Field(field.base, field.size_bytes, starts[:, f], ends[:, f], kinds[:, f]) for f in columns
    ]
