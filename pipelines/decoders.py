"""A file of any container -> its decompressed bytes; says where the file is cut or damaged.

The end of every frame is watched: python-zstandard's own readers take a cut file for a short one.
Behind damage, reading goes on with the next frame that can be found (`FrameSource.skip_damage`).
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
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

# How a frame, or stream, begins: with as much of its header as is sure, for what looks like one by
# chance costs its try. Nothing of JSON text looks like any of these.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_STARTS = {
    "zst": re.compile(re.escape(ZSTD_MAGIC)),
    "xz": re.compile(rb"\xfd7zXZ\0\0[\0\1\4\n]"),
    "bz2": re.compile(rb"BZh[1-9]1AY&SY"),
    "gz": re.compile(rb"\x1f\x8b\x08[\0-\x1f].{4}[\0\2\4][\0-\x0d\xff]", re.DOTALL),
}
_MAX_START_BYTES = 10

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

    def skip_damage(self) -> int | None:
        """After a `BrokenError`, go on where the next frame begins.

        Returns:
            The byte where the damage begins, or None where no frame is behind it.
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

    def skip_damage(self) -> None:
        """There are no frames."""


class FrameSource(ABC):
    """What has frames, each of which can be decoded without those before it.

    Args:
        file: Stands at its beginning.
        container: Whose frames: zst, xz, bz2 or gz.
        header_bytes: What lies before the start of each frame, and belongs to it.
    """

    def __init__(self, file: BinaryIO, container: str, header_bytes: int = 0) -> None:
        self._file = file
        self._start = _STARTS[container]
        self._header_bytes = header_bytes
        # Of the frame that is being decoded, and of the piece of the file that last gave bytes.
        self._frame_begin = self._piece_begin = 0

    @property
    @abstractmethod
    def offset_bytes(self) -> int:
        """As `Source.offset_bytes`."""

    def skip_damage(self) -> int | None:
        """As `Source.skip_damage`.

        The decoder may have read on into the next frame before it noticed the damage; but what
        gave bytes before the last piece that did was this frame's.
        """
        begin = max(self._frame_begin + 1, self._piece_begin)
        found = self._next_start(begin + self._header_bytes)
        if found is None:
            return None
        end = found - self._header_bytes
        damaged_from = self.offset_bytes if self.offset_bytes < end else self._frame_begin
        self._frame_begin = self._piece_begin = end
        self._file.seek(end)
        self._restart(end)
        return damaged_from

    @abstractmethod
    def _restart(self, offset_bytes: int) -> None:
        """Forget the damaged frame: the file stands at the beginning of another one."""

    def _next_start(self, begin: int) -> int | None:
        self._file.seek(begin)
        rest = b""
        while piece := self._file.read(ZSTD_READ_BYTES):
            looked_at = rest + piece
            found = self._start.search(looked_at)
            if found is not None:
                return begin + found.start()
            rest = looked_at[-_MAX_START_BYTES:]
            begin += len(looked_at) - len(rest)
        return None


class ZstdSource(FrameSource):
    """zstd, of any window and number of frames, straight into the caller's memory."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, "zst")
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
        if self._out.pos:
            self._piece_begin = self._read_bytes - int(self._in.size)
        if hint == 0:
            self._frame_begin = self.offset_bytes
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

    def _restart(self, offset_bytes: int) -> None:
        _lib.ZSTD_DCtx_reset(self._stream, _lib.ZSTD_reset_session_only)
        self._in.size = self._in.pos = 0
        self._in_frame = self._has_more = False
        self._read_bytes = offset_bytes


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
    # Of itself it takes 13 zeros for an empty file of the format before xz.
    "xz": partial(lzma.LZMADecompressor, format=lzma.FORMAT_XZ),
    "bz2": bz2.BZ2Decompressor,
    "gz": _GzipDecoder,
}
# bz2 raises a bare OSError.
_DECODER_ERRORS = (lzma.LZMAError, zlib.error, OSError)
# xz pads streams and gzip blocks with zeros; zeros behind zstd or bz2 are a failed download.
_PADDED = frozenset({"xz", "gz"})


class StreamSource(FrameSource):
    """xz, bz2 or gz, of any number of streams."""

    def __init__(self, file: BinaryIO, container: str) -> None:
        super().__init__(file, container)
        self._container = container
        self._new_decoder = _DECODERS[container]
        self._decoder = self._new_decoder()
        self._left = b""
        self._in_frame = False
        self._num_frames = 0
        self._last_read_at = 0
        self._read_bytes = 0

    @property
    def offset_bytes(self) -> int:
        return self._read_bytes

    def readinto(self, view: Bytes, /) -> int:
        wanted = min(len(view), STEP_BYTES)
        while self._has_input():
            data, self._left = self._left, b""
            try:
                decompressed = self._decoder.decompress(data, wanted)
            except _DECODER_ERRORS as error:
                self._read_bytes -= len(data)
                raise BrokenError(f"{self._container} data are damaged ({error})") from error
            if self._decoder.eof:
                self._left = self._decoder.unused_data
                self._decoder, self._in_frame = self._new_decoder(), False
                self._num_frames += 1
                self._frame_begin = self._read_bytes - len(self._left)
            if decompressed:
                self._piece_begin = self._last_read_at
                view[: len(decompressed)] = np.frombuffer(decompressed, np.uint8)
                return len(decompressed)
        return 0

    def _has_input(self) -> bool:
        if self._in_frame and not self._decoder.needs_input:
            return True
        while not self._skip_padding():
            self._left = self._file.read(READ_BYTES)
            self._last_read_at = self._read_bytes
            self._read_bytes += len(self._left)
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

    def _restart(self, offset_bytes: int) -> None:
        self._decoder, self._in_frame, self._left = self._new_decoder(), False, b""
        self._read_bytes = self._last_read_at = offset_bytes
