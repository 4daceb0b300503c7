"""Planned acts -> monthly dumps: rows in chunks, chunks to lines in any process, lines to zst.

A chunk depends on nothing but its own rows, so the number of processes changes no byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from orchestration.sample.activity import Act, Acts, Post, month_bounds
from orchestration.sample.defects import with_mess
from orchestration.sample.lines import (
    CommentLine,
    Fields,
    SubmissionLine,
    comment_object,
    line_random,
    submission_object,
)
from orchestration.sample.mess import (
    COMMENT_PERIODS,
    SUBMISSION_PERIODS,
    Around,
    Mess,
    due,
)
from orchestration.sample.parallel import Mapper
from orchestration.sample.people import user_name
from orchestration.sample.plan import NO_ROW, World, older_submission

Fates = Counter[tuple[str, str, str]]
"""(fate, reason, kind of mess) -> lines."""

_CHUNK_ROWS = 4096
_ANSWER_SHARE = 0.35  # Of comments that answer a comment, not the submission.
# As the monthly files of 2019 were written: readers that do not allow a 2 GiB window fail.
_WINDOW_LOG = 31
_LEVEL = 3


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Rows of one dump.

    Args:
        seed, users: Of the world.
        first_row: Position of the first line in the dump, mess left out.
        lines: What the lines are made from.
    """

    seed: int
    users: int
    first_row: int
    lines: Sequence[SubmissionLine | CommentLine]


def write_dumps(
    world: World, folder: Path, map_in_order: Mapper, on_rows: Callable[[int], None]
) -> dict[str, Fates]:
    """Write `RS_` and `RC_` of every month; returns what must become of the lines of each.

    Args:
        world: The plan.
        folder: Where the dumps go.
        map_in_order: Runs `render` on chunks, results in the order of the chunks.
        on_rows: Told how many rows were written.
    """
    files: dict[str, Fates] = {}
    for month in world.config.months:
        for name, chunks in (
            (f"RS_{month}.zst", _submission_chunks(world, month)),
            (f"RC_{month}.zst", _comment_chunks(world, month)),
        ):
            files[name] = Counter()
            with _zst_writer(folder / name) as writer:
                for data, fates, rows in map_in_order(render, chunks):
                    writer.write(data)
                    files[name].update(fates)
                    on_rows(rows)
    return files


def render(chunk: Chunk) -> tuple[bytes, Fates, int]:
    """The lines of a chunk, what must become of them, and the number of its rows."""
    parts: list[bytes] = []
    fates: Fates = Counter()
    for row, line in enumerate(chunk.lines, start=chunk.first_row):
        fields, kinds = _object(line, chunk.seed, row)
        rng = line_random(chunk.seed, -line.number)
        other = user_name(chunk.seed, rng.randrange(chunk.users))
        around = Around(line.subreddit, other, rng)
        for result in with_mess(fields, kinds, around):
            parts += (result.data, b"\n")
            fates[result.fate, result.reason, result.kind.value] += 1
    return b"".join(parts), fates, len(chunk.lines)


def _object(line: SubmissionLine | CommentLine, seed: int, row: int) -> tuple[Fields, list[Mess]]:
    if isinstance(line, SubmissionLine):
        return submission_object(line, seed), due(row, SUBMISSION_PERIODS)
    return comment_object(line, seed), due(row, COMMENT_PERIODS)


def _zst_writer(path: Path) -> zstandard.ZstdCompressionWriter:
    """One frame with the window, the checksum and the unknown length of the original files.

    Takes memory for the window or for all lines of the file, whichever is less.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, window_log=_WINDOW_LOG, write_checksum=True, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return compressor.stream_writer(path.open("wb"))


def _rows(acts: Acts, month: str) -> range:
    """Rows of a month; acts are in order of time."""
    first, after = np.searchsorted(acts.created_utc, month_bounds(month))
    return range(int(first), int(after))


def _submission_chunks(world: World, month: str) -> Iterator[Chunk]:
    return _chunks(world, _rows(world.submissions, month), lambda row: _submission(world, row))


def _comment_chunks(world: World, month: str) -> Iterator[Chunk]:
    rng = np.random.default_rng([world.config.seed, 5, month_bounds(month)[0]])
    rows = _rows(world.comments, month)
    answers = rng.random(len(rows)) < _ANSWER_SHARE
    return _chunks(world, rows, lambda row: _comment(world, row, bool(answers[row - rows.start])))


def _chunks(
    world: World, rows: range, line: Callable[[int], SubmissionLine | CommentLine]
) -> Iterator[Chunk]:
    for start in range(0, len(rows), _CHUNK_ROWS):
        yield Chunk(
            seed=world.config.seed,
            users=world.config.users,
            first_row=start,
            lines=[line(row) for row in rows[start : start + _CHUNK_ROWS]],
        )


def _submission(world: World, row: int) -> SubmissionLine:
    acts, number = world.submissions, int(world.submission_ids[row])
    post = world.posts[acts.post[row]] if acts.post[row] >= 0 else None
    return SubmissionLine(
        number=number,
        act=Act(acts.act[row]),
        author=world.people[acts.user[row]].name,
        subreddit=world.subreddits[acts.subreddit[row]],
        created_utc=int(acts.created_utc[row]),
        post=post,
        parent=_parent(world, post),
    )


def _parent(world: World, post: Post | None) -> SubmissionLine | None:
    if post is None or post.parent < 0:
        return None
    return _submission(world, int(world.post_rows[post.parent]))


def _comment(world: World, row: int, answers: bool) -> CommentLine:
    acts, number, link = world.comments, int(world.comment_ids[row]), int(world.links[row])
    on_dumped = link != NO_ROW
    user = int(acts.user[row])
    return CommentLine(
        number=number,
        author=world.people[user].name,
        subreddit=world.subreddits[acts.subreddit[row]],
        created_utc=int(acts.created_utc[row]),
        link=int(world.submission_ids[link]) if on_dumped else older_submission(number),
        parent=int(world.comment_ids[row // 2]) if answers else None,
        is_submitter=on_dumped and int(world.submissions.user[link]) == user,
    )
