"""Lines and files of dumps -> the same, damaged in every way that we could think of, by seed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
import zstandard

# What may stand where a field's value stood, as JSON or nearly so.
VALUES: tuple[bytes, ...] = (
    b"null", b"true", b"false", b"0", b"-0", b"-1", b"1", b"0.0", b"1.5", b"-0.5", b"1e3", b"1E400",
    b"-1e400", b"1e-400", b"1764547200", b"1764547200.0", b"1764547200.9", b'"1764547200"',
    b'"1764547200.0"', b'" 1764547200"', b"17645472000000", b"2147483646", b"2147483647",
    b"-2147483648", b"4294967296", b"9007199254740993", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551615", b"18446744073709551616",
    b"123456789012345678901234567890", b"9" * 400, b"0.1" + b"0" * 400 + b"1", b"00", b"01", b"+1",
    b".5", b"1.", b"1e", b"0x10", b"NaN", b"Infinity", b"-Infinity", b"nul", b"True", b'""', b'" "',
    b'"x"', b'"abc"', b'"ABC"', b'"3w5e11264sgsf"', b'"3w5e11264sgsg"', b'"zzzzzzzzzzzzzz"',
    b'"t3_abc"', b'"t1_abc"', b'"t3_"', b'"t3_ABC"', b'"[deleted]"', b'"[removed]"',
    rb'"\\[deleted\\]"', b'"\xc3\xa9"', b'"\xe2\x80\x8b"', b'"\xf0\x9f\x98\x80"', rb'"\u0000"',
    rb'"\ud83d\ude00"', rb'"\ud83d"', rb'"\ude00x"', rb'"\ude00\ud83d"', rb'"\ud83d\\ude00"',
    rb'"\u00e9"', rb'"\x41"', rb'"\"', b'"a\nb"', b'"a\tb"', b'"\x00"', b'"\x7f"', b'"\xff"',
    b'"\xed\xa0\xbd"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b"[]", b"[null]", b"[1,2]", b"[1,]",
    b"{}", b'{"a":1}', b'{"a":1,}', b"{", b"[", b'"', b"", b"{}{}", b'"u/name and /u/other-name_1"',
    b'"&amp;lt; &amp;amp; &#x200B;"', b'"https://i.redd.it/abc.jpg?a=1&amp;b=2"', b'"https://[bad"',
    b'"' + b"long " * 30_000 + b'"', b'{"retrieved_2nd_on":1764547200,"was_deleted_later":true}',
    b'{"retrieved_2nd_on":"x"}',
)  # fmt: skip
# Fields that are read; half of the mutated ones are among them.
READ_KEYS = (
    "_meta", "author", "body", "created_utc", "crosspost_parent", "crosspost_parent_list", "edited",
    "gallery_data", "id", "is_gallery", "link_id", "media_metadata", "num_comments", "over_18",
    "preview", "removed_by_category", "retrieved_on", "retrieved_utc", "score", "selftext",
    "subreddit", "title", "url",
)  # fmt: skip
# Readers stop at depths around 1,000, not all at the same.
DEPTHS = (10, 100, 500, 1_100, 20_000, 200_000)
BYTES = (
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\r",
    b"\t",
    b"\x1f",
    b"\x7f",
    b'"',
    b"\\",
)

Mutation = Callable[[bytes, random.Random], bytes]


def flip(line: bytes, rng: random.Random) -> bytes:
    """A few bits flipped."""
    data = bytearray(line)
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(line: bytes, rng: random.Random) -> bytes:
    """The start, or the end, of a line."""
    at = rng.randrange(len(line))
    return line[:at] if rng.random() < 0.7 else line[at:]


def repeat_span(line: bytes, rng: random.Random) -> bytes:
    """A span twice."""
    start, end = _span(line, rng)
    return line[:end] + line[start:]


def remove_span(line: bytes, rng: random.Random) -> bytes:
    """A span left out."""
    start, end = _span(line, rng)
    return line[:start] + line[end:]


def insert_bytes(line: bytes, rng: random.Random) -> bytes:
    """Bytes that have no place in JSON, or none in UTF-8."""
    at = rng.randrange(len(line) + 1)
    return line[:at] + rng.choice(BYTES) * rng.choice((1, 1, 3)) + line[at:]


def around(line: bytes, rng: random.Random) -> bytes:
    """White space and worse before and behind."""
    before = rng.choice((b"", b"", b" ", b"\t", b"\xef\xbb\xbf", b"\0", b"\x0b"))
    behind = rng.choice((b"\r", b"\r", b" \r", b" ", b"\r\r", b"\0", b"\x0c", b",", b"}", b" {}"))
    return before + line + behind


def change_field(line: bytes, rng: random.Random) -> bytes:
    """Another value, of another type perhaps, for a field."""
    return _with_field(line, rng, lambda key, _: (key, rng.choice(VALUES)))


def nest_field(line: bytes, rng: random.Random) -> bytes:
    """A value nested deeply, closed or not."""
    depth = rng.choice(DEPTHS)
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    end = closed * depth if rng.random() < 0.7 else b""
    return _with_field(line, rng, lambda key, _: (key, opened * depth + b"1" + end))


def drop_field(line: bytes, rng: random.Random) -> bytes:
    """A field left out."""
    return _with_field(line, rng, lambda key, value: None)


def double_field(line: bytes, rng: random.Random) -> bytes:
    """A field twice, with two values: the later one counts."""
    changed = change_field(line, rng)
    return line[:-1] + b"," + changed[1:] if rng.random() < 0.5 else changed[:-1] + b"," + line[1:]


def escape_key(line: bytes, rng: random.Random) -> bytes:
    r"""A key with its first letter as \\u00xx: the same key."""
    return _with_field(
        line, rng, lambda key, value: (rb"\u00%02x%b" % (key[0], key[1:]) if key else key, value)
    )


def whole_line(line: bytes, rng: random.Random) -> bytes:
    """Another value than an object; a blank line; the line itself."""
    return rng.choice((*VALUES, b" ", b"\t\r", line, line, b"[" + line + b"]", line + line))


MUTATIONS: Sequence[Mutation] = (
    flip, cut, repeat_span, remove_span, insert_bytes, around, nest_field, drop_field,
    double_field, escape_key, whole_line, *[change_field] * 9,
)  # fmt: skip


def mutated(lines: Sequence[bytes], seed: int) -> list[bytes]:
    """Every line mutated once, some twice; a few are left as they are.

    A mutation may put a newline into a line: what is read must be split anew.
    """
    rng = random.Random(seed)
    found = []
    for line in lines:
        data = line
        for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 2))):
            if data[:1] == b"{" and data[-1:] == b"}":
                data = rng.choice(MUTATIONS)(data, rng)
        found.append(data)
    return found


def _span(line: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(line))
    return start, min(len(line), start + 1 + int(rng.expovariate(0.02)))


def _with_field(
    line: bytes,
    rng: random.Random,
    change: Callable[[bytes, bytes], tuple[bytes, bytes] | None],
) -> bytes:
    """A line with one field changed, which `change` gives as key and JSON, or takes away."""
    try:
        fields = orjson.loads(line)
        members = [(key, orjson.dumps(value)) for key, value in fields.items()]
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return flip(line, rng)
    read = [key for key in READ_KEYS if key in fields]
    chosen = rng.choice(read if read and rng.random() < 0.8 else sorted(fields) or [""])
    changed = (
        change(key.encode(), value) if key == chosen else (orjson.dumps(key)[1:-1], value)
        for key, value in members
    )
    kept = (member for member in changed if member is not None)
    return b"{" + b",".join(b'"%b":%b' % member for member in kept) + b"}"


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".gz": lambda data: gzip.compress(data, mtime=0),
}


@dataclass(frozen=True, kw_only=True)
class Container:
    """A file and what must be found in it.

    Args:
        data: The file.
        suffix: Of its name.
        kind: What was done to it.
        is_corrupt: Whether that must be reported; None: it must, or nothing in it has changed.
        num_copies: How often the lines are in it, if it is not corrupt.
    """

    data: bytes
    suffix: str
    kind: str
    is_corrupt: bool | None
    num_copies: int = 1


def mutated_container(raw: bytes, seed: int) -> Container:
    """Lines in a container that is cut, damaged, followed by something, or several in one."""
    rng = random.Random(seed)
    suffix = rng.choice(sorted(PACK))
    half = raw.index(b"\n", len(raw) // 2) + 1
    packed = PACK[suffix](raw)
    frames = PACK[suffix](raw[:half]), PACK[suffix](raw[half:])
    data = rng.choice((packed, b"".join(frames)))
    match rng.randrange(6):
        case 0:
            at = rng.choice([n for n in (rng.randrange(1, len(data)) for _ in range(9))
                             if n != len(frames[0])])  # fmt: skip
            return Container(data=data[:at], suffix=suffix, kind="cut", is_corrupt=True)
        case 1:
            flipped = flip(data, rng)
            return Container(data=flipped, suffix=suffix, kind="flip", is_corrupt=None)
        case 2:
            garbage = b"\x01" + rng.randbytes(rng.choice((1, 7, 5_000)))
            return Container(data=data + garbage, suffix=suffix, kind="garbage", is_corrupt=True)
        case 3:
            twice = data + packed
            return Container(
                data=twice, suffix=suffix, kind="twice", is_corrupt=False, num_copies=2
            )
        case 4:
            other = PACK[rng.choice([s for s in sorted(PACK) if s != suffix])](raw)
            return Container(data=data + other, suffix=suffix, kind="other", is_corrupt=True)
    gone = remove_span(data, rng)
    return Container(data=gone, suffix=suffix, kind="hole", is_corrupt=None)
