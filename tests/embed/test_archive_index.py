from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

import embed.archive_index
from embed.archive import ArchiveReader, archive_files, locate
from embed.archive_index import ArchiveIndex
from tests.embed.samples import jpeg, url_of, write_archive, write_tar


def index_of(archive: Path, folder: Path) -> ArchiveIndex:
    folder.mkdir()
    return ArchiveIndex(archive_files(archive), folder)


def test_it_finds_what_a_search_of_all_shards_finds(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_archive(archive / "a", {url_of(i): (404, b"") for i in range(0, 40, 2)}, rows_a_group=3)
    write_archive(archive / "b", {url_of(i): (200, b"b") for i in range(30)}, rows_a_group=7)
    (archive / "c.parquet").write_bytes(b"PAR1 cut off")
    wanted = pl.Series([url_of(i) for i in range(60)])
    expected = {row[0]: row[1:] for row in locate(archive_files(archive), wanted).iter_rows()}
    index = index_of(archive, tmp_path / "index")
    found = {url: index.find(url) for url in wanted}
    assert {
        url: (str(place.file), place.row_group, place.row) for url, place in found.items() if place
    } == expected
    assert {len(expected), sum(place is None for place in found.values())} == {35, 25}


def test_a_tar_is_searched_too(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    write_tar(archive / "0.tar", {"0.jpg": jpeg(0), "0.url": url_of(0).encode()})
    place = index_of(archive, tmp_path / "index").find(url_of(0))
    assert place is not None
    assert ArchiveReader().answer(place) == (200, jpeg(0))


def test_a_shard_that_was_written_anew_is_looked_through_again(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    answers = {url_of(i): (200, b"%d" % i) for i in range(4)}
    write_archive(archive, answers, shards=1)
    (file,) = archive_files(archive)
    index = index_of(archive, tmp_path / "index")
    write_archive(tmp_path / "next", {u: a for u, a in answers.items() if u != url_of(0)}, shards=1)
    (made,) = archive_files(tmp_path / "next")
    made.replace(file)
    os.utime(file, ns=(1, 1))  # whatever the clock of the file system says
    assert index.find(url_of(0)) is None
    place = index.find(url_of(3))
    assert place is not None and ArchiveReader().answer(place) == (200, b"3")
    file.unlink()
    assert index.find(url_of(3)) is None


def test_urls_of_one_key_are_not_mistaken_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = embed.archive_index._entries

    def same(urls: pl.Series) -> object:
        entries = real(urls)
        entries["key"] = 5
        return entries

    monkeypatch.setattr(embed.archive_index, "_entries", same)
    archive = tmp_path / "archive"
    write_archive(archive, {url_of(1): (200, b"1")})
    index = index_of(archive, tmp_path / "index")
    assert index.find(url_of(1)) is not None
    assert index.find(url_of(2)) is None
