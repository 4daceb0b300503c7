from __future__ import annotations

import json
import random
from typing import Any

import polars as pl
import pytest

from pipelines.config import IngestConfig
from pipelines.dumps import Kind
from pipelines.media import MEDIA_KEYS
from pipelines.pseudonym import Pseudonyms
from pipelines.rows import Parsed, Tally, parse_batch, total, winners
from tests.pipelines.test_records import COMMENT, SUBMISSION, lines

KEY = b"0123456789abcdef"
CONFIG = IngestConfig(inputs=("dumps",), key_file="key")


def parse(kind: Kind, *objects: Any, dump: int = 0, config: IngestConfig = CONFIG) -> Parsed:
    return parse_batch(
        kind, lines(*objects), 1, dump=(dump, "RC_x"), config=config, pseudonyms=Pseudonyms(KEY)
    )


def texts(*versions: Parsed) -> list[str]:
    latest, _ = winners(pl.concat([v.versions for v in versions], how="diagonal"))
    return latest["body"].to_list()


def test_a_kept_line_becomes_a_row_and_a_dropped_one_a_stub_without_text() -> None:
    gone = COMMENT | {"id": "c2", "author": "[deleted]", "body": "secret"}
    versions = parse("RC", COMMENT, gone).versions.to_dicts()
    assert versions[0] == {
        "id": 433,
        "retrieved_utc": None,
        "dump_order": 0,
        "line_number": 1,
        "created_utc": 1_570_000_000,
        "score": 3,
        "subreddit": "pics",
        "edited_utc": None,
        "submission_id": 1295,
        "body": "hello",
        "user_id": Pseudonyms(KEY).user_id("a"),
        "kept": True,
    }
    stub = {name: value for name, value in versions[1].items() if value is not None}
    assert stub == {"id": 434, "dump_order": 0, "line_number": 2, "kept": False}


def test_a_submission_carries_its_images() -> None:
    (row,) = parse("RS", SUBMISSION).versions.to_dicts()
    assert row["media"] == [{"url": "https://i.redd.it/abcde.jpg", "source": "direct"}]
    assert (row["title"], row["num_comments"], row["over_18"]) == ("hello", 4, False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://e.org/?a=1&amp;b=2", "https://e.org/?a=1&b=2"),
        ("https://e.org/?a=1&copy=2", "https://e.org/?a=1&copy=2"),
        (
            "https://www.reddit.com/user/someone/comments",
            "https://www.reddit.com/u/[user]/comments",
        ),
        ("x" * 4096, "x" * 4096),
        ("x" * 4097, None),
        ("", None),
        (None, None),
        ("https://e.org/\0a", "https://e.org/a"),
        ("https://Foo-1.e.org/foo-1?a=foo-12", "https://u/[user].e.org/u/[user]?a=foo-12"),
    ],
)
def test_urls_are_kept_as_posted_without_names(url: str | None, expected: str | None) -> None:
    (row,) = parse("RS", SUBMISSION | {"author": "foo-1", "url": url}).versions.to_dicts()
    assert row["url"] == expected


def test_no_text_keeps_its_authors_name_nor_more_than_its_limit() -> None:
    config = IngestConfig(inputs=("dumps",), key_file="key", max_text_chars=20)
    objects = SUBMISSION | {"author": "Foo_1", "title": "FOO_1 here", "selftext": "ä" * 30}
    (row,) = parse("RS", objects, config=config).versions.to_dicts()
    assert (row["title"], row["selftext"]) == ("u/[user] here", "ä" * 20)


def test_the_tally_accounts_for_every_line() -> None:
    bot = COMMENT | {"id": "c2", "author": "AutoModerator"}
    parsed = parse("RC", b"", COMMENT, bot, bot, b"{", b"\r")
    assert parsed.tally == Tally(
        rows_in=4,
        rejected={"bad_json": 1},
        dropped={"bot": 2},
        other={"blank_lines": 2, "crlf_lines": 1, "albums_lost": 0},
    )
    expected = {"dump": "RC_x", "line_number": 5, "reason": "bad_json", "line_bytes": 1}
    assert parsed.rejects.to_dicts() == [expected]


def test_albums_without_a_preview_are_counted() -> None:
    album = SUBMISSION | {"url": "https://imgur.com/a/v4Ljs"}
    assert parse("RS", album, SUBMISSION).tally.other["albums_lost"] == 1


def test_tallies_add_up_in_sorted_order() -> None:
    tallies = [
        Tally(rows_in=2, rejected={"b": 1}, other={"x": 1}),
        Tally(rows_in=3, rows_out=1, rejected={"a": 1, "b": 1}, dropped={"d": 1, "zero": 0}),
    ]
    summed = total(tallies)
    assert summed == Tally(5, 1, {"a": 1, "b": 2}, {"d": 1}, {"x": 1})
    assert list(summed.rejected) == ["a", "b"]
    assert total([]) == Tally()


def version(body: str, retrieved: int | None, **changes: Any) -> dict[str, Any]:
    return COMMENT | {"body": body, "retrieved_on": retrieved} | changes


EARLY, LATE = 1_580_000_000, 1_590_000_000


def test_the_latest_retrieval_wins_whatever_the_order() -> None:
    for pair in ([("old", EARLY), ("new", LATE)], [("new", LATE), ("old", EARLY)]):
        assert texts(parse("RC", *(version(*each) for each in pair))) == ["new"]


def test_a_known_retrieval_is_later_than_an_unknown_one() -> None:
    assert texts(parse("RC", version("unknown", None), version("known", EARLY))) == ["known"]


def test_the_second_retrieval_counts() -> None:
    again = version("again", EARLY, _meta={"retrieved_2nd_on": LATE + 1})
    assert texts(parse("RC", again, version("late", LATE))) == ["again"]


def test_of_equal_retrievals_the_first_line_of_the_first_dump_wins() -> None:
    first = parse("RC", version("1", EARLY), version("2", EARLY), dump=0)
    second = parse("RC", version("3", EARLY), dump=1)
    assert texts(first, second) == texts(second, first) == ["1"]


def test_what_is_deleted_in_the_latest_version_is_gone() -> None:
    deleted = version("[deleted]", LATE, author="[deleted]")
    parsed = parse("RC", version("secret", EARLY), deleted)
    latest, tally = winners(parsed.versions)
    assert latest.is_empty()
    assert (tally.rows_out, tally.dropped) == (0, {"duplicate_id": 1})


def test_of_equal_retrievals_the_deleted_one_wins() -> None:
    deleted = version("[deleted]", EARLY, author="[deleted]")
    assert texts(parse("RC", version("secret", EARLY), deleted)) == []


def test_what_was_deleted_and_came_back_stays() -> None:
    deleted = version("[removed]", EARLY)
    assert texts(parse("RC", deleted, version("approved", LATE))) == ["approved"]


def test_rows_come_out_by_id() -> None:
    ids = [5, 3, 9, 3]
    parsed = parse("RC", *(version(str(n), EARLY + i, id=str(n)) for i, n in enumerate(ids)))
    latest, tally = winners(parsed.versions)
    assert latest["id"].to_list() == [3, 5, 9]
    assert (tally.rows_out, tally.dropped) == (3, {"duplicate_id": 1})


def test_any_values_in_any_fields_are_accounted_for() -> None:
    rng = random.Random(5)
    values: list[Any] = [
        None,
        True,
        0,
        -1,
        1e300,
        2**63,
        "",
        "x",
        "t3_1",
        "[deleted]",
        "\0\ud83d",
        "u_x",
    ]
    values += [
        [],
        {},
        [{}],
        [[None]],
        {"items": [{"media_id": "aaaaa"}]},
        {"images": [{}]},
        "&amp;",
    ]
    values += [{"aaaaa": {"status": "valid", "e": "Image", "m": "image/png"}}, 1_570_000_000.5]
    values += ["https://i.redd.it/abcde.jpg", {"was_deleted_later": True, "retrieved_2nd_on": "x"}]
    extra = ["_meta", "removed_by_category", "retrieved_on", "retrieved_utc", "crosspost_parent"]
    cases: list[tuple[Kind, dict[str, Any], list[str]]] = [
        ("RS", SUBMISSION, [*SUBMISSION, *MEDIA_KEYS, *extra]),
        ("RC", COMMENT, [*COMMENT, *extra]),
    ]
    for kind, base, keys in cases:
        kept = 0
        for _ in range(80):
            objects = [
                base | {key: rng.choice(values) for key in rng.sample(keys, rng.randrange(4))}
                for _ in range(10)
            ]
            parsed = parse(kind, *(json.dumps(fields).encode() for fields in objects))
            latest, last = winners(parsed.versions)
            summed = total([parsed.tally, last])
            assert summed.rows_in == 10
            accounted = sum(summed.rejected.values()) + sum(summed.dropped.values())
            assert summed.rows_out + accounted == 10
            kept += latest.height
        assert kept > 50
