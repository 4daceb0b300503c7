import json
import random
from typing import Any

import pytest

from orchestration.sample.activity import Act
from orchestration.sample.defects import with_mess
from orchestration.sample.lines import (
    CommentLine,
    SubmissionLine,
    comment_object,
    submission_object,
)
from orchestration.sample.mess import (
    COMMENT_PERIODS,
    REJECTED,
    SUBMISSION_PERIODS,
    Around,
    Line,
    Mess,
    Rule,
    due,
)
from orchestration.sample.tastes import Kind, Subreddit

SUBREDDIT = Subreddit(
    index=3, name="foggycats", display_name="FoggyCats", kind=Kind.TASTE, factors={"subject": "cat"}
)
SUBMISSION = submission_object(
    SubmissionLine(
        number=10_000,
        act=Act.SELF,
        author="Veltob41",
        subreddit=SUBREDDIT,
        created_utc=1_570_000_000,
    ),
    seed=0,
)
COMMENT = comment_object(
    CommentLine(
        number=20_000,
        author="Veltob41",
        subreddit=SUBREDDIT,
        created_utc=1_570_000_000,
        link=10_000,
        parent=None,
        is_submitter=True,
    ),
    seed=0,
)
BOTH = [pytest.param(SUBMISSION, id="submission"), pytest.param(COMMENT, id="comment")]


def _lines(fields: dict[str, Any], *kinds: Mess, seed: int = 0) -> list[Line]:
    return list(with_mess(fields, kinds, Around(SUBREDDIT, "Marbrux77", random.Random(seed))))


def _companion(fields: dict[str, Any], kind: Mess, seed: int = 0) -> Line:
    plain, companion = _lines(fields, kind, seed=seed)
    assert json.loads(plain.data) == fields and plain.kind is Mess.PLAIN and plain.fate == "kept"
    assert companion.kind is kind
    return companion


def test_without_mess_a_line_is_its_object() -> None:
    (line,) = _lines(COMMENT)
    assert (json.loads(line.data), line.fate, line.reason) == (COMMENT, "kept", "")


@pytest.mark.parametrize("fields", BOTH)
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Mess.DELETED_AUTHOR, Rule.DELETED_AUTHOR),
        (Mess.REMOVED, Rule.REMOVED_CONTENT),
        (Mess.BOT, Rule.BOT),
        (Mess.PROFILE, Rule.PROFILE_SUBREDDIT),
    ],
)
def test_a_companion_to_be_dropped_names_its_rule(
    fields: dict[str, Any], kind: Mess, rule: Rule
) -> None:
    line = _companion(fields, kind)
    value = json.loads(line.data)
    assert (line.fate, line.reason) == ("dropped", rule.value)
    assert value["id"] != fields["id"]
    assert {
        Mess.DELETED_AUTHOR: value["author"] == "[deleted]" and "author_fullname" not in value,
        Mess.REMOVED: "[removed]" in (value.get("body"), value.get("selftext")),
        Mess.BOT: value["author"] == "AutoModerator" or value["author"].lower().endswith("bot"),
        Mess.PROFILE: value["subreddit"] == "u_Veltob41",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "rule", "field", "expected"),
    [
        (Mess.OVER_18, Rule.OVER_18, "over_18", {True}),
        (Mess.PROMOTED, Rule.MISSING_SUBREDDIT, "subreddit", {None}),
        (
            Mess.DELETION_SIGNAL,
            Rule.DELETION_SIGNAL,
            "removed_by_category",
            {"moderator", "reddit", "automod_filtered"},
        ),
    ],
)
def test_submissions_have_mess_of_their_own(
    kind: Mess, rule: Rule, field: str, expected: set[object]
) -> None:
    line = _companion(SUBMISSION, kind)
    assert line.reason == rule.value and json.loads(line.data).get(field) in expected


@pytest.mark.parametrize("fields", BOTH)
@pytest.mark.parametrize("kind", REJECTED)
@pytest.mark.parametrize("seed", range(10))
def test_rejected_lines_cannot_be_read(fields: dict[str, Any], kind: Mess, seed: int) -> None:
    line = _companion(fields, kind, seed)
    assert (line.fate, line.reason) == ("rejected", kind.value)
    assert line.data.strip() and b"\n" not in line.data
    try:
        value = json.loads(line.data)
    except ValueError:
        assert kind in (Mess.TRUNCATED, Mess.BINARY)
    else:
        assert not isinstance(value, dict) or "id" not in value


@pytest.mark.parametrize("fields", BOTH)
@pytest.mark.parametrize("seed", range(6))
def test_the_later_retrieval_decides(fields: dict[str, Any], seed: int) -> None:
    pair = {
        json.loads(x.data)["retrieved_on"]: x for x in _lines(fields, Mess.DUPLICATE, seed=seed)
    }
    early, late = (pair[when] for when in sorted(pair))
    assert (early.reason, late.fate) == (Rule.DUPLICATE_ID.value, "kept")
    assert json.loads(early.data)["id"] == json.loads(late.data)["id"] == fields["id"]


@pytest.mark.parametrize("fields", BOTH)
def test_nothing_survives_of_what_was_deleted_later(fields: dict[str, Any]) -> None:
    _, *pair = _lines(fields, Mess.DELETED_LATER)
    early, late = sorted(pair, key=lambda line: json.loads(line.data)["retrieved_on"])
    assert (early.reason, late.reason) == (Rule.DUPLICATE_ID.value, Rule.DELETED_AUTHOR.value)
    assert json.loads(late.data)["author"] == "[deleted]"


@pytest.mark.parametrize("fields", BOTH)
@pytest.mark.parametrize(
    ("kind", "field", "type_"),
    [
        (Mess.EDITED_INT, "edited", int),
        (Mess.EDITED_FLOAT, "edited", float),
        (Mess.EDITED_TRUE, "edited", bool),
        (Mess.CREATED_STRING, "created_utc", str),
        (Mess.SCORE_NULL, "score", type(None)),
    ],
)
def test_types_drift_in_lines_that_are_kept(
    fields: dict[str, Any], kind: Mess, field: str, type_: type
) -> None:
    (line,) = _lines(fields, kind)
    assert line.fate == "kept" and type(json.loads(line.data)[field]) is type_


@pytest.mark.parametrize("fields", BOTH)
def test_texts_hold_what_breaks_readers(fields: dict[str, Any]) -> None:
    assert rb"\u0000" in _lines(fields, Mess.NUL_ESCAPE)[0].data
    lone = _lines(fields, Mess.LONE_SURROGATE)[0].data
    assert rb"\ud83d" in lone and rb"\ud83d\u" not in lone
    assert b"u/Marbrux77" in _lines(fields, Mess.MENTION)[0].data


def test_orders_to_machines_stand_in_comments() -> None:
    bodies = {json.loads(_companion(COMMENT, Mess.INJECTION, s).data)["body"] for s in range(40)}
    assert len(bodies) >= 4 and all("gnore" in body for body in bodies)


def test_a_gallery_of_nothing_is_kept_and_shows_nothing() -> None:
    line = _companion(SUBMISSION, Mess.GALLERY_NULL)
    value = json.loads(line.data)
    assert line.fate == "kept" and value["is_gallery"] and value["gallery_data"] is None


@pytest.mark.parametrize("periods", [SUBMISSION_PERIODS, COMMENT_PERIODS])
def test_every_kind_comes_early_and_at_its_period(periods: dict[Mess, int]) -> None:
    rows: dict[Mess, list[int]] = {kind: [] for kind in periods}
    for row in range(4_100):
        for kind in due(row, periods):
            rows[kind].append(row)
    for kind, period in periods.items():
        assert rows[kind][0] < len(periods)
        assert all(
            after - row == period for row, after in zip(rows[kind], rows[kind][1:], strict=False)
        )
