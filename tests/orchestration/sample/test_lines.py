from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from orchestration.sample.activity import Act, Form
from orchestration.sample.lines import (
    CommentLine,
    SubmissionLine,
    author_deleted,
    comment_object,
    submission_object,
)
from orchestration.sample.tastes import Kind, Subreddit
from pipelines.base36 import base36
from tests.orchestration.sample.worlds import dumps, image_post, objects

SUBREDDIT = Subreddit(
    index=3, name="foggycats", display_name="FoggyCats", kind=Kind.TASTE, factors={"subject": "cat"}
)
TEXT = SubmissionLine(
    number=int("d1x2y3", 36),
    act=Act.SELF,
    author="Veltob-41",
    subreddit=SUBREDDIT,
    created_utc=1_570_000_000,
)
COMMENT = CommentLine(
    number=int("f1x2y3z", 36),
    author="Veltob-41",
    subreddit=SUBREDDIT,
    created_utc=1_570_000_100,
    link=TEXT.number,
    parent=None,
    is_submitter=True,
)


def test_a_text_submission() -> None:
    fields = submission_object(TEXT, seed=0)
    assert fields["is_self"] and fields["selftext"] and fields["domain"] == "self.FoggyCats"
    assert fields["url"] == f"https://www.reddit.com{fields['permalink']}"
    assert fields["permalink"].startswith("/r/FoggyCats/comments/d1x2y3/")
    assert (fields["id"], fields["author"], fields["subreddit"]) == (
        "d1x2y3",
        "Veltob-41",
        "FoggyCats",
    )


def test_a_link_submission_has_an_escaped_url() -> None:
    fields = submission_object(replace(TEXT, act=Act.LINK), seed=0)
    assert not fields["is_self"] and not fields["selftext"] and "&amp;" in fields["url"]


def test_a_crosspost_holds_the_whole_submission_that_it_repeats() -> None:
    parent = replace(TEXT, act=Act.IMAGE, post=image_post(Form.REDDIT), number=TEXT.number - 64)
    line = replace(TEXT, act=Act.IMAGE, post=image_post(Form.CROSSPOST), parent=parent)
    fields = submission_object(line, seed=0)
    assert fields["crosspost_parent_list"] == [submission_object(parent, seed=0)]
    assert fields["crosspost_parent"] == f"t3_{base36(parent.number)}"
    assert fields["url"] == fields["crosspost_parent_list"][0]["url"]
    with pytest.raises(ValueError, match="without its parent"):
        submission_object(replace(line, parent=None), seed=0)


def test_a_comment_answers_its_submission_or_a_comment() -> None:
    fields = comment_object(COMMENT, seed=0)
    assert fields["link_id"] == fields["parent_id"] == "t3_d1x2y3"
    assert fields["permalink"].endswith(f"/{fields['id']}/") and fields["is_submitter"]
    assert comment_object(replace(COMMENT, parent=36**6), seed=0)["parent_id"] == "t1_1000000"


def test_a_deleted_author_leaves_no_trace_of_the_account() -> None:
    fields = author_deleted(comment_object(COMMENT, seed=0))
    assert fields["author"] == "[deleted]"
    assert not any("Veltob" in str(value) for value in fields.values())
    assert "author_fullname" not in fields


def test_submissions_have_the_fields_of_2019(small_world: Path, shared_data: Path) -> None:
    """The key set of plain text submissions equals that of a real month, but for rare keys."""
    path = shared_data / "reddit" / "subreddits" / "RS_2019-10_AskWomen.zst"
    with path.open("rb") as file:
        data = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(file).read()
    real = [orjson.loads(line) for line in data.splitlines()]
    known = [value for value in real if "author_fullname" in value]
    always = set.intersection(*(set(value) for value in known))
    ever = {key for value in real for key in value}
    types = {(key, type(item[key]).__name__) for item in known for key in always}
    mine = [value for value in objects(dumps(small_world, "RS")[-1]) if _is_plain_text(value)]
    assert len(mine) > 20
    for value in mine:
        assert always <= set(value) <= ever
        assert {(key, type(value[key]).__name__) for key in always} <= types


def _is_plain_text(value: dict[str, Any]) -> bool:
    media = ("media_metadata", "gallery_data", "is_gallery", "crosspost_parent")
    has_account = "author_fullname" in value and "promoted" not in value
    odd = type(value["edited"]) is float or type(value["created_utc"]) is str
    odd |= value["edited"] is True or value["score"] is None
    return bool(value["is_self"]) and has_account and not odd and not any(k in value for k in media)
