"""`.zst_blocks`, in which arctic_shift published 2023-04 to 2024-03 -> lines.

A file is blocks, each decodable alone; numbers are little endian, of 32 bits:

    compressed size, one zstd frame of { number of rows, (offset, size) of each row, rows }

Offsets count from the first row. Rows are JSON without newlines.

Source: github.com/ArthurHeitmann/zst_blocks_format, README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import zstandard

from pipelines.decoders import BrokenError, Bytes, FrameSource

# Published blocks are far smaller; a number beyond it is damage, and is not to be allocated.
MAX_BLOCK_BYTES = 256 << 20
_NUMBER_BYTES = 4


class BlocksSource(FrameSource):
    """Rows of all blocks, each ended by a newline. A damaged or cut block is lost as a whole."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, "zst", header_bytes=_NUMBER_BYTES)
        self._blocks = self._lines_of_blocks()
        self._left = np.empty(0, np.uint8)

    @property
    def offset_bytes(self) -> int:
        return self._frame_begin

    def readinto(self, view: Bytes, /) -> int:
        while not len(self._left):
            lines = next(self._blocks, None)
            if lines is None:
                return 0
            self._left = np.frombuffer(lines, np.uint8)
        size = min(len(view), len(self._left))
        view[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _lines_of_blocks(self) -> Iterator[bytes]:
        while head := self._read(_NUMBER_BYTES):
            size = int.from_bytes(head, "little")
            if len(head) == _NUMBER_BYTES and size > MAX_BLOCK_BYTES:
                raise BrokenError(f"zst_blocks data are damaged (a block of {size} bytes)")
            frame = self._read(size)
            if len(head) < _NUMBER_BYTES or len(frame) < size:
                raise BrokenError("zst_blocks data end in the middle of a frame")
            lines = _lines(_decompressed(frame))
            self._frame_begin += len(head) + size
            yield lines
        if not self._frame_begin:
            raise BrokenError("zst_blocks data end in the middle of a frame")

    def _restart(self, offset_bytes: int) -> None:
        self._blocks = self._lines_of_blocks()

    def _read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the file."""
        parts = list[bytes]()
        while size and (part := self._file.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _decompressed(frame: bytes) -> bytes:
    try:
        size = zstandard.frame_content_size(frame)
        if size > MAX_BLOCK_BYTES:
            raise BrokenError(f"zst_blocks data are damaged (a block of {size} bytes)")
        decoder = zstandard.ZstdDecompressor()
        block: bytes = decoder.decompress(frame, MAX_BLOCK_BYTES, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BrokenError(f"zst_blocks data are damaged ({error})") from error
    return block


def _lines(block: bytes) -> bytes:
    num_rows = int.from_bytes(block[:_NUMBER_BYTES], "little")
    start = _NUMBER_BYTES * (1 + 2 * num_rows)
    if not _NUMBER_BYTES <= start <= len(block):
        raise BrokenError(f"zst_blocks data are damaged ({num_rows} rows in {len(block)} bytes)")
    places = np.frombuffer(block, "<u4", 2 * num_rows, _NUMBER_BYTES).astype(np.int64)
    starts = start + places[::2]
    ends = starts + places[1::2]
    if num_rows and ends.max() > len(block):
        raise BrokenError("zst_blocks data are damaged (a row beyond its block)")
    if places[1::2].sum() > len(block):
        raise BrokenError("zst_blocks data are damaged (rows that hold each other)")
    rows = (block[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    return b"".join(part for row in rows for part in (row, b"\n"))
