from __future__ import annotations

import random
from typing import Any

import polars as pl

from pipelines.activity import (
    best_snippets,
    comment_actions,
    merged_activity,
    partial_activity,
    snippet_rows,
    submission_actions,
)
from pipelines.config import InteractionsConfig
from pipelines.frames import to_table
from pipelines.tables import COMMENTS, INTERACTIONS, SNIPPETS, SUBMISSIONS

CONFIG = InteractionsConfig()
SCHEMAS = {
    table.name: pl.DataFrame(table.empty()).schema for table in (SUBMISSIONS, COMMENTS, SNIPPETS)
}
OCTOBER = 1_570_000_000  # 2019-10-02
NOVEMBER_1ST = 1_572_566_400  # 2019-11-01T00:00:00Z


def submissions(*changes: dict[str, Any]) -> pl.DataFrame:
    base = {
        "submission_id": 1,
        "user_id": "u",
        "subreddit": "s",
        "created_utc": OCTOBER,
        "title": "a title long enough",
        "selftext": "",
        "score": 1,
        "over_18": False,
    }
    return pl.DataFrame([base | change for change in changes], SCHEMAS["submissions"])


def comments(*changes: dict[str, Any]) -> pl.DataFrame:
    base = {
        "comment_id": 1,
        "user_id": "u",
        "subreddit": "s",
        "created_utc": OCTOBER,
        "body": "a body long enough",
        "score": 1,
    }
    return pl.DataFrame([base | change for change in changes], SCHEMAS["comments"])


def test_actions_are_summed_for_each_user_subreddit_and_month() -> None:
    posted = submission_actions(
        submissions(
            {"score": 5}, {"score": None}, {"user_id": "v", "created_utc": NOVEMBER_1ST - 1}
        ),
        CONFIG,
    )
    said = comment_actions(
        comments({"score": -2, "created_utc": OCTOBER - 9}, {"created_utc": NOVEMBER_1ST}), CONFIG
    )
    parts = [partial_activity(actions.activity) for actions in (posted, said)]
    rows = to_table(merged_activity(pl.concat(parts)), INTERACTIONS)
    assert INTERACTIONS.check(rows).to_pylist() == [
        {
            "user_id": user,
            "subreddit": "s",
            "active_month": month,
            "num_submissions": num_submissions,
            "num_comments": num_comments,
            "score": score,
            "first_utc": first,
            "last_utc": last,
        }
        for user, month, num_submissions, num_comments, score, first, last in [
            ("u", "2019-10", 2, 1, 3, OCTOBER - 9, OCTOBER),
            ("u", "2019-11", 0, 1, 1, NOVEMBER_1ST, NOVEMBER_1ST),
            ("v", "2019-10", 1, 0, 1, NOVEMBER_1ST - 1, NOVEMBER_1ST - 1),
        ]
    ]


def test_the_text_of_a_submission_is_title_and_selftext_on_one_line() -> None:
    rows = submissions({"title": "Look at this", "selftext": "my\n\ncat"}, {"submission_id": 2})
    texts = submission_actions(rows, CONFIG).snippets["text"].to_list()
    assert texts == ["Look at this my cat", "a title long enough"]


def test_short_texts_say_nothing_and_long_ones_are_cut() -> None:
    config = InteractionsConfig(min_snippet_chars=3, snippet_chars=5)
    rows = comments({"body": "ab"}, {"body": "  ab  "}, {"body": "äbc"}, {"body": "abcdefgh"})
    assert comment_actions(rows, config).snippets["text"].to_list() == ["äbc", "abcde"]


def best(*changes: dict[str, Any], max_snippets: int = 2) -> list[str]:
    found = best_snippets(comment_actions(comments(*changes), CONFIG).snippets, max_snippets)
    rows = to_table(snippet_rows(found), SNIPPETS)
    ids: list[str] = SNIPPETS.check(rows)["snippet_id"].to_pylist()
    return ids


def test_the_best_scored_texts_are_kept_and_unknown_scores_come_last() -> None:
    changes = [
        {"comment_id": n, "score": score, "body": f"a text that is number {n}"}
        for n, score in [(10, None), (11, 3), (12, -5), (13, 8)]
    ]
    assert best(*changes) == ["t1_d", "t1_b"]
    assert best(*changes, max_snippets=9) == ["t1_d", "t1_b", "t1_c", "t1_a"]


def test_equal_scores_go_by_time_and_id() -> None:
    changes = [
        {"comment_id": n, "created_utc": OCTOBER + late, "body": f"a text that is number {n}"}
        for n, late in [(10, 5), (11, 1), (12, 1)]
    ]
    assert best(*changes) == best(*reversed(changes)) == ["t1_b", "t1_c"]


def test_equal_texts_are_kept_once() -> None:
    assert best({"comment_id": 1}, {"comment_id": 2}, {"comment_id": 3, "user_id": "v"}) == [
        "t1_1",
        "t1_3",
    ]


def test_the_best_of_the_best_of_parts_are_the_best() -> None:
    rng = random.Random(3)
    changes = [
        {
            "comment_id": n,
            "user_id": rng.choice("uvw"),
            "score": rng.choice([None, 1, 2, 3]),
            "body": f"a text that is number {rng.randrange(40)}",
        }
        for n in range(200)
    ]
    rng.shuffle(changes)
    actions = comment_actions(comments(*changes), CONFIG)
    whole = best_snippets(actions.snippets, 3)
    parts = [best_snippets(actions.snippets[i : i + 37], 3) for i in range(0, 200, 37)]
    assert best_snippets(pl.concat(parts), 3).equals(whole)
    sums = [partial_activity(actions.activity[i : i + 37]) for i in range(0, 200, 37)]
    assert merged_activity(pl.concat(sums)).equals(
        merged_activity(partial_activity(actions.activity))
    )
