from __future__ import annotations

import bz2
import errno
import json
import lzma
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines.config import BeamResources, IngestConfig
from pipelines.containers import CorruptDumpError, LineBatch, read_batches
from pipelines.contract import (
    ConfigError,
    Counts,
    FileProgress,
    MissingInputError,
    Run,
    Table,
)
from pipelines.ingest import BATCH_BYTES, TABLES, ingest, media_rows
from pipelines.native.parser import LineParser
from pipelines.pseudonym import Pseudonyms
from pipelines.rows import parse_batch, total, with_cut_lines
from pipelines.tables import COMMENTS, MEDIA, REJECTS, SUBMISSIONS
from pipelines.urls import image_id
from tests.pipelines.reference import ingest_all
from tests.pipelines.test_containers import zst_blocks
from tests.pipelines.test_records import COMMENT, SUBMISSION, lines

KEY = b"a key for the tests alone"
ONE = BeamResources()

pytestmark = pytest.mark.engine


def run_for(tmp_path: Path, month: str = "2019-10") -> Run:
    return Run(root=tmp_path, month=month, staging=tmp_path / "staging")


def config_for(tmp_path: Path, *inputs: Path) -> IngestConfig:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    return IngestConfig(inputs=tuple(str(path) for path in inputs), key_file=str(key))


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pack = {".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path.write_bytes(pack.get(path.suffix, bytes)(data))
    return path


def staged(table: Table, run: Run) -> pl.DataFrame:
    return pl.read_parquet(run.staged(table) / "*.parquet")


def files(run: Run) -> dict[str, bytes]:
    assert run.staging is not None
    found = sorted(run.staging.rglob("*"))
    return {str(f.relative_to(run.staging)): f.read_bytes() for f in found if f.is_file()}


def rows(table: Table, run: Run, key: str) -> dict[int, dict[str, Any]]:
    return {row[key]: row for row in staged(table, run).to_dicts()}


def read_lines(paths: Iterable[Path]) -> list[tuple[str, list[bytes]]]:
    """Lines of the dumps of a month, by the simplest means there are, in the step's order."""
    found = []
    for path in paths:
        data = path.read_bytes()
        if path.suffix == ".zst":
            decoder = zstandard.ZstdDecompressor(max_window_size=2**31)
            data = decoder.decompressobj().decompress(data)
        kind = "RS" if path.name.startswith(("RS", "test_s")) else "RC"
        found.append((kind, path.name, data.split(b"\n")))
    return [(kind, found_lines) for kind, _, found_lines in sorted(found, key=lambda f: f[:2])]


@pytest.mark.parametrize("month", ["2005-12", "2006-01", "2019-10", "undated"])
def test_real_dumps_give_what_a_plain_parser_gives(
    month: str, shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "reddit"
    run = run_for(tmp_path, month)
    counts = ingest(config_for(tmp_path, folder), ONE, run)

    dumps = [path for path in folder.rglob("*") if path.is_file()]
    mine = [p for p in dumps if (month in p.name if month != "undated" else "_20" not in p.name)]
    expected = ingest_all(read_lines(mine), KEY)
    assert counts.rows_in == expected.rows_in
    assert dict(counts.rejected) == dict(expected.rejected)
    assert dict(counts.dropped) == dict(expected.dropped)
    assert counts.rows_out == len(expected.submissions) + len(expected.comments)
    assert rows(SUBMISSIONS, run, "submission_id") == expected.submissions
    assert rows(COMMENTS, run, "comment_id") == expected.comments
    assert staged(REJECTS, run)["reason"].value_counts(name="n").sort("reason").rows() == sorted(
        expected.rejected.items()
    )


def test_real_image_posts_show_what_their_fields_say(shared_data: Path, tmp_path: Path) -> None:
    """A simpler look at the same objects: uploads, imgur files and valid gallery items."""
    source = shared_data / "reddit" / "api" / "RS_objects.ndjson"
    run = run_for(tmp_path, "undated")
    ingest(config_for(tmp_path, source), ONE, run)
    found: dict[int, list[str]] = {}
    for row in staged(MEDIA, run).sort("submission_id", "position").to_dicts():
        found.setdefault(row["submission_id"], []).append(row["url"])
        assert row["image_id"] == image_id(row["url"])
    kept = set(staged(SUBMISSIONS, run)["submission_id"])
    checked = {"uploads": 0, "galleries": 0}
    for line in source.read_bytes().splitlines():
        post = json.loads(line)
        number = int(post["id"], 36)
        if number not in kept or post.get("crosspost_parent_list"):
            continue
        url = post["url"].split("?")[0]
        if url.startswith("https://i.redd.it/") and url.endswith((".jpg", ".png")):
            assert found[number] == [url]
            checked["uploads"] += 1
        elif post.get("is_gallery") and post["gallery_data"]:
            items = [post["media_metadata"][i["media_id"]] for i in post["gallery_data"]["items"]]
            valid = [i["id"] for i in items if i["status"] == "valid"]
            names = [u.removeprefix("https://i.redd.it/").split(".")[0] for u in found[number]]
            assert names == valid
            checked["galleries"] += 1
    assert checked["uploads"] > 90 and checked["galleries"] > 10


def mixed_month(tmp_path: Path) -> list[Path]:
    """A month in four containers, with duplicates across them, rejects, blanks and drops."""
    comments = [COMMENT | {"id": f"c{n}", "body": f"text number {n}"} for n in range(40)]
    again = [c | {"score": 9, "retrieved_on": 1_590_000_000} for c in comments[:10]]
    gone = COMMENT | {"id": "c39", "author": "[deleted]", "retrieved_on": 1_590_000_000}
    posts = [SUBMISSION | {"id": f"s{n}", "title": f"title {n}"} for n in range(20)]
    gallery = {
        "id": "s99",
        "url": "https://www.reddit.com/gallery/s99",
        "is_gallery": True,
        "gallery_data": {"items": [{"media_id": "bbbbb"}, {"media_id": "aaaaa"}]},
        "media_metadata": {
            name: {"status": "valid", "e": "Image", "m": "image/png"} for name in ("aaaaa", "bbbbb")
        },
    }
    folder = tmp_path / "dumps"
    return [
        put(folder / "RC_2019-10.zst", lines(*comments, b"{", b"")),
        put(folder / "RC_2019-10.bz2", lines(*again, gone, b"\xff")),
        put(folder / "RS_2019-10.xz", lines(*posts, SUBMISSION | {"id": "s98", "over_18": True})),
        put(folder / "RS_2019-10.ndjson", lines(posts[3], SUBMISSION | gallery, b"[]")[:-1]),
    ]


def test_a_month_in_several_containers_is_counted_line_by_line(tmp_path: Path) -> None:
    mixed_month(tmp_path)
    run = run_for(tmp_path)
    counts = ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run)
    assert counts == Counts(
        rows_in=41 + 12 + 21 + 3,
        rows_out=39 + 21,
        rejected={"bad_json": 1, "bad_utf8": 1, "not_object": 1},
        dropped={"deleted_author": 1, "duplicate_id": 12, "over_18": 1},
        written={"submissions": 21, "comments": 39, "media": 22, "rejects": 3},
        metrics=counts.metrics,
    )
    assert counts.metrics["dumps"] == 4 and counts.metrics["blank_lines"] == 1
    comments = staged(COMMENTS, run)
    assert comments["score"].to_list() == [9] * 10 + [3] * 29
    assert comments["comment_id"].is_sorted() and "c39" not in comments["body"].to_list()
    assert staged(REJECTS, run).to_dicts() == [
        {"dump": "RC_2019-10.bz2", "line_number": 12, "reason": "bad_utf8", "line_bytes": 1},
        {"dump": "RC_2019-10.zst", "line_number": 41, "reason": "bad_json", "line_bytes": 1},
        {"dump": "RS_2019-10.ndjson", "line_number": 3, "reason": "not_object", "line_bytes": 2},
    ]
    gallery = staged(MEDIA, run).filter(pl.col("source") == "gallery")
    assert gallery.select("position", "url").rows() == [
        (0, "https://i.redd.it/bbbbb.png"),
        (1, "https://i.redd.it/aaaaa.png"),
    ]


@pytest.mark.slow
def test_files_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    paths = mixed_month(tmp_path)
    config = config_for(tmp_path, tmp_path / "dumps")
    few = replace(config, inputs=(str(paths[0]),))
    for chosen in (config, few):
        alone, shared = run_for(tmp_path / "alone"), run_for(tmp_path / "shared")
        counts = [ingest(chosen, BeamResources(workers=n), r) for n, r in ((1, alone), (2, shared))]
        assert counts[0] == counts[1]
        assert files(alone) == files(shared)


def test_many_files_hold_what_one_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed_month(tmp_path)
    config = config_for(tmp_path, tmp_path / "dumps")
    one, many = run_for(tmp_path / "one"), run_for(tmp_path / "many")
    whole = ingest(config, ONE, one)
    for name, value in (("SPILL_BYTES", 0), ("FILE_BYTES", 300), ("ROW_GROUP_BYTES", 100)):
        monkeypatch.setattr(f"pipelines.spill.{name}", value)
    monkeypatch.setattr("pipelines.spill._BUCKET_BITS", 1)
    assert ingest(config, ONE, many) == whole
    assert len(list(many.staged(COMMENTS).iterdir())) > 2
    for table in TABLES:
        keys = list(table.key)
        assert staged(table, many).sort(keys).equals(staged(table, one).sort(keys))


def test_files_tell_their_order_and_the_range_of_their_ids(tmp_path: Path) -> None:
    mixed_month(tmp_path)
    run = run_for(tmp_path)
    ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run)
    for table in (SUBMISSIONS, COMMENTS, MEDIA):
        (file,) = run.staged(table).iterdir()
        group = pq.read_metadata(file).row_group(0)
        order = [column.column_index for column in group.sorting_columns]
        assert order == [table.schema.get_field_index(name) for name in table.key]
        ids = pl.read_parquet(file)[table.key[0]]
        told = group.column(table.schema.get_field_index(table.key[0])).statistics
        assert (told.min, told.max) == (ids.min(), ids.max())
        assert ids.is_sorted()


def test_the_names_of_no_author_are_in_the_files(tmp_path: Path) -> None:
    author = "Very_Private-Name"
    comment = COMMENT | {
        "author": author,
        "body": f"I, {author.upper()}, and u/{author}, /u/{author}",
    }
    post = SUBMISSION | {"author": author, "title": f"by @{author}", "selftext": f"u/{author}'s"}
    urls = (f"https://reddit.com/u/{author}/x", f"https://{author.lower()}.example.org/?a=1&amp;b")
    posts = [post | {"id": f"s{n}", "url": url} for n, url in enumerate(urls)]
    put(tmp_path / "dumps" / "RC_2019-10", lines(comment))
    put(tmp_path / "dumps" / "RS_2019-10", lines(*posts))
    run = run_for(tmp_path)
    ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run)
    for table in TABLES:
        assert author.lower() not in str(staged(table, run).to_dicts()).lower()
    assert staged(SUBMISSIONS, run)["url"].to_list() == [
        "https://reddit.com/u/[user]/x",
        "https://u/[user].example.org/?a=1&b",
    ]


def test_a_cut_dump_fails_the_month_with_its_place(tmp_path: Path) -> None:
    paths = mixed_month(tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-9])
    with pytest.raises(CorruptDumpError, match=r"RC_2019-10\.zst.*middle of a frame at byte \d+"):
        ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run_for(tmp_path))


def test_all_dumps_that_are_cut_are_named_at_once(tmp_path: Path) -> None:
    for path in (paths := mixed_month(tmp_path)[:3]):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptDumpError) as caught:
        ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run_for(tmp_path))
    assert all(str(path) in str(caught.value) for path in paths)


def test_what_is_whole_of_a_cut_dump_can_be_kept(tmp_path: Path) -> None:
    bodies = lines(*(COMMENT | {"id": f"c{n}", "body": "x" * 50} for n in range(1000)))
    cut = zstandard.compress(bodies[: len(bodies) // 2]) + zstandard.compress(bodies)[:20]
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "RC_2019-10.zst").write_bytes(cut)
    run = run_for(tmp_path)
    config = replace(config_for(tmp_path, tmp_path / "dumps"), on_corrupt="keep")
    counts = ingest(config, ONE, run)
    assert counts.metrics["corrupt_dumps"] == 1
    assert counts.rows_out == bodies[: len(bodies) // 2].count(b"\n")
    assert dict(counts.rejected) == {"cut_line": 1}


def damaged_months(shared_data: Path) -> dict[str, bytes]:
    """By suffix, real comments in frames that lines run across, three of which are damaged."""
    months = shared_data / "reddit" / "months"
    path = months / "RC_2006-01.zst"
    decoder = zstandard.ZstdDecompressor(max_window_size=2**31)
    text = decoder.decompressobj().decompress(path.read_bytes())
    ends = [*range(0, len(text), 100_000), len(text)]
    texts = [text[a:b] for a, b in pairwise(ends)]
    pack = zstandard.ZstdCompressor(write_checksum=True).compress
    found = {}
    for name, packed in (
        ("zst", [pack(one) for one in texts]),
        ("bz2", [bz2.compress(one) for one in texts]),
        (
            "zst_blocks",
            [zst_blocks(b"\n".join(text.split(b"\n")[n::9]), 1 << 20) for n in range(9)],
        ),
    ):
        packed[1] = bytes(len(packed[1]))
        packed[4] = packed[4][:20] + bytes([packed[4][20] ^ 0xFF]) + packed[4][21:]
        packed[-1] = packed[-1][: len(packed[-1]) // 2]
        found[name] = b"".join(packed)
    return found


@pytest.mark.parametrize("suffix", ["zst", "bz2", "zst_blocks"])
def test_what_is_whole_around_damage_is_kept_and_the_rest_told(
    suffix: str, shared_data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dumps" / f"RC_2006-01.{suffix}"
    path.parent.mkdir()
    path.write_bytes(damaged_months(shared_data)[suffix])
    config = replace(config_for(tmp_path, path), on_corrupt="keep")
    run = run_for(tmp_path, "2006-01")
    counts = ingest(config, ONE, run)

    batches: list[LineBatch] = []
    with pytest.raises(CorruptDumpError) as caught:
        batches.extend(read_batches(path, BATCH_BYTES, past_damage=True))
    lines = [line for batch in batches for line in batch.data.split(b"\n")]
    expected = ingest_all([("RC", lines)], KEY)
    assert counts.rows_in == expected.rows_in > 1_000
    assert dict(counts.dropped) == dict(expected.dropped)
    assert rows(COMMENTS, run, "comment_id") == expected.comments
    whole = ingest_all(read_lines([shared_data / "reddit" / "months" / "RC_2006-01.zst"]), KEY)
    assert expected.comments.items() <= whole.comments.items()

    cut = [number for batch in batches for number in batch.cut_lines]
    rejects = staged(REJECTS, run).select("line_number", "reason").rows()
    assert set(rejects) <= {(number, "cut_line") for number in cut}
    assert len(rejects) == expected.rejected.total()
    assert counts.notes == {str(path): caught.value.note}
    assert len(caught.value.damages) == 3 and counts.metrics["corrupt_dumps"] == 1
    if suffix != "zst_blocks":
        assert len(rejects) >= 3

    pseudonyms = Pseudonyms(KEY)
    fast = LineParser("RC", config, pseudonyms)
    for batch in batches:
        dump, first = (0, path.name), batch.first_line
        slow = parse_batch("RC", batch.data, first, dump=dump, config=config, pseudonyms=pseudonyms)
        found = [
            with_cut_lines(parsed, batch.cut_lines)
            for parsed in (slow, fast.parse(batch.view, first, dump))
        ]
        assert found[0].rejects.equals(found[1].rejects)
        assert total([found[0].tally]) == total([found[1].tally])

    failing = replace(config, on_corrupt="fail")
    with pytest.raises(CorruptDumpError):
        ingest(failing, ONE, run_for(tmp_path / "failing", "2006-01"))


def test_a_month_of_nothing_gives_empty_tables(tmp_path: Path) -> None:
    put(tmp_path / "dumps" / "RC_2019-10.zst", b"\n")
    run = run_for(tmp_path)
    counts = ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run)
    assert (counts.rows_in, counts.metrics["blank_lines"]) == (0, 1)
    for table in TABLES:
        assert staged(table, run).is_empty()


def test_a_month_without_dumps_says_which_there_are(tmp_path: Path) -> None:
    mixed_month(tmp_path)
    config = config_for(tmp_path, tmp_path / "dumps")
    with pytest.raises(MissingInputError, match=r"no dumps of month '2019-11'.*there are 2019-10"):
        ingest(config, ONE, run_for(tmp_path, "2019-11"))
    with pytest.raises(ConfigError, match=r"run\.month=None"):
        ingest(config, ONE, Run(root=tmp_path, staging=tmp_path / "staging"))


def test_a_missing_key_is_told_before_anything_is_read(tmp_path: Path) -> None:
    mixed_month(tmp_path)
    config = replace(config_for(tmp_path, tmp_path / "dumps"), key_file=str(tmp_path / "no"))
    with pytest.raises(MissingInputError, match="key file"):
        ingest(config, ONE, run_for(tmp_path))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_errors_of_the_system_keep_their_number(workers: int, tmp_path: Path) -> None:
    mixed_month(tmp_path)
    run = run_for(tmp_path)
    (run.staged(COMMENTS) / "part-00000.parquet").mkdir()
    with pytest.raises(OSError, match="in a Beam worker") as caught:
        ingest(config_for(tmp_path, tmp_path / "dumps"), BeamResources(workers=workers), run)
    assert caught.value.errno == errno.EISDIR


def test_progress_reaches_the_size_of_the_dumps(tmp_path: Path) -> None:
    paths = mixed_month(tmp_path)
    told: list[tuple[float, float | None, str]] = []
    run = replace(run_for(tmp_path), on_progress=lambda *report: told.append(report))
    ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run)
    size = sum(path.stat().st_size for path in paths)
    assert told[-1] == (size, size, "bytes")
    assert all(done <= size for done, _, _ in told)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_dump_is_reported_to_its_end(workers: int, tmp_path: Path) -> None:
    put(tmp_path / "dumps" / "RC_2019-10.zst", lines(COMMENT) * 5)
    put(tmp_path / "dumps" / "RS_2019-10.zst", lines(SUBMISSION) * 2 + b"\n{")
    told: list[FileProgress] = []
    run = replace(run_for(tmp_path), on_file=told.append)
    ingest(config_for(tmp_path, tmp_path / "dumps"), BeamResources(workers=workers), run)
    finished = [file for file in told if file.is_finished]
    assert [(f.label, f.num_lines) for f in sorted(finished, key=lambda f: f.label)] == [
        ("RC_2019-10.zst", 5),
        ("RS_2019-10.zst", 4),
    ]
    for file in finished:
        size = (tmp_path / "dumps" / file.label).stat().st_size
        assert (file.done_bytes, file.total_bytes) == (size, size)
        assert file.bytes_per_s > 0


def test_only_the_tables_are_left_in_the_staging_folder(tmp_path: Path) -> None:
    mixed_month(tmp_path)
    run = run_for(tmp_path)
    ingest(config_for(tmp_path, tmp_path / "dumps"), ONE, run)
    assert {name.partition("/")[0] for name in files(run)} == {table.name for table in TABLES}
    assert all(name.endswith(".parquet") for name in files(run))


def test_images_are_numbered_within_their_submission() -> None:
    media = [[{"url": "a", "source": "gallery"}, {"url": "b", "source": "gallery"}], []]
    media += [[{"url": "a", "source": "direct"}]]
    shared = {"user_id": ["u"] * 3, "subreddit": ["s"] * 3, "created_utc": [1, 2, 3]}
    found = media_rows(pl.DataFrame({"id": [7, 8, 9], "media": media, **shared}))
    assert found.select("submission_id", "position", "image_id").rows() == [
        (7, 0, image_id("a")),
        (7, 1, image_id("b")),
        (9, 0, image_id("a")),
    ]
    assert media_rows(pl.DataFrame({"id": [7, 8, 9], "media": media, **shared})[1:2]).is_empty()
