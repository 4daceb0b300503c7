import io
import tarfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed.archive import ArchiveReader, Place, archive_files, search
from embed.outcomes import Outcome
from embed.tars import DamagedShardError, drop_samples, tar_content, tar_places
from tests.embed.samples import as_img2dataset, jpeg, url_of, write_tar


def contents(files: list[Path], *images: int) -> tuple[dict[str, bytes], dict[str, str]]:
    located = search(files, pl.Series([url_of(image) for image in images]))
    reader = ArchiveReader()
    found = {
        row["url"]: reader.fetched(
            Place(file=Path(row["file"]), row_group=row["row_group"], row=row["row"]), 10**6
        ).content
        for row in located.places.iter_rows(named=True)
    }
    return found, located.damaged


def test_what_img2dataset_writes_is_read_by_url(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", as_img2dataset(range(5)))
    write_tar(tmp_path / "00001.tar", as_img2dataset(range(5, 9)))
    # Its tables say what became of each url; they are no shards of images.
    for shard, images in (("00000", range(5)), ("00001", range(5, 9))):
        columns = {
            "url": [url_of(image) for image in images],
            "key": [f"{image:09}" for image in images],
            "status": ["success"] * len(images),
        }
        pq.write_table(pa.table(columns), tmp_path / f"{shard}.parquet")
        (tmp_path / f"{shard}_stats.json").write_text("{}")
    files = archive_files(tmp_path)
    assert [file.name for file in files] == ["00000.tar", "00001.tar"]
    assert contents(files, 1, 7, 99) == ({url_of(1): jpeg(1), url_of(7): jpeg(7)}, {})


def test_urls_come_from_the_table_beside_a_shard_or_from_url_members(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"7.jpg": jpeg(7), "8.jpg": jpeg(8)})
    pq.write_table(pa.table({"key": ["7"], "url": [url_of(7)]}), tmp_path / "a.parquet")
    long = "deep/" * 40 + "9"  # longer than a plain header holds
    write_tar(tmp_path / "b.tar", {f"{long}.url": url_of(9).encode() + b"\n", f"{long}.PNG": b"9"})
    found, damaged = contents(archive_files(tmp_path), 7, 8, 9)
    assert (found, damaged) == ({url_of(7): jpeg(7), url_of(9): b"9"}, {})


def test_members_that_are_no_sample_are_passed_over(tmp_path: Path) -> None:
    shard = write_tar(
        tmp_path / "a.tar",
        {
            "x.json": b"not json",
            "x.jpg": jpeg(1),
            "y.json": b'["a list"]',
            "z.json": b'{"url": 5}',
            "z.txt": b"no picture",
            "half.json": b'{"url": "http://a.example/\\ud800"}',
            "half.jpg": jpeg(2),
            "huge.json": b" " * (1 << 20) + b"{}",
        },
    )
    assert pl.concat(tar_places(shard)).height == 0


@pytest.mark.parametrize("kept_share", [0.3, 0.6, 0.95])
def test_a_tar_that_is_cut_off_gives_what_is_whole_and_is_named(
    tmp_path: Path, kept_share: float
) -> None:
    shard = write_tar(tmp_path / "a.tar", as_img2dataset(range(20)))
    with tarfile.open(shard) as tar:
        end_of_json = [m.offset_data + m.size for m in tar if m.name.endswith("json")]
    size = end_of_json[-1]
    shard.write_bytes(shard.read_bytes()[: int(size * kept_share)])
    whole = sum(end <= shard.stat().st_size for end in end_of_json)
    found, damaged = contents([shard], *range(20))
    assert found == {url_of(image): jpeg(image) for image in range(whole)}
    assert list(damaged) == [str(shard)]


def test_a_tar_with_a_damaged_header_is_named_and_used_up_to_it(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", as_img2dataset(range(6)))
    with tarfile.open(shard) as tar:
        offset = tar.getmember(f"{3:09}.jpg").offset
    body = bytearray(shard.read_bytes())
    body[offset : offset + 512] = b"\xff" * 512
    shard.write_bytes(body)
    found, damaged = contents([shard], *range(6))
    assert found == {url_of(image): jpeg(image) for image in range(3)}
    assert damaged == {str(shard): f"damaged at byte {offset:,} of {len(body):,}"}


def test_a_member_of_negative_size_ends_its_tar(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", as_img2dataset(range(2)) | {"9.jpg": b""})
    with tarfile.open(shard) as tar:
        offset = tar.getmember("9.jpg").offset
    body = bytearray(shard.read_bytes())
    header = body[offset : offset + 512]
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    body[offset : offset + 512] = header
    shard.write_bytes(body)
    found, damaged = contents([shard], 0, 1)
    assert found == {url_of(image): jpeg(image) for image in range(2)}
    assert damaged == {str(shard): f"damaged at byte {offset:,} of {len(body):,}"}


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_a_file_that_is_no_tar_is_named_and_stops_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.tar").write_bytes(content)
    write_tar(tmp_path / "good.tar", as_img2dataset(range(2)))
    found, damaged = contents(archive_files(tmp_path), 0, 1)
    assert set(found) == {url_of(0), url_of(1)}
    assert [Path(file).name for file in damaged] == ["bad.tar"]


def test_a_cut_parquet_shard_is_named_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing more")
    write_tar(tmp_path / "good.tar", as_img2dataset(range(2)))
    found, damaged = contents(archive_files(tmp_path), 0)
    assert set(found) == {url_of(0)}
    assert [Path(file).name for file in damaged] == ["bad.parquet"]


def test_a_damaged_table_beside_a_shard_is_named_and_nothing_is_dropped_by_it(
    tmp_path: Path,
) -> None:
    own = as_img2dataset(range(1))
    shard = write_tar(tmp_path / "a.tar", own | {"7.jpg": jpeg(7)})
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing more")
    found, damaged = contents(archive_files(tmp_path), 0, 7)
    assert found == {url_of(0): jpeg(0)}
    assert "the table a.parquet beside it" in damaged[str(shard)]
    with pytest.raises(DamagedShardError, match=r"a\.parquet"):
        drop_samples(shard, {url_of(7)})
    pq.write_table(pa.table({"key": ["7"], "other": ["x"]}), tmp_path / "a.parquet")
    assert contents(archive_files(tmp_path), 0, 7) == ({url_of(0): jpeg(0)}, {})


def test_a_shard_that_changed_since_it_was_searched_is_a_damaged_archive(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", as_img2dataset(range(2)))
    (row,) = search([shard], pl.Series([url_of(1)])).places.to_dicts()
    shard.write_bytes(shard.read_bytes()[: row["row"] * 512 + 700])
    with pytest.raises(DamagedShardError):
        tar_content(shard, row["row"])
    place = Place(file=shard, row_group=0, row=row["row"])
    assert ArchiveReader().fetched(place, 10**6).outcome is Outcome.DAMAGED_ARCHIVE


def test_searching_a_large_tar_needs_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    shard = tmp_path / "a.tar"
    with tarfile.open(shard, "w") as tar:
        body = bytes(2_000_000)
        for image in range(40):
            for name, content in ((f"{image}.jpg", body), (f"{image}.url", url_of(image).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    tracemalloc.start()
    try:
        assert pl.concat(tar_places(shard)).height == 40
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_of_a_picture_beyond_the_limit_no_more_is_read(tmp_path: Path) -> None:
    import tracemalloc

    shard = write_tar(tmp_path / "a.tar", {"1.jpg": bytes(8_000_000), "2.jpg": bytes(1_000)})
    large, small = (Place(file=shard, row_group=0, row=row) for row in (0, 1 + 8_000_000 // 512))
    reader = ArchiveReader()
    tracemalloc.start()
    try:
        assert reader.fetched(large, 1_000).outcome is Outcome.TOO_LARGE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert reader.fetched(small, 1_000).outcome is Outcome.OK
    assert reader.answer(large) == (200, bytes(8_000_000))


def test_samples_are_dropped_with_all_their_members(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", as_img2dataset(range(4)) | {"7.jpg": jpeg(7)})
    pq.write_table(pa.table({"key": ["7"], "url": [url_of(7)]}), tmp_path / "a.parquet")
    assert drop_samples(shard, {url_of(1), url_of(7), url_of(99)}) == 2
    with tarfile.open(shard) as tar:
        assert tar.getnames() == list(as_img2dataset(range(1)) | as_img2dataset(range(2, 4)))
    expected = {url_of(image): jpeg(image) for image in (0, 2, 3)}
    assert contents([shard], 0, 1, 2, 3, 7) == (expected, {})
    assert drop_samples(shard, {url_of(1)}) == 0
    shard.write_bytes(shard.read_bytes()[:5_000])
    with pytest.raises(DamagedShardError):
        drop_samples(shard, {url_of(0)})
