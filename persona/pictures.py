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

from embed.archive import ArchiveReader, Place, archive_files, locate
from embed.decode import Decoded, decode
from persona.items import IMAGE

PICTURE_PX = 512  # what one low-detail tile of vision models takes
MAX_PIXELS = 100_000_000
_JPEG_QUALITY = 85

Pictures = dict[str, dict[str, bytes]]


def extract_pictures(evidence: pa.Table, archive: Path, folder: Path) -> int:
    """Write the archived exemplars of some evidence to `folder`, a small JPEG each.

    What the archive lacks, or what is no picture, is left out: the model then sees text alone.

    Returns:
        Pictures in the folder for this evidence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = _images(evidence).unique("url")
    places = locate(archive_files(archive), images["url"])
    reader, written = ArchiveReader(), 0
    rows = places.join(images, on="url").sort("file", "row_group", "row")
    for row in rows.iter_rows(named=True):
        target = folder / _file_name(row["evidence_id"])
        if not target.exists():
            place = Place(file=Path(row["file"]), row_group=row["row_group"], row=row["row"])
            status, content = reader.answer(place)
            small = small_jpeg(content) if 200 <= status < 300 else None
            if small is None:
                continue
            target.write_bytes(small)
        written += 1
    return written


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
