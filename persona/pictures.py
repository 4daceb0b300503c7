"""Exemplar images as small JPEGs for a model that sees: archive in, bytes by user and evidence out.

Archives are read in their own order, once a part of EVIDENCE; small pictures wait in a folder until
their users are sent. Re-encoding drops metadata such as the place where a photograph was taken.
"""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from embed.archive import ArchiveReader, Place
from embed.archive_index import ArchiveIndex
from embed.decode import Decoded, decode
from embed.tars import DamagedShardError
from persona.items import IMAGE

PICTURE_PX = 512  # what one low-detail tile of vision models takes
MAX_PIXELS = 100_000_000
_JPEG_QUALITY = 85

Pictures = dict[str, dict[str, bytes]]


def extract_pictures(evidence: pa.Table, archive: ArchiveIndex, folder: Path) -> int:
    """Write the archived exemplars of some evidence to `folder`, a small JPEG each.

    What the archive lacks, or what cannot be read or is no picture, is left out: the model then
    sees text alone.

    Returns:
        Pictures in the folder for this evidence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = _images(evidence).unique("url").select("url", "evidence_id")
    found = [(archive.find(url), folder / _file_name(id_)) for url, id_ in images.iter_rows()]
    reader, written = ArchiveReader(), 0
    placed = [(place, target) for place, target in found if place is not None]
    for place, target in sorted(placed, key=_in_archive_order):
        if not target.exists():
            small = _small_at(place, reader)
            if small is None:
                continue
            target.write_bytes(small)
        written += 1
    return written


def _in_archive_order(placed: tuple[Place, Path]) -> tuple[str, int, int]:
    place, _ = placed
    return str(place.file), place.row_group, place.row


def _small_at(place: Place, reader: ArchiveReader) -> bytes | None:
    try:
        status, content = reader.answer(place)
    except DamagedShardError:
        return None
    return small_jpeg(content) if 200 <= status < 300 else None


def pictures_of(evidence: pa.Table, folder: Path) -> Pictures:
    """Bytes by user and evidence id, of the pictures that were extracted."""
    found: Pictures = {}
    for user_id, evidence_id in _images(evidence).select("user_id", "evidence_id").iter_rows():
        path = folder / _file_name(evidence_id)
        if path.exists():
            found.setdefault(user_id, {})[evidence_id] = path.read_bytes()
    return found


def small_jpeg(content: bytes) -> bytes | None:
    """The picture at most 512 px wide and high, without metadata; None if it is none."""
    decoded = decode(content, MAX_PIXELS, PICTURE_PX)
    if not isinstance(decoded, Decoded):
        return None
    picture = decoded.picture
    picture.thumbnail((PICTURE_PX, PICTURE_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, exif=b"")
    return buffer.getvalue()


def _images(evidence: pa.Table) -> pl.DataFrame:
    rows = evidence.filter(pc.equal(evidence.column("kind"), IMAGE))
    frame = pl.from_arrow(rows.select(["user_id", "evidence_id", "text"]))
    assert isinstance(frame, pl.DataFrame)
    return frame.rename({"text": "url"})


def _file_name(evidence_id: str) -> str:
    return evidence_id.removeprefix("i:") + ".jpg"
