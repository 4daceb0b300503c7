import hashlib
import math

import pytest

import embed.answers
from embed.answers import (
    Fetched,
    is_placeholder,
    judge_archived,
    judge_body,
    judge_headers,
    opted_out,
    pause_before,
    redirected,
    retry_after_s,
)
from embed.outcomes import Outcome

PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], False),
        (["noindex, nofollow"], False),
        (["noai"], True),
        (["noindex, NoImageAI"], True),
        (["noindex", "noai"], True),
        (["otherbot: noai"], False),
        (["tastegraph: noimageai"], True),
        (["otherbot: noindex, noai"], False),
        (["*: noai"], True),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], True),
        (["unavailable_after: Fri, 25 Jun 2030 15:00:00 GMT, noai"], True),
        (["max-snippet:-1, max-image-preview: large, noimageai"], True),
        (["otherbot: max-image-preview: large, noai"], False),
        (["tastegraph: max-image-preview: large, noai"], True),
    ],
)
def test_opting_out_counts_for_all_crawlers_or_this_one(tags: list[str], expected: bool) -> None:
    assert opted_out(tags) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "99999999999"}, 99_999_999_999.0),
        ({"retry-after": "9" * 400}, math.inf),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 99999999999999999999:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 +99999999999999999999"}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30.0,
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date_after_the_answers_own(
    headers: dict[str, str], expected: float | None
) -> None:
    assert retry_after_s(headers) == expected


def test_pauses_double_within_half_and_one_and_a_half_and_repeat() -> None:
    for attempt in range(4):
        pause = pause_before("http://a.example/b", attempt, 0.5)
        assert 0.25 * 2**attempt <= pause < 0.75 * 2**attempt
        assert pause == pause_before("http://a.example/b", attempt, 0.5)


def test_a_known_placeholder_is_a_removed_image(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.md5(PNG, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(embed.answers, "REMOVED_MD5", frozenset({digest}))
    assert judge_body(PNG).outcome is Outcome.REMOVED
    assert judge_archived(200, PNG, 1000).outcome is Outcome.REMOVED
    assert judge_body(PNG + b"x").outcome is Outcome.OK


def test_an_archived_answer_is_judged_like_a_fresh_one() -> None:
    assert judge_archived(200, PNG, 1000) == Fetched(outcome=Outcome.OK, content=PNG)
    assert judge_archived(404, PNG, 1000) == Fetched(outcome=Outcome.NOT_FOUND)
    assert judge_archived(200, PNG, 5) == Fetched(outcome=Outcome.TOO_LARGE)
    assert judge_archived(200, b"", 5) == Fetched(outcome=Outcome.EMPTY)


def test_a_redirect_is_joined_to_where_it_came_from() -> None:
    assert redirected("https://a.example/b/c?d", "../e") == "https://a.example/e"


def test_a_small_picture_of_the_size_of_a_placeholder_is_one() -> None:
    body = PNG[:8] + b"\x00\x00\x00\rIHDR" + (161).to_bytes(4, "big") + (81).to_bytes(4, "big")
    assert is_placeholder(body + bytes(400))
    assert not is_placeholder(body + bytes(40_000))
    assert not is_placeholder(body.replace((81).to_bytes(4, "big"), (82).to_bytes(4, "big")))
    assert judge_body(body).outcome is Outcome.REMOVED


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Outcome.OK),
        ({"content-length": "1000"}, Outcome.OK),
        ({"content-length": "1001"}, Outcome.TOO_LARGE),
        ({"content-length": "-1"}, Outcome.OK),
        ({"content-type": "TEXT/html"}, Outcome.NOT_IMAGE),
        ({"content-type": "binary/octet-stream"}, Outcome.OK),
    ],
)
def test_headers_tell_what_need_not_be_read(headers: dict[str, str], expected: Outcome) -> None:
    assert judge_headers(headers, [], 1000) is expected
    assert judge_headers(headers, ["noai"], 1000) is Outcome.OPTED_OUT


def test_only_what_a_host_said_of_a_body_is_sent_back() -> None:
    known = Fetched(outcome=Outcome.OK, etag='"1"', last_modified="Wed")
    assert known.validators() == {"If-None-Match": '"1"', "If-Modified-Since": "Wed"}
    assert Fetched(outcome=Outcome.OK, etag="\u00fc").validators() == {}
