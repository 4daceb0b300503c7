from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import embed.archive
from embed.archive import ArchiveReader, Place, archive_files, locate
from embed.outcomes import Outcome
from embed.tars import DamagedShardError
from pipelines.contract import ContractError, MissingInputError
from tests.embed.samples import url_of, write_archive

ANSWERS = {url_of(i): (200, b"body %d" % i) for i in range(20)}


def test_each_url_is_found_where_its_content_lies(tmp_path: Path) -> None:
    write_archive(tmp_path, ANSWERS, rows_a_group=3)
    wanted = pl.Series([url_of(7), url_of(2), url_of(99), url_of(19)])
    places = locate(archive_files(tmp_path), wanted)
    reader = ArchiveReader()
    found = {
        row["url"]: reader.answer(
            Place(file=Path(row["file"]), row_group=row["row_group"], row=row["row"])
        )
        for row in places.iter_rows(named=True)
    }
    assert found == {url_of(i): ANSWERS[url_of(i)] for i in (2, 7, 19)}


def test_a_url_archived_twice_is_taken_where_it_succeeded(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", {url_of(1): (404, b""), url_of(2): (503, b"")}, shards=1)
    write_archive(tmp_path / "b", {url_of(1): (200, b"yes"), url_of(2): (404, b"")}, shards=1)
    places = locate(archive_files(tmp_path), pl.Series([url_of(1), url_of(2)])).sort("url")
    assert [Path(file).parent.name for file in places["file"]] == ["b", "a"]


def test_an_archived_answer_may_lack_its_status_or_its_body(tmp_path: Path) -> None:
    columns = {
        "url": pa.array([url_of(1), url_of(2)], pa.string()),
        "http_status": pa.array([None, 200], pa.int16()),
        "content": pa.array([None, None], pa.binary()),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    places = locate(archive_files(tmp_path), pl.Series([url_of(1), url_of(2)])).sort("url")
    reader, file = ArchiveReader(), tmp_path / "a.parquet"
    outcomes = [
        reader.fetched(Place(file=file, row_group=0, row=row), 1000).outcome
        for row in places["row"]
    ]
    assert outcomes == [Outcome.CLIENT_ERROR, Outcome.EMPTY]


def test_a_large_row_group_is_held_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed.archive, "HELD_BYTES", 10_000_000)
    size, count = 10_000, 8_000
    random = np.random.default_rng(0)
    bodies = [random.bytes(size) for _ in range(count)]
    write_archive(tmp_path, {url_of(i): (200, bodies[i]) for i in range(count)}, 10**6, shards=1)
    (file,) = archive_files(tmp_path)
    before, most = pa.total_allocated_bytes(), 0
    reader = ArchiveReader()
    for row in (3, 3, 70, 130, 7_999, 0, 64, 63):
        assert reader.answer(Place(file=file, row_group=0, row=row)) == (200, bodies[row])
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < count * size / 2
    with pytest.raises(DamagedShardError):
        reader.answer(Place(file=file, row_group=0, row=count))


def test_an_absent_or_empty_folder_is_named_with_the_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(MissingInputError, match="leave archive empty and set fetch"):
            archive_files(folder)


def test_a_shard_with_other_columns_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["a"], "content": ["text"]}), tmp_path / "bad.parquet")
    with pytest.raises(ContractError, match=r"bad\.parquet.*http_status"):
        archive_files(tmp_path)
