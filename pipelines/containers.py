"""One dump file -> batches of whole lines, as bytes; says where a file is cut or corrupt.

Lines stay bytes here: a decoder that sees chunks breaks the characters at their edges.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

# Monthly dumps are one frame with a window of 2 GiB; decoders refuse more than 128 MiB unasked.
MAX_WINDOW_BYTES = 2**31
# A piece of input can unfold 10^4-fold, so pieces are small; zstd is also fastest at this size.
READ_BYTES = 1 << 16
BATCH_BYTES = 4 << 20
# The longest known line (a url of 511,885 characters) is far below; no newline in so many bytes
# means that this is no dump.
MAX_LINE_BYTES = 64 << 20

_SUFFIXES = {".zst": "zst", ".xz": "xz", ".bz2": "bz2", ".gz": "gz"}
_PLAIN_SUFFIXES = (".ndjson", ".jsonl", ".json", "")
_MAGIC = {
    b"\x28\xb5\x2f\xfd": "zst",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bz2",
    b"\x1f\x8b": "gz",
}
_UTF8_BOM = b"\xef\xbb\xbf"


class CorruptDumpError(ValueError):
    """A dump is cut short or damaged; what came before the damage was delivered.

    Args:
        path: The file.
        offset_bytes: Where in the file, compressed bytes from its start.
        lines_saved: Whole lines delivered before.
        cause: What is wrong there.
    """

    def __init__(self, path: str, offset_bytes: int, lines_saved: int, cause: str) -> None:
        super().__init__(path, offset_bytes, lines_saved, cause)
        self.path = path
        self.offset_bytes = offset_bytes
        self.lines_saved = lines_saved
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.cause} at byte {self.offset_bytes}, after {self.lines_saved} "
            "whole lines; download it again and compare checksums, or set on_corrupt='keep'"
        )


@dataclass(frozen=True)
class LineBatch:
    """Consecutive lines of one file.

    Args:
        first_line: Number of the first line, from 1.
        data: Lines, each ending in a newline, the file's last one perhaps not.
        offset_bytes: How far into the (compressed) file the reader was.
    """

    first_line: int
    data: bytes
    offset_bytes: int

    @property
    def num_lines(self) -> int:
        """Lines, blank ones included."""
        return self.data.count(b"\n") + (not self.data.endswith(b"\n"))


def container_of(path: Path) -> str:
    """`zst`, `xz`, `bz2`, `gz` or `plain`: by suffix; for plain suffixes by the first bytes."""
    named = _SUFFIXES.get(path.suffix.lower())
    if named is not None:
        return named
    with path.open("rb") as file:
        head = file.read(8)
    found = (kind for magic, kind in _MAGIC.items() if head.startswith(magic))
    return next(found, "plain")


def is_dump_name(path: Path) -> bool:
    """Whether a file in a folder looks like a dump by its suffixes."""
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return True
    return suffix in _PLAIN_SUFFIXES and (suffix != "" or path.name[:3].upper() in ("RS_", "RC_"))


def read_batches(path: Path, batch_bytes: int = BATCH_BYTES) -> Iterator[LineBatch]:
    """Whole lines of `path` in batches of about `batch_bytes`.

    The last line counts also without a newline. A UTF-8 byte order mark is dropped.

    Raises:
        CorruptDumpError: The file is cut, damaged, or followed by what is not its container;
            raised after everything before was yielded, the line that was cut included.
    """
    with path.open("rb") as file:
        yield from _batches(str(path), _Chunks(file, container_of(path)), batch_bytes)


def _batches(path: str, chunks: _Chunks, batch_bytes: int) -> Iterator[LineBatch]:
    first_line, parts, size = 1, list[bytes](), 0
    failure: _BrokenError | None = None
    try:
        for chunk in chunks:
            parts.append(chunk)
            size += len(chunk)
            if size < batch_bytes or (b"\n" not in chunk and size < MAX_LINE_BYTES):
                continue
            data, rest = _split_last_line(b"".join(parts))
            if not data:
                raise _BrokenError(f"no newline in {size} bytes")
            batch = LineBatch(first_line, data, chunks.offset_bytes)
            yield batch
            first_line += batch.num_lines
            parts, size = [rest], len(rest)
    except _BrokenError as error:
        failure = error
    data = b"".join(parts)
    if data:
        yield LineBatch(first_line, data, chunks.offset_bytes)
    if failure is not None:
        lines_saved = first_line - 1 + data.count(b"\n")
        raise CorruptDumpError(path, chunks.offset_bytes, lines_saved, str(failure)) from failure


def _split_last_line(data: bytes) -> tuple[bytes, bytes]:
    cut = data.rfind(b"\n") + 1
    return data[:cut], data[cut:]


class _BrokenError(Exception):
    """The container ends or goes on where it must not."""


# bz2 raises a bare OSError.
_DECODER_ERRORS = (zstandard.ZstdError, lzma.LZMAError, zlib.error, OSError)


class _Decoder(Protocol):
    """What zstd, xz, bz2 and zlib decompressors have in common: one frame, its end, what follows.

    The end of a frame must be watched: python-zstandard's readers take a cut file for a short one.
    """

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd_decoder() -> _Decoder:
    decoder: _Decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
    return decoder


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "zst": _zstd_decoder,
    "xz": lzma.LZMADecompressor,
    "bz2": bz2.BZ2Decompressor,
    "gz": lambda: zlib.decompressobj(wbits=31),
}
# xz pads streams and gzip blocks with zeros; zeros behind zstd or bz2 are a failed download.
_PADDED = frozenset({"xz", "gz"})


class _Chunks:
    """Decompressed pieces of a file across all its frames; knows how far it has read."""

    def __init__(self, file: BinaryIO, container: str) -> None:
        self._file = file
        self._container = container
        self.offset_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._pieces()
        chunks = pieces if self._container == "plain" else self._frames(pieces)
        yield next(chunks, b"").removeprefix(_UTF8_BOM)
        yield from chunks

    def _pieces(self) -> Iterator[bytes]:
        while piece := self._file.read(READ_BYTES):
            self.offset_bytes += len(piece)
            yield piece

    def _frames(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        new_decoder = _DECODERS[self._container]
        decoder, in_frame, num_frames = new_decoder(), False, 0
        for piece in pieces:
            left = piece
            while left:
                if not in_frame and num_frames and self._container in _PADDED:
                    left = left.lstrip(b"\0")
                    if not left:
                        break
                in_frame = True
                yield self._decompress(decoder, left)
                left = b""
                if decoder.eof:
                    left = decoder.unused_data
                    decoder, in_frame, num_frames = new_decoder(), False, num_frames + 1
        if in_frame or not num_frames:
            raise _BrokenError(f"{self._container} data end in the middle of a frame")

    def _decompress(self, decoder: _Decoder, data: bytes) -> bytes:
        try:
            return decoder.decompress(data)
        except _DECODER_ERRORS as error:
            raise _BrokenError(f"{self._container} data are damaged ({error})") from error
