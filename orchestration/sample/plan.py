"""A world before a line of it is written: config -> tastes, subreddits, people, all their acts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.sample.activity import Act, Acts, Post, plan_acts, plan_posts
from orchestration.sample.config import WorldConfig
from orchestration.sample.people import Person, plan_people
from orchestration.sample.tastes import Factors, Subreddit, plan_subreddits, plan_tastes

# Ids grow with time; the room between two neighbours is for lines beside them, see `mess`.
ID_STEP = 64
_FIRST_SUBMISSION = int("ck0000", 36)  # About the first id of 2019-08.
_FIRST_COMMENT = int("ew00000", 36)
_REACH = 30  # A comment is on one of that many newest submissions of its subreddit.
NO_ROW = -1


@dataclass(frozen=True, kw_only=True)
class World:
    """A planned world.

    Args:
        submissions, comments: In order of time.
        submission_ids, comment_ids: As numbers, one a row.
        links: Row of the submission that each comment is on; `NO_ROW`: one older than the dumps.
        post_rows: Row of the submission of each post.
    """

    config: WorldConfig
    tastes: tuple[Factors, ...]
    subreddits: tuple[Subreddit, ...]
    people: tuple[Person, ...]
    posts: list[Post]
    submissions: Acts
    comments: Acts
    submission_ids: NDArray[np.int64]
    comment_ids: NDArray[np.int64]
    links: NDArray[np.int64]
    post_rows: NDArray[np.int64]


def plan_world(config: WorldConfig) -> World:
    """Everything that is decided before a line is written."""
    rng = np.random.default_rng([config.seed, 0])
    tastes = plan_tastes(rng)
    subreddits = plan_subreddits(config, tastes, rng)
    people = plan_people(config, subreddits, tastes)
    posts = plan_posts(config, subreddits, tastes, people)
    acts = plan_acts(config, people, posts)
    submissions = acts.where(acts.act != Act.COMMENT)
    comments = acts.where(acts.act == Act.COMMENT)
    post_rows = np.empty(len(posts), np.int64)
    is_post = submissions.post >= 0
    post_rows[submissions.post[is_post]] = np.flatnonzero(is_post)
    return World(
        config=config,
        tastes=tastes,
        subreddits=subreddits,
        people=people,
        posts=posts,
        submissions=submissions,
        comments=comments,
        submission_ids=_FIRST_SUBMISSION + ID_STEP * np.arange(len(submissions)),
        comment_ids=_FIRST_COMMENT + ID_STEP * np.arange(len(comments)),
        links=_links(submissions, comments, len(subreddits), rng),
        post_rows=post_rows,
    )


def older_submission(comment_id: int) -> int:
    """The id of a submission that is in no dump, for comments with `NO_ROW`."""
    return _FIRST_SUBMISSION - 1 - comment_id % 1_000_003


def _links(
    submissions: Acts, comments: Acts, num_subreddits: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """For each comment, the row of a submission of the same subreddit and before it."""
    links = np.full(len(comments), NO_ROW, np.int64)
    back = rng.integers(1, _REACH + 1, size=len(comments))
    for subreddit in range(num_subreddits):
        rows = np.flatnonzero(submissions.subreddit == subreddit)
        mine = np.flatnonzero(comments.subreddit == subreddit)
        before = np.searchsorted(submissions.created_utc[rows], comments.created_utc[mine])
        known = before > 0
        choice = np.maximum(before - back[mine], 0)[known]
        links[mine[known]] = rows[choice]
    return links
