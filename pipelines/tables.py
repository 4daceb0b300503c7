"""Tables of stage 1: what the dumps said, typed, pseudonymous, and reduced to interactions."""

from __future__ import annotations

import pyarrow as pa

from pipelines.contract import Table, column

USER_ID = column("user_id", pa.string(), "keyed hash of the author: 16 characters of base 32")
SUBREDDIT = column("subreddit", pa.string(), "name in lower case, no r/ prefix")
CREATED_UTC = column("created_utc", pa.int64(), "epoch seconds")

SUBMISSIONS = Table(
    name="submissions",
    doc="one submission that passed all rules",
    key=("submission_id",),
    monthly=True,
    schema=pa.schema(
        [
            column("submission_id", pa.uint64(), "base-36 id as a number, no t3_ prefix"),
            USER_ID,
            SUBREDDIT,
            CREATED_UTC,
            column("retrieved_utc", pa.int64(), "when the dump saw it", nullable=True),
            column("edited_utc", pa.int64(), "0: edited, time unknown", nullable=True),
            column("title", pa.string(), "unescaped, control characters out, names masked"),
            column("selftext", pa.string(), "as title; empty for links"),
            column("url", pa.string(), "as posted, `&amp;` undone", nullable=True),
            column("score", pa.int32(), "score when retrieved", nullable=True),
            column("num_comments", pa.int32(), "comments when retrieved", nullable=True),
            column("over_18", pa.bool_(), "marked not safe for work"),
            column("crosspost_parent", pa.uint64(), "submission it repeats", nullable=True),
        ]
    ),
)

COMMENTS = Table(
    name="comments",
    doc="one comment that passed all rules",
    key=("comment_id",),
    monthly=True,
    schema=pa.schema(
        [
            column("comment_id", pa.uint64(), "base-36 id as a number, no t1_ prefix"),
            column("submission_id", pa.uint64(), "submission it belongs to", nullable=True),
            USER_ID,
            SUBREDDIT,
            CREATED_UTC,
            column("retrieved_utc", pa.int64(), "when the dump saw it", nullable=True),
            column("edited_utc", pa.int64(), "0: edited, time unknown", nullable=True),
            column("body", pa.string(), "unescaped, control characters out, names masked"),
            column("score", pa.int32(), "score when retrieved", nullable=True),
        ]
    ),
)

MEDIA = Table(
    name="media",
    doc="one image of one submission",
    key=("submission_id", "position"),
    monthly=True,
    schema=pa.schema(
        [
            column("submission_id", pa.uint64(), "submission that shows it"),
            column("position", pa.int16(), "order in the submission, from 0"),
            column("image_id", pa.string(), "128-bit hash of the canonical url, hexadecimal"),
            column("url", pa.string(), "canonical url to fetch"),
            column("source", pa.string(), "direct, gallery, crosspost, preview, inline or page"),
            USER_ID,
            SUBREDDIT,
            CREATED_UTC,
        ]
    ),
)

REJECTS = Table(
    name="rejects",
    doc="one line that could not be read; holds no text of the line",
    key=("dump", "line_number"),
    monthly=True,
    schema=pa.schema(
        [
            column("dump", pa.string(), "file name of the dump"),
            column("line_number", pa.int64(), "from 1"),
            column("reason", pa.string(), "one of pipelines.records.Reason"),
            column("line_bytes", pa.int64(), "length of the line"),
        ]
    ),
)

INTERACTIONS = Table(
    name="interactions",
    doc="what one user did in one subreddit in one month",
    key=("user_id", "subreddit", "active_month"),
    monthly=True,
    schema=pa.schema(
        [
            USER_ID,
            SUBREDDIT,
            column("active_month", pa.string(), "YYYY-MM of created_utc"),
            column("num_submissions", pa.int32(), "submissions"),
            column("num_comments", pa.int32(), "comments"),
            column("score", pa.int64(), "sum of scores, unknown ones as 0"),
            column("first_utc", pa.int64(), "first activity, epoch seconds"),
            column("last_utc", pa.int64(), "last activity, epoch seconds"),
        ]
    ),
)

SNIPPETS = Table(
    name="snippets",
    doc="a few texts of one user in one subreddit, kept as evidence",
    key=("snippet_id",),
    monthly=True,
    schema=pa.schema(
        [
            column("snippet_id", pa.string(), "t1_ or t3_ and the base-36 id"),
            USER_ID,
            SUBREDDIT,
            column("text", pa.string(), "one line, at most config.snippet_chars characters"),
            column("score", pa.int32(), "score when retrieved", nullable=True),
            CREATED_UTC,
        ]
    ),
)
