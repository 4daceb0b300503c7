"""One dump file -> batches of whole lines, as bytes; says where a file is cut or corrupt.

Lines stay bytes here: a decoder that sees chunks breaks the characters at their edges.
"""

from __future__ import annotations

import queue
import re
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from pipelines.decoders import ZSTD_MAGIC, BrokenError, Bytes, Source, source_of
from pipelines.native.scan import count_newlines
from pipelines.zst_blocks import BlocksSource

BATCH_BYTES = 8 << 20
# Batches that are decoded before they are asked for.
AHEAD = 2
# The longest known line (a url of 511,885 characters) is far below; no newline in so many bytes
# means that this is no dump.
MAX_LINE_BYTES = 64 << 20

_SCHEME = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")
_SUFFIXES = {".zst": "zst", ".zst_blocks": "zst_blocks", ".xz": "xz", ".bz2": "bz2", ".gz": "gz"}
_PLAIN_SUFFIXES = (".ndjson", ".jsonl", ".json", "")
_MAGIC = {
    ZSTD_MAGIC: "zst",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bz2",
    b"\x1f\x8b": "gz",
}
_NEWLINE = ord("\n")
_UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Damage:
    """A span of a dump that could not be read.

    Args:
        cause: What is wrong there.
        offset_bytes: Where in the file it begins, compressed bytes from its start.
        end_bytes: Where reading went on; None where nothing that can be read was found behind it.
        lines_before: Whole lines of the file that were delivered before it.
    """

    cause: str
    offset_bytes: int
    end_bytes: int | None
    lines_before: int

    @property
    def place(self) -> str:
        """The bytes that it spans."""
        begin = self.offset_bytes
        return f"byte {begin}" if self.end_bytes is None else f"bytes {begin} to {self.end_bytes}"


class CorruptDumpError(ValueError):
    """A dump is cut short or damaged; what is whole, as far as it was asked for, was delivered.

    Args:
        path: The file.
        damages: In order of the file; the first one alone where nothing behind it was asked for.
        lines_saved: Whole lines delivered.
        others: Further files of the month that are cut or damaged.
    """

    def __init__(
        self,
        path: str,
        damages: tuple[Damage, ...],
        lines_saved: int,
        others: tuple[str, ...] = (),
    ) -> None:
        super().__init__(path, damages, lines_saved, others)
        self.path = path
        self.damages = damages
        self.lines_saved = lines_saved
        self.others = others

    @property
    def note(self) -> str:
        """What is missing of a dump that is kept nevertheless."""
        return "; ".join(
            f"{damage.cause} at {damage.place}: {damage.lines_before} whole lines before and "
            f"{self.lines_saved - damage.lines_before} behind are kept"
            for damage in self.damages
        )

    def __str__(self) -> str:
        first = self.damages[0]
        too = f" (damaged, too: {', '.join(self.others)})" if self.others else ""
        return (
            f"{self.path}: {first.cause} at byte {first.offset_bytes}, after {first.lines_before} "
            f"whole lines{too}; download it again and compare checksums, or keep what is whole "
            "with --on-corrupt keep"
        )


@dataclass(frozen=True)
class LineBatch:
    """Consecutive lines of one file.

    Args:
        first_line: Number of the first line, from 1.
        view: Lines, each ending in a newline, the file's last one perhaps not. It stays as it is
            while anything refers to it.
        offset_bytes: How far into the (compressed) file the reader was.
        begins_cut: The file was damaged before the first line, which may lack its beginning.
        ends_cut: The file is cut or damaged behind the last line, which may lack its end.
    """

    first_line: int
    view: Bytes
    offset_bytes: int
    begins_cut: bool = False
    ends_cut: bool = False

    @property
    def data(self) -> bytes:
        """A copy of the lines."""
        return self.view.tobytes()

    @cached_property
    def num_newlines(self) -> int:
        """Lines that end in a newline."""
        return int(count_newlines(self.view))

    @property
    def num_lines(self) -> int:
        """Lines, blank ones included."""
        return self.num_newlines + int(self.view[-1] != _NEWLINE)

    @property
    def cut_lines(self) -> tuple[int, ...]:
        """Numbers of the lines that may not be whole."""
        is_open = self.num_lines > self.num_newlines
        first = (self.first_line,) if self.begins_cut else ()
        last = (self.first_line - 1 + self.num_lines,) if self.ends_cut and is_open else ()
        return first + last


def is_url(location: str | Path) -> bool:
    """Whether it is an address of a store and not a local path."""
    return _SCHEME.match(str(location)) is not None


def container_of(name: str, file: BinaryIO) -> str:
    """`zst`, `zst_blocks`, `xz`, `bz2`, `gz` or `plain`: by suffix, or else by the first bytes.

    Args:
        name: Of the file.
        file: Stands at its beginning, and does so again.
    """
    named = _SUFFIXES.get(PurePosixPath(name).suffix.lower())
    if named is not None:
        return named
    head = file.read(8)
    file.seek(0)
    if head[4:] == ZSTD_MAGIC:
        return "zst_blocks"
    found = (kind for magic, kind in _MAGIC.items() if head.startswith(magic))
    return next(found, "plain")


def is_dump_name(name: str) -> bool:
    """Whether a file in a folder looks like a dump by its suffixes."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _SUFFIXES:
        return True
    is_kind = PurePosixPath(name).name[:3].upper() in ("RS_", "RC_")
    return suffix in _PLAIN_SUFFIXES and (suffix != "" or is_kind)


def read_batches(
    path: Path | str,
    batch_bytes: int = BATCH_BYTES,
    ahead: int = AHEAD,
    options: Sequence[str] = (),
    *,
    past_damage: bool = False,
) -> Generator[LineBatch]:
    """Whole lines of `path`, a file or an address of a store, in batches of about `batch_bytes`.

    The last line counts also without a newline. A UTF-8 byte order mark is dropped. A thread
    decodes `ahead` batches before they are asked for; closing the iterator ends it.

    Args:
        path: File or address.
        batch_bytes: A batch is longer only if a line is.
        ahead: Batches decoded before they are asked for.
        options: Beam's options, which tell how stores are reached.
        past_damage: Go on behind damage, with the next frame that can be found.

    Raises:
        ConfigError: No file system for the address is installed.
        CorruptDumpError: The file is cut, damaged, or followed by what is not its container;
            raised after everything else was yielded, lines that were cut included.
    """
    first_line = 1
    num_newlines = 0
    begins_cut = False
    damages: list[Damage] = []
    with closing(_made_ahead(_whole_lines(path, batch_bytes, options, past_damage), ahead)) as made:
        for view, offset_bytes, failure, end_bytes in made:
            if len(view):
                is_cut = failure is not None
                batch = LineBatch(first_line, view, offset_bytes, begins_cut, is_cut)
                yield batch
                first_line += batch.num_lines
                num_newlines += batch.num_newlines
                begins_cut = False
            if failure is None:
                continue
            if begins_cut:  # Nothing came of what looked like a frame: the damage goes on.
                damages[-1] = replace(damages[-1], end_bytes=end_bytes)
            else:
                damages.append(Damage(str(failure), offset_bytes, end_bytes, num_newlines))
            begins_cut = True
    if damages:
        raise CorruptDumpError(str(path), tuple(damages), num_newlines)


class _Piece(NamedTuple):
    """Whole lines and how far into the file; what is wrong there, and where reading goes on."""

    view: Bytes
    offset_bytes: int
    failure: BrokenError | None = None
    end_bytes: int | None = None


def _opened(path: Path | str, options: Sequence[str]) -> BinaryIO:
    if is_url(path):
        from pipelines.remote import open_remote  # Beam, for those who need it

        return open_remote(str(path), options)
    # Unbuffered, as decoders read large pieces.
    return Path(path).open("rb", buffering=0)


def _source_of(name: str, file: BinaryIO) -> Source:
    container = container_of(name, file)
    if container == "zst_blocks":
        return BlocksSource(file)
    return source_of(file, container)


def _whole_lines(
    path: Path | str, batch_bytes: int, options: Sequence[str], past_damage: bool
) -> Generator[_Piece]:
    with _opened(path, options) as file:
        source = _source_of(str(path), file)
        rest, is_first, is_last = np.empty(0, np.uint8), True, False
        buffers = _Buffers()
        while not is_last:
            size = len(rest) + max(batch_bytes, len(rest), len(_UTF8_BOM))
            view, failure = _filled(source, rest, buffers.take(size))
            is_last = len(view) < size
            if is_first:
                view, is_first = _without_bom(view), False
            cut = len(view) if is_last else _end_of_lines(view)
            if not cut and len(view) >= MAX_LINE_BYTES:
                cut, is_last = len(view), True
                failure = BrokenError(f"no newline in {len(view)} bytes")
            offset_bytes, end_bytes = source.offset_bytes, None
            damaged_from = source.skip_damage() if failure is not None and past_damage else None
            if damaged_from is not None:
                is_last, offset_bytes, end_bytes = False, damaged_from, source.offset_bytes
            yield _Piece(view[:cut], offset_bytes, failure, end_bytes)
            rest = view[cut:]


class _Buffers:
    """Memory of batches, used again when nothing refers to it any more.

    The kernel clears every page that it hands out: at a gigabyte a second, that is a tenth of all
    the work.
    """

    _SLACK_BYTES = 1 << 20

    def __init__(self) -> None:
        self._buffers: list[Bytes] = []

    def take(self, size: int) -> Bytes:
        """A writable view of so many bytes."""
        for i in range(len(self._buffers)):
            # The list and the argument refer to it; views of it would, too.
            is_free = sys.getrefcount(self._buffers[i]) == 2
            if is_free and len(self._buffers[i]) >= size:
                return self._buffers[i][:size]
        self._buffers = [b for b in self._buffers if len(b) >= size]
        self._buffers.append(np.empty(size + self._SLACK_BYTES, np.uint8))
        return self._buffers[-1][:size]


def _filled(source: Source, rest: Bytes, buffer: Bytes) -> tuple[Bytes, BrokenError | None]:
    """`rest` and what follows it: a full buffer, unless the file ends or is damaged."""
    end, failure = len(rest), None
    buffer[:end] = rest
    try:
        while end < len(buffer) and (num_read := source.readinto(buffer[end:])):
            end += num_read
    except BrokenError as error:
        # Without its frames, which hold the decoder and its window of up to 2 GiB.
        failure = error.with_traceback(None)
    buffer.flags.writeable = False
    return buffer[:end], failure


def _without_bom(view: Bytes) -> Bytes:
    bom = len(_UTF8_BOM)
    return view[bom:] if view[:bom].tobytes() == _UTF8_BOM else view


def _end_of_lines(view: Bytes) -> int:
    """Where the last whole line ends, 0 if there is none."""
    step = 1 << 16
    for end in range(len(view), 0, -step):
        start = max(0, end - step)
        found = view[start:end].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0


def _made_ahead(items: Generator[_Piece], ahead: int) -> Generator[_Piece]:
    """`items`, of which a thread makes up to `ahead` before they are asked for."""
    made: queue.SimpleQueue[_Piece | BaseException | None] = queue.SimpleQueue()
    places, is_closed = threading.Semaphore(ahead), threading.Event()

    def make() -> None:
        try:
            with closing(items):
                while places.acquire() and not is_closed.is_set():
                    item = next(items, None)
                    made.put(item)
                    if item is None:
                        return
        except BaseException as error:  # noqa: BLE001  the consumer raises it
            made.put(error)

    thread = threading.Thread(target=make, name="decoder", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            places.release()
            yield item
    finally:
        is_closed.set()
        places.release()
        thread.join()
