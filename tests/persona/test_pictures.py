"""Exemplars come out of an archive small, clean of metadata, and only where they are pictures."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pyarrow as pa
from PIL import Image

from embed.archive import archive_files
from embed.archive_index import ArchiveIndex
from embed.tables import IMAGE_ARCHIVE
from persona.items import UserEvidence, evidence_table
from persona.pictures import extract_pictures, pictures_of, small_jpeg
from tests.persona.examples import image, subreddit


def jpeg(width: int, height: int, exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 90)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def archive(folder: Path, answers: dict[str, tuple[int, bytes]]) -> Path:
    rows = [
        {"url": f"https://i.example.net/{name}.jpg", "http_status": status, "content": content}
        for name, (status, content) in answers.items()
    ]
    folder.mkdir()
    IMAGE_ARCHIVE.write(folder, pa.Table.from_pylist(rows, schema=IMAGE_ARCHIVE.schema))
    return folder


def index_of(folder: Path) -> ArchiveIndex:
    below = folder.with_name("index")
    below.mkdir()
    return ArchiveIndex(archive_files(folder), below)


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    place = archive(tmp_path / "archive", {"good": (200, jpeg(40, 30))})
    index = index_of(place)
    (file,) = place.iterdir()
    times = file.stat()
    file.write_bytes(file.read_bytes()[:-20])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    evidence = evidence_table([UserEvidence("ann", (image("good"),))])
    assert extract_pictures(evidence, index, tmp_path / "small") == 0


def test_pictures_are_found_by_user_and_evidence(tmp_path: Path) -> None:
    place = archive(
        tmp_path / "archive",
        {
            "good": (200, jpeg(40, 30)),
            "gone": (404, jpeg(40, 30)),
            "page": (200, b"<html>not a picture</html>"),
            "other": (200, jpeg(40, 30)),
        },
    )
    users = [
        UserEvidence("ann", (subreddit("jazz", 1.0), image("good"), image("gone"))),
        UserEvidence("bob", (image("page"), image("missing"), image("good"))),
    ]
    evidence = evidence_table(users)
    index = index_of(place)
    assert extract_pictures(evidence, index, tmp_path / "small") == 1
    found = pictures_of(evidence, tmp_path / "small")
    assert {user: list(pictures) for user, pictures in found.items()} == {
        "ann": ["i:good"],
        "bob": ["i:good"],
    }
    assert Image.open(io.BytesIO(found["ann"]["i:good"])).size == (40, 30)


def test_extracting_again_reads_nothing_anew(tmp_path: Path) -> None:
    place = archive(tmp_path / "archive", {"good": (200, jpeg(40, 30))})
    evidence = evidence_table([UserEvidence("ann", (image("good"),))])
    index = index_of(place)
    extract_pictures(evidence, index, tmp_path / "small")
    (file,) = (tmp_path / "small").iterdir()
    file.write_bytes(b"kept")
    assert extract_pictures(evidence, index, tmp_path / "small") == 1
    assert file.read_bytes() == b"kept"


def test_no_folder_no_pictures(tmp_path: Path) -> None:
    evidence = evidence_table([UserEvidence("ann", (image("good"),))])
    assert pictures_of(evidence, tmp_path / "none") == {}


def test_pictures_shrink_and_lose_their_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    small = small_jpeg(jpeg(2000, 1000, exif.tobytes()))
    assert small is not None
    shrunk = Image.open(io.BytesIO(small))
    assert shrunk.size == (512, 256)
    assert not shrunk.getexif()
    assert b"taken at home" not in small
    assert small_jpeg(b"garbage") is None
