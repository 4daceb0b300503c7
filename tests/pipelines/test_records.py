from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from pipelines.records import Reason, Records, parse_comments, parse_submissions

COMMENT: dict[str, Any] = {
    "id": "c1",
    "created_utc": 1_570_000_000,
    "author": "a",
    "subreddit": "Pics",
    "body": "hello",
    "link_id": "t3_zz",
    "score": 3,
    "edited": False,
}
SUBMISSION: dict[str, Any] = {
    "id": "s1",
    "created_utc": 1_570_000_000,
    "author": "a",
    "subreddit": "Pics",
    "title": "hello",
    "selftext": "",
    "url": "https://i.redd.it/abcde.jpg",
    "score": 3,
    "num_comments": 4,
    "over_18": False,
    "edited": False,
}


def lines(*objects: Any) -> bytes:
    return b"".join((o if isinstance(o, bytes) else orjson.dumps(o)) + b"\n" for o in objects)


def row(records: Records) -> dict[str, Any]:
    (found,) = records.frame.to_dicts()
    return found


def test_a_comment_becomes_its_columns() -> None:
    assert row(parse_comments(lines(COMMENT), first_line=7)) == {
        "id": 433,
        "created_utc": 1_570_000_000,
        "retrieved_on": None,
        "retrieved_utc": None,
        "retrieved_2nd_on": None,
        "edited": None,
        "author": "a",
        "subreddit": "Pics",
        "score": 3,
        "body": "hello",
        "link_id": 1295,
        "was_deleted_later": False,
        "line_number": 7,
    }


def test_a_submission_becomes_its_columns_and_what_it_shows() -> None:
    meta = {"was_deleted_later": True, "retrieved_2nd_on": 1_590_000_000}
    later = {"retrieved_on": 1_580_000_000, "_meta": meta, "removed_by_category": "moderator"}
    records = parse_submissions(lines(SUBMISSION | later | {"crosspost_parent": "t3_zz"}))
    assert row(records) == {
        "id": 1009,
        "created_utc": 1_570_000_000,
        "retrieved_on": 1_580_000_000,
        "retrieved_utc": None,
        "retrieved_2nd_on": 1_590_000_000,
        "edited": None,
        "author": "a",
        "subreddit": "Pics",
        "score": 3,
        "title": "hello",
        "selftext": "",
        "url": "https://i.redd.it/abcde.jpg",
        "num_comments": 4,
        "over_18": False,
        "removed_by_category": "moderator",
        "crosspost_parent": 1295,
        "was_deleted_later": True,
        "line_number": 1,
    }
    assert records.shown == [{"url": "https://i.redd.it/abcde.jpg", "selftext": ""}]


@pytest.mark.parametrize(
    "absent",
    ["author", "subreddit", "score", "edited", "selftext", "url", "num_comments", "over_18"],
)
def test_what_eras_leave_out_may_be_absent_or_null(absent: str) -> None:
    without = {key: value for key, value in SUBMISSION.items() if key != absent}
    missing, null = (
        parse_submissions(lines(without)),
        parse_submissions(lines(without | {absent: None})),
    )
    assert not missing.rejects and not null.rejects
    assert row(missing) == row(null)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", Reason.BAD_JSON),
        (b'{"id": "a",}', Reason.BAD_JSON),
        (b'{"id": NaN}', Reason.BAD_JSON),
        (b"{} {}", Reason.BAD_JSON),
        (b"[" * 100_000, Reason.BAD_JSON),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, Reason.BAD_JSON),
        (b"\0\0\0", Reason.BAD_JSON),
        (b'{"id": "\xff"}', Reason.BAD_UTF8),
        (b'{"id": "\xed\xa0\x80"}', Reason.BAD_UTF8),
        (b"\xff\x00", Reason.BAD_UTF8),
        (b"null", Reason.NOT_OBJECT),
        (b"[]", Reason.NOT_OBJECT),
        (b'"text"', Reason.NOT_OBJECT),
        (b"{}", Reason.BAD_ID),
        (orjson.dumps(COMMENT | {"id": 5}), Reason.BAD_ID),
        (orjson.dumps(COMMENT | {"created_utc": None}), Reason.BAD_TIME),
        (orjson.dumps(COMMENT | {"retrieved_on": "yesterday"}), Reason.BAD_TIME),
        (orjson.dumps(COMMENT | {"edited": []}), Reason.BAD_TIME),
        (orjson.dumps(COMMENT | {"_meta": {"retrieved_2nd_on": "x"}}), Reason.BAD_TIME),
        (orjson.dumps(COMMENT | {"author": "<USERNAME>"}), Reason.BAD_AUTHOR),
        (orjson.dumps(COMMENT | {"subreddit": 7}), Reason.BAD_SUBREDDIT),
        (
            orjson.dumps(COMMENT)[:-1] + b',"score":123456789012345678901234567890}',
            Reason.BAD_NUMBER,
        ),
        (orjson.dumps(COMMENT | {"body": None}), Reason.BAD_TEXT),
        (orjson.dumps(COMMENT | {"link_id": "zz"}), Reason.BAD_LINK),
    ],
)
def test_rejects_keep_their_line_and_reason(line: bytes, reason: Reason) -> None:
    good = lines(COMMENT)
    records = parse_comments(good + line + b"\n" + good, first_line=10)
    assert records.rejects == [(11, reason, len(line))]
    assert records.frame["line_number"].to_list() == [10, 12]
    assert records.num_lines == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": None}, Reason.BAD_TEXT),
        ({"selftext": 1}, Reason.BAD_TEXT),
        ({"url": {}}, Reason.BAD_TEXT),
        ({"num_comments": "3"}, Reason.BAD_NUMBER),
        ({"over_18": "false"}, Reason.BAD_FLAG),
        ({"removed_by_category": True}, Reason.BAD_TEXT),
        ({"crosspost_parent": "abc"}, Reason.BAD_LINK),
    ],
)
def test_rejects_of_submissions_take_what_they_show_along(
    change: dict[str, Any], reason: Reason
) -> None:
    other = SUBMISSION | {"url": "https://example.org/"}
    records = parse_submissions(lines(SUBMISSION | change, other))
    assert [(number, found) for number, found, _ in records.rejects] == [(1, reason)]
    assert records.shown == [{"url": "https://example.org/", "selftext": ""}]


def test_a_line_with_several_faults_has_the_first_of_them() -> None:
    records = parse_comments(lines(COMMENT | {"body": None, "id": None, "score": "x"}))
    assert [reason for _, reason, _ in records.rejects] == [Reason.BAD_ID]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"a\ud83db", "a\ufffdb"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (rb"\"\ud83d\n", '"\ufffd\n'),
        (rb"\u0000", "\0"),
    ],
)
def test_escapes_that_stand_for_no_character_are_replaced(written: bytes, read: str) -> None:
    line = orjson.dumps(COMMENT).replace(b"hello", written)
    assert row(parse_comments(line))["body"] == read


def test_blank_lines_and_carriage_returns_are_counted_apart() -> None:
    line = orjson.dumps(COMMENT)
    records = parse_comments(b"\n" + line + b"\r\n \t\r\n" + line + b"\n\n" + line)
    assert (records.num_lines, records.num_blank, records.num_crlf) == (3, 3, 2)
    assert records.frame["line_number"].to_list() == [2, 4, 6]
    assert not records.rejects


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n"])
def test_no_lines_give_no_rows_of_the_same_types(data: bytes) -> None:
    for parse, line in ((parse_comments, COMMENT), (parse_submissions, SUBMISSION)):
        empty, full = parse(data), parse(lines(line))
        assert empty.frame.schema == full.frame.schema
        assert (empty.frame.height, empty.num_lines) == (0, 0)


def test_mixed_types_change_no_other_line() -> None:
    """What a line becomes does not depend on the lines beside it."""
    drift: list[dict[str, Any]] = [
        {"created_utc": "1570000000"},
        {"created_utc": 1570000000.0},
        {"edited": 1570000001},
        {"edited": True},
        {"score": None},
        {"score": 1.0},
        {"author": None},
        {"link_id": 1295},
        {"link_id": None},
        {"author": 3},
        {"retrieved_on": 1570000002},
        {"_meta": {"was_deleted_later": True}},
        {"_meta": 4},
    ]
    objects = [COMMENT | change for change in drift] * 3
    random.Random(0).shuffle(objects)
    together = parse_comments(lines(*objects))
    alone = [parse_comments(lines(o), first_line=n) for n, o in enumerate(objects, 1)]
    assert together.frame.to_dicts() == [r for a in alone for r in a.frame.to_dicts()]
    assert together.rejects == [reject for a in alone for reject in a.rejects]


def test_mutated_lines_are_all_accounted_for() -> None:
    rng = random.Random(1)
    originals = [orjson.dumps(COMMENT), orjson.dumps(SUBMISSION), rb'{"body": "\ud83d"}']
    for _ in range(300):
        mutated = []
        for _ in range(20):
            line = bytearray(rng.choice(originals))
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(line))
                line[at : at + rng.randrange(3)] = bytes(
                    rng.choices(b'\0"{}[]\\u,:0eE-\xff\n \r', k=2)
                )
            mutated.append(bytes(line))
        data = b"\n".join(mutated)
        for parse in (parse_comments, parse_submissions):
            records = parse(data)
            assert records.num_lines == records.frame.height + len(records.rejects)
            physical = data.count(b"\n") + (not data.endswith(b"\n"))
            assert records.num_lines + records.num_blank == physical
            numbers = [*records.frame["line_number"], *(number for number, _, _ in records.rejects)]
            assert len(set(numbers)) == records.num_lines


def test_rejects_come_in_the_order_of_the_lines() -> None:
    records = parse_comments(lines(COMMENT | {"id": 1}, b"{", COMMENT | {"id": 2}))
    reasons = [(number, reason) for number, reason, _ in records.rejects]
    assert reasons == [(1, Reason.BAD_ID), (2, Reason.BAD_JSON), (3, Reason.BAD_ID)]
