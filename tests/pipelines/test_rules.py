from __future__ import annotations

import re
from typing import Any

import pytest

from pipelines.config import IngestConfig
from pipelines.dumps import Kind
from pipelines.records import parse_comments, parse_submissions
from pipelines.rules import first_rule, known_bots, rules
from tests.pipelines.test_records import COMMENT, SUBMISSION, lines

CONFIG = IngestConfig(inputs=("dumps",), key_file="key")


def rule(change: dict[str, Any], kind: Kind = "RS", config: IngestConfig = CONFIG) -> str | None:
    if kind == "RS":
        frame = parse_submissions(lines(SUBMISSION | change)).frame
    else:
        frame = parse_comments(lines(COMMENT | change)).frame
    found: str | None = frame.select(first_rule(kind, config)).item()
    return found


@pytest.mark.parametrize("author", [None, "", "[deleted]", "\\[deleted\\]", "[removed]"])
@pytest.mark.parametrize("kind", ["RS", "RC"])
def test_lines_without_an_author_are_dropped(author: str | None, kind: Kind) -> None:
    assert rule({"author": author}, kind) == "deleted_author"


@pytest.mark.parametrize(
    "text",
    [
        "[removed]",
        "[deleted]",
        "\\[deleted\\]",
        " [removed]\n",
        "[deleted by user]",
        "[ Removed by Reddit ]",
        "[ Removed by reddit in response to a copyright notice. ]",
        "[ Removed by Reddit on account of violating the [content policy](/help/contentpolicy). ]",
        "[unavailable]",
    ],
)
def test_lines_whose_text_is_gone_are_dropped(text: str) -> None:
    assert rule({"body": text}, "RC") == "removed_content"
    assert rule({"selftext": text}) == "removed_content"
    assert rule({"title": text}) == "removed_content"


@pytest.mark.parametrize(
    "text",
    [
        "[removed] by whom?",
        "why [deleted]",
        "[OC] cat",
        "removed",
        "[removedish]",
        "[deleted] [x]",
        "[deleted](https://example.org) was a fine page",
        "[removed as the [rules](/r/pics/wiki) say] but see [here](/x)",
        "",
    ],
)
def test_texts_that_speak_of_removal_stay(text: str) -> None:
    assert rule({"body": text}, "RC") is None
    assert rule({"selftext": text}) is None


def test_a_link_whose_text_was_removed_is_dropped_as_well() -> None:
    change = {"is_self": False, "url": "https://i.redd.it/abcde.jpg", "selftext": "[removed]"}
    assert rule(change) == "removed_content"


@pytest.mark.parametrize("category", ["moderator", "deleted", "anything"])
def test_signs_of_deletion_are_honoured(category: str) -> None:
    assert rule({"removed_by_category": category}) == "deletion_signal"
    assert rule({"_meta": {"was_deleted_later": True}}) == "deletion_signal"
    assert rule({"_meta": {"was_deleted_later": True}}, "RC") == "deletion_signal"


def test_a_meta_without_deletion_is_no_sign() -> None:
    assert rule({"removed_by_category": None, "_meta": {"was_deleted_later": False}}) is None
    assert rule({"removed_by_category": "", "_meta": {"note": "x"}}) is None
    assert rule({"_meta": {"was_deleted_later": "yes"}}, "RC") is None


def test_over_18_is_dropped_unless_switched_on() -> None:
    keep = IngestConfig(inputs=("dumps",), key_file="key", over_18="keep")
    assert rule({"over_18": True}) == "over_18"
    assert rule({"over_18": True}, config=keep) is None
    assert rule({"over_18": True}, "RC") is None


@pytest.mark.parametrize(
    "author",
    [
        "AutoModerator",
        "automoderator",
        "RemindMeBot",
        "x-bot",
        "haiku_bot_9",
        "haikubot-1911",
        "HelperBot_",
        "TotesMessenger",
        "ConvertsToMetric",
        "pics-ModTeam",
    ],
)
def test_bots_are_dropped(author: str) -> None:
    assert rule({"author": author}) == rule({"author": author}, "RC") == "bot"


@pytest.mark.parametrize(
    "author",
    ["talbot", "MsAbbot", "Cabot_77", "bottle", "botany_fan", "robotics", "Kevbot1000", "ModTeam"],
)
def test_people_are_no_bots(author: str) -> None:
    assert rule({"author": author}) is None


def test_further_bots_are_configured() -> None:
    config = IngestConfig(inputs=("dumps",), key_file="key", bots=("Spam_Machine",))
    assert rule({"author": "spam_machine"}, config=config) == "bot"
    assert rule({"author": "spam_machine"}) is None


def test_the_built_in_list_needs_names_that_give_nothing_away() -> None:
    assert "automoderator" in known_bots()
    assert not [name for name in known_bots() if re.search(r"bot([-_]\d*)?$|[^a-z0-9_-]", name)]


@pytest.mark.parametrize(
    ("subreddit", "expected"),
    [("u_Someone", "profile_subreddit"), ("U_x", "profile_subreddit"), (None, "missing_subreddit")],
)
def test_profiles_and_ads_are_dropped(subreddit: str | None, expected: str) -> None:
    assert rule({"subreddit": subreddit}) == expected


@pytest.mark.parametrize("kind", ["RS", "RC"])
def test_a_subreddit_that_bears_its_authors_name_is_a_profile(kind: Kind) -> None:
    assert rule({"author": "Lil_X", "subreddit": "lil_x"}, kind) == "profile_subreddit"
    assert rule({"author": "lil_x", "subreddit": "LIL_X"}, kind) == "profile_subreddit"
    assert rule({"author": "Lil_X", "subreddit": "lil_x2"}, kind) is None
    assert rule({"author": "Lil", "subreddit": "lil_x"}, kind) is None


def test_of_several_rules_the_first_counts() -> None:
    everything: dict[str, Any] = {
        "author": "[deleted]",
        "selftext": "[removed]",
        "removed_by_category": "moderator",
        "over_18": True,
        "subreddit": "u_x",
    }
    mended: list[tuple[str, str, Any]] = [
        ("deleted_author", "author", "a_bot"),
        ("removed_content", "selftext", ""),
        ("deletion_signal", "removed_by_category", None),
        ("over_18", "over_18", False),
        ("bot", "author", "a"),
        ("profile_subreddit", "subreddit", None),
        ("missing_subreddit", "subreddit", "pics"),
    ]
    for expected, key, harmless in mended:
        assert rule(everything) == expected
        everything[key] = harmless
    assert rule(everything) is None
    assert list(rules("RS", CONFIG)) == [name for name, _, _ in mended]


def test_rules_of_comments_are_those_of_submissions_that_apply() -> None:
    assert list(rules("RC", CONFIG)) == [name for name in rules("RS", CONFIG) if name != "over_18"]
