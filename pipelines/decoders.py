"""A file of any container -> its decompressed bytes; says where the file is cut or damaged.

The end of every frame is watched: python-zstandard's own readers take a cut file for a short one.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from zstandard import _cffi  # type: ignore[attr-defined]  # zstd's streaming interface, which tells where frames end

# Monthly dumps are one frame with a window of 2 GiB; decoders refuse more than 128 MiB unasked.
MAX_WINDOW_BYTES = 2**31
# Pieces of a zstd file: large, since after each a thread that computes may keep the GIL for 5 ms.
ZSTD_READ_BYTES = 1 << 20
READ_BYTES = 1 << 16
# One call of a decoder gives at most so much, whatever the ratio; what a call that finds damage
# had unfolded before it is lost.
STEP_BYTES = 1 << 20

Bytes = npt.NDArray[np.uint8]
"""A stretch of memory; a memoryview that is read elsewhere crashes the garbage collector of 3.11
when an exception holds both."""

_lib, _ffi = _cffi.lib, _cffi.ffi


class BrokenError(Exception):
    """The container ends, or goes on, where it must not."""


class Source(Protocol):
    """Decompressed bytes of one file, across all its frames."""

    @property
    def offset_bytes(self) -> int:
        """How much of the file was decoded."""

    def readinto(self, view: Bytes, /) -> int:
        """Fill the beginning of `view`; how many bytes, 0 at the end of a whole file.

        Raises:
            BrokenError: The file is cut or damaged here; all before was given.
        """


def source_of(file: BinaryIO, container: str) -> Source:
    """Decoder of `file`, which stands at its beginning.

    Args:
        file: Unbuffered, as its pieces are large.
        container: zst, xz, bz2, gz or plain.
    """
    if container == "plain":
        return PlainSource(file)
    if container == "zst":
        return ZstdSource(file)
    return StreamSource(file, container)


class PlainSource:
    """Bytes as they are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset_bytes = 0

    def readinto(self, view: Bytes, /) -> int:
        size: int = self._file.readinto(view)  # type: ignore[attr-defined]
        self.offset_bytes += size
        return size


class ZstdSource:
    """zstd, of any window and number of frames, straight into the caller's memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = _ffi.gc(_lib.ZSTD_createDStream(), _lib.ZSTD_freeDStream)
        _lib.ZSTD_DCtx_setMaxWindowSize(self._stream, MAX_WINDOW_BYTES)
        self._in = _ffi.new("ZSTD_inBuffer *")
        self._out = _ffi.new("ZSTD_outBuffer *")
        self._piece = _ffi.from_buffer(b"")
        self._read_bytes = 0
        self._in_frame = self._has_more = False
        self._is_empty = True

    @property
    def offset_bytes(self) -> int:
        return self._read_bytes - int(self._in.size - self._in.pos)

    def readinto(self, view: Bytes, /) -> int:
        out = self._out
        with _ffi.from_buffer(view, require_writable=True) as target:
            out.dst, out.size, out.pos = target, min(len(view), STEP_BYTES), 0
            while not out.pos and self._has_input():
                self._decompress()
        return int(out.pos)

    def _decompress(self) -> None:
        hint = _lib.ZSTD_decompressStream(self._stream, self._out, self._in)
        if _lib.ZSTD_isError(hint):
            cause = _ffi.string(_lib.ZSTD_getErrorName(hint)).decode()
            raise BrokenError(f"zst data are damaged ({cause})")
        self._in_frame = hint != 0
        self._has_more = self._in_frame and self._out.pos == self._out.size

    def _has_input(self) -> bool:
        if self._has_more or self._in.pos < self._in.size:
            return True
        piece = self._file.read(ZSTD_READ_BYTES)
        if piece:
            self._piece = _ffi.from_buffer(piece)
            self._in.src, self._in.size, self._in.pos = self._piece, len(piece), 0
            self._read_bytes += len(piece)
            self._is_empty = False
        elif self._in_frame or self._is_empty:
            raise BrokenError("zst data end in the middle of a frame")
        return bool(piece)


class _Decoder(Protocol):
    """What the decompressors of xz and bz2 have in common: one stream, its end, what follows."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipDecoder:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self.eof or self._is_full)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        decompressed = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._is_full = len(decompressed) == max_length
        return decompressed


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "xz": lzma.LZMADecompressor,
    "bz2": bz2.BZ2Decompressor,
    "gz": _GzipDecoder,
}
# bz2 raises a bare OSError.
_DECODER_ERRORS = (lzma.LZMAError, zlib.error, OSError)
# xz pads streams and gzip blocks with zeros; zeros behind zstd or bz2 are a failed download.
_PADDED = frozenset({"xz", "gz"})


class StreamSource:
    """xz, bz2 or gz, of any number of streams."""

    def __init__(self, file: BinaryIO, container: str) -> None:
        self._file = file
        self._container = container
        self._new_decoder = _DECODERS[container]
        self._decoder = self._new_decoder()
        self._left = b""
        self._in_frame = False
        self._num_frames = 0
        self.offset_bytes = 0

    def readinto(self, view: Bytes, /) -> int:
        wanted = min(len(view), STEP_BYTES)
        while self._has_input():
            data, self._left = self._left, b""
            try:
                decompressed = self._decoder.decompress(data, wanted)
            except _DECODER_ERRORS as error:
                raise BrokenError(f"{self._container} data are damaged ({error})") from error
            if self._decoder.eof:
                self._left = self._decoder.unused_data
                self._decoder, self._in_frame = self._new_decoder(), False
                self._num_frames += 1
            if decompressed:
                view[: len(decompressed)] = np.frombuffer(decompressed, np.uint8)
                return len(decompressed)
        return 0

    def _has_input(self) -> bool:
        if self._in_frame and not self._decoder.needs_input:
            return True
        while not self._skip_padding():
            self._left = self._file.read(READ_BYTES)
            self.offset_bytes += len(self._left)
            if not self._left:
                break
        if not self._left and (self._in_frame or not self._num_frames):
            raise BrokenError(f"{self._container} data end in the middle of a frame")
        self._in_frame = bool(self._left)
        return self._in_frame

    def _skip_padding(self) -> bool:
        """Whether anything else than padding is left."""
        if self._num_frames and not self._in_frame and self._container in _PADDED:
            self._left = self._left.lstrip(b"\0")
        return bool(self._left)
