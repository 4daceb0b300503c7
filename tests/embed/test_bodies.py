import io
import threading
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from embed.answers import Fetched
from embed.archive import archive_files, search
from embed.bodies import HELD_SCHEMA, Sources, Spool, bodies, keep, kept_files, validators
from embed.fetch import FetchLimits
from embed.hosts import HostLimits, Hosts
from embed.outcomes import Outcome
from embed.tables import KEPT_ANSWERS
from tests.embed.loopback import Loopback, reply, serve

UNPLACED = {"file": pl.String(), "row_group": pl.Int32(), "row": pl.Int32(), **HELD_SCHEMA}


def planned(urls: list[str], kept: list[Path]) -> pl.DataFrame:
    held = search(kept, pl.Series(urls)).places
    held = held.rename({name: f"held_{name}" for name in ("file", "row_group", "row")})
    nowhere = [pl.lit(None, dtype).alias(name) for name, dtype in UNPLACED.items()][:3]
    return pl.DataFrame({"url": urls}).with_columns(*nowhere).join(held, on="url", how="left")


def sources(server: Loopback, folder: Path, revalidate: bool = False) -> Sources:
    limits = FetchLimits(attempts=1, allowed_private=frozenset({server.host}))
    hosts = Hosts(others=HostLimits(at_once=8, per_s=1_000))
    return Sources(fetch=True, limits=limits, hosts=hosts, keep=str(folder), revalidate=revalidate)


def all_of(urls: list[str], given: Sources) -> list[Fetched]:
    rows = planned(urls, kept_files(Path(given.keep)))
    with bodies(rows, given) as answer:
        return [answer(row) for row in rows.iter_rows(named=True)]


def test_a_spool_gives_back_what_was_put_by_any_thread(tmp_path: Path) -> None:
    spool = Spool(io.BytesIO())
    put = {}

    def work(name: int) -> None:
        for index in range(50):
            fetched = Fetched(outcome=Outcome.OK, content=bytes([name]) * index)
            put[name, index] = spool.put(fetched), fetched

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(put) == 200
    assert all(spool.get(spooled) == fetched for spooled, fetched in put.values())


def test_kept_answers_are_taken_and_what_may_pass_is_asked_again(tmp_path: Path) -> None:
    with serve() as server:
        server.answers |= {"/a": reply(content=b"A"), "/b": reply(404), "/c": reply(500)}
        server.answers["/d"] = reply(content=b"<html>", headers={"Content-Type": "text/html"})
        urls = [f"http://{server.host}/{name}" for name in "abcd"]
        first = all_of(urls, sources(server, tmp_path))
        server.seen.clear()
        second = all_of(urls, sources(server, tmp_path))
    assert [path for path, _ in server.seen] == ["/c"]
    expected = [Outcome.OK, Outcome.NOT_FOUND, Outcome.SERVER_ERROR, Outcome.NOT_IMAGE]
    assert [fetched.outcome for fetched in first] == expected
    assert [fetched.outcome for fetched in second] == expected
    assert [fetched.content for fetched in second] == [b"A", b"", b"", b""]


def test_a_changed_body_is_downloaded_and_the_newest_is_taken(tmp_path: Path) -> None:
    with serve() as server:
        for name in "ab":
            server.answers[f"/{name}"] = reply(content=b"old", headers={"ETag": '"1"'})
        server.answers["/c"] = reply(content=b"undated")
        urls = [f"http://{server.host}/{name}" for name in "abc"]
        all_of(urls, sources(server, tmp_path))
        server.answers["/a"] = reply(304)
        server.answers["/b"] = reply(content=b"new", headers={"ETag": '"2"'})
        server.seen.clear()
        found = all_of(urls, sources(server, tmp_path, revalidate=True))
        assert [fetched.content for fetched in found] == [b"old", b"new", b"undated"]
        assert {path: headers["If-None-Match"] for path, headers in server.seen} == {
            "/a": '"1"',
            "/b": '"1"',
        }
        server.seen.clear()
        found = all_of(urls, sources(server, tmp_path))
        assert [fetched.content for fetched in found] == [b"old", b"new", b"undated"]
        assert server.seen == []
    assert len(kept_files(tmp_path)) == 2
    rows = planned(urls, kept_files(tmp_path))
    assert {url[-1]: known.etag for url, known in validators(rows).items()} == {
        "a": '"1"',
        "b": '"2"',
    }


def test_what_is_kept_is_an_archive_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(io.BytesIO())
    fetched = Fetched(outcome=Outcome.OK, content=b"A", http_status=200)
    answers = {f"http://a.example/{i}": spool.put(fetched) for i in range(1_500)}
    keep(tmp_path, answers, spool)
    (file,) = archive_files(tmp_path)
    assert KEPT_ANSWERS.check(pq.read_table(file)).num_rows == 1_500
    assert pq.ParquetFile(file).num_row_groups == 3

    def full(self: Spool, spooled: object) -> Fetched:
        raise OSError("disk full")

    monkeypatch.setattr(Spool, "get", full)
    with pytest.raises(OSError, match="disk full"):
        keep(tmp_path, answers, spool)
    assert archive_files(tmp_path) == [file]


def test_without_leave_to_fetch_what_lies_nowhere_is_not_archived(tmp_path: Path) -> None:
    given = Sources(fetch=False, limits=FetchLimits(), hosts=Hosts())
    assert all_of(["http://a.example/b"], given) == [Fetched(outcome=Outcome.NOT_ARCHIVED)]
