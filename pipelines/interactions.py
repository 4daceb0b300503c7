"""Step interactions: SUBMISSIONS, COMMENTS of one month -> INTERACTIONS, SNIPPETS.

Row groups are reduced where they are read (map side); partial sums and the best few texts of each
user and subreddit are spilled to scratch disk in order of the users, beside the tables, where all
workers see them. Then each shard, a range of users, is merged from the spills by one worker: memory
is that of a shard, however long the month. The sums are in `pipelines.activity`.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pipelines.activity import (
    active,
    best_snippets,
    comment_actions,
    merged_activity,
    partial_activity,
    snippet_rows,
    submission_actions,
)
from pipelines.config import BeamResources, InteractionsConfig
from pipelines.contract import ConfigError, Counts, MissingInputError, Run, Table
from pipelines.engine import load_all, note, pipeline, progress_from, save_all
from pipelines.frames import mapped, to_table, write_scratch
from pipelines.quiet_beam import GlobalWindows, beam
from pipelines.tables import COMMENTS, INTERACTIONS, SNIPPETS, SUBMISSIONS

# A shard is summed and sorted in memory: about 1 GB for this many rows in, most of it snippets.
SHARD_ROWS = 4_000_000
# Rows gathered before they are sorted and spilled: the more, the fewer files a shard must open.
SPILL_BYTES = 128 << 20
# Of the first two characters of a user id, 32^2: shards are ranges of them, so that the files of a
# table follow each other in the order of the users.
_PREFIXES = 1024
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_COLUMNS = {
    SUBMISSIONS.name: ["submission_id", "user_id", "subreddit", "created_utc", "score"],
    COMMENTS.name: ["comment_id", "user_id", "subreddit", "created_utc", "score", "body"],
}
_COLUMNS[SUBMISSIONS.name] += ["title", "selftext"]

MINIMUM_ACTIVITY = "minimum_activity"

RowGroup = tuple[str, str, int]
"""Table name, file, number of the row group."""
Slice = tuple[str, int, int]
"""Rows of a spill: its file, the first, and the one after the last."""
_MERGE: Mapping[str, Callable[[pl.DataFrame, InteractionsConfig], pl.DataFrame]] = {
    INTERACTIONS.name: lambda partial, _: merged_activity(partial),
    SNIPPETS.name: lambda partial, config: best_snippets(partial, config.max_snippets),
}


@dataclass(frozen=True)
class Spill:
    """Partial rows of a table, in order of the users.

    Args:
        table: Whose rows they become.
        path: Arrow IPC file.
        bounds: Row where each shard begins, and the number of rows.
    """

    table: str
    path: str
    bounds: tuple[int, ...]


class Reduce(beam.DoFn):
    """A row group -> spills of what is left of many; number of rows read to `rows`."""

    def __init__(self, config: InteractionsConfig, num_shards: int, work: Path) -> None:
        self._config = config
        self._num_shards = num_shards
        self._work = work

    def start_bundle(self) -> None:
        self._kept: dict[str, list[pl.DataFrame]] = {name: [] for name in _MERGE}

    def process(self, element: RowGroup) -> Iterator[Any]:
        name, path, number = element
        table = pq.ParquetFile(path).read_row_group(number, columns=_COLUMNS[name])
        rows: pl.DataFrame = pl.DataFrame(table)
        actions = (submission_actions if name == SUBMISSIONS.name else comment_actions)(
            rows, self._config
        )
        self._kept[INTERACTIONS.name].append(partial_activity(actions.activity))
        self._kept[SNIPPETS.name].append(actions.snippets)
        for output, frames in self._kept.items():
            if sum(frame.estimated_size() for frame in frames) > SPILL_BYTES:
                yield self._spilled(output)
        note(self._work / "progress", f"{name}-{Path(path).stem}-{number}")(rows.height)
        yield beam.pvalue.TaggedOutput("rows", rows.height)

    def finish_bundle(self) -> Iterator[Any]:
        for output, frames in self._kept.items():
            if frames:
                yield GlobalWindows.windowed_value(self._spilled(output))

    def _spilled(self, output: str) -> Spill:
        rows = _MERGE[output](pl.concat(self._kept[output]), self._config)
        self._kept[output].clear()
        # A second attempt spills anew: only what an attempt that succeeded names is read.
        path = self._work / "spills" / f"{output}-{uuid.uuid4().hex}.arrow"
        write_scratch(rows, path)
        shards = rows.select(user_shard(pl.col("user_id"), self._num_shards)).to_series()
        bounds = shards.search_sorted(np.arange(self._num_shards + 1))
        return Spill(output, str(path), tuple(bounds.to_list()))


def shards_of(spills: Iterable[Spill]) -> Iterator[tuple[int, dict[str, list[Slice]]]]:
    """Numbers of the shards that have rows, and where these are, by table."""
    found: dict[int, dict[str, list[Slice]]] = {}
    for spill in sorted(spills, key=lambda spill: spill.path):
        for number, (begin, end) in enumerate(pairwise(spill.bounds)):
            if begin < end:
                shard = found.setdefault(number, {name: [] for name in _MERGE})
                shard[spill.table].append((spill.path, begin, end))
    yield from sorted(found.items())


def user_shard(user_id: pl.Expr, num_shards: int) -> pl.Expr:
    """Shard of a user id, in [0, num_shards), in the order of the ids.

    The ids are hashes, so their first ten bits are spread evenly.
    """
    digits = {character: value for value, character in enumerate(sorted(_BASE32))}
    high, low = (
        user_id.str.slice(i, 1).replace_strict(digits, default=0, return_dtype=pl.Int32)
        for i in (0, 1)
    )
    return (high * len(_BASE32) + low) * num_shards // _PREFIXES


class WriteShard(beam.DoFn):
    """A shard -> one file of each table; yields (name, number)s."""

    def __init__(self, config: InteractionsConfig, folders: dict[str, Path]) -> None:
        self._config = config
        self._folders = folders

    def process(self, shard: tuple[int, dict[str, list[Slice]]]) -> Iterator[tuple[str, int]]:
        number, slices = shard
        sums = self._merged(INTERACTIONS, slices[INTERACTIONS.name])
        activity, num_dropped = active(sums, self._config.min_actions)
        yield MINIMUM_ACTIVITY, num_dropped
        yield self._written(INTERACTIONS, activity, number)
        if slices[SNIPPETS.name]:
            best = self._merged(SNIPPETS, slices[SNIPPETS.name])
            of_active = best.join(activity, on="user_id", how="semi", maintain_order="left")
            yield self._written(SNIPPETS, snippet_rows(of_active), number)

    def _merged(self, table: Table, slices: list[Slice]) -> pl.DataFrame:
        parts = [mapped(path).slice(begin, end - begin) for path, begin, end in slices]
        # What is in one spill is merged already.
        return _MERGE[table.name](pl.concat(parts), self._config) if len(parts) > 1 else parts[0]

    def _written(self, table: Table, rows: pl.DataFrame, number: int) -> tuple[str, int]:
        if rows.height:
            table.write(self._folders[table.name], to_table(rows, table), f"part-{number:05}")
        return table.name, rows.height


def interactions(config: InteractionsConfig, resources: BeamResources, run: Run) -> Counts:
    """Step: SUBMISSIONS, COMMENTS of `run.month` -> INTERACTIONS, SNIPPETS.

    Returns:
        Rows in are submissions and comments; each is summed, or dropped with its user by the rule
        `minimum_activity`.

    Raises:
        MissingInputError: The month was not ingested.
    """
    if run.month is None:
        raise ConfigError("run.month=None: interactions are made month by month; name one")
    groups = [group for table in (SUBMISSIONS, COMMENTS) for group in _row_groups(table, run)]
    num_rows = sum(rows for _, rows in groups)
    folders = {table.name: run.staged(table) for table in (INTERACTIONS, SNIPPETS)}
    work = run.staged(INTERACTIONS).parent / "_work"
    shutil.rmtree(work, ignore_errors=True)
    with progress_from(work / "progress", run, num_rows, "rows"):
        _run_pipeline(config, resources, groups, folders, work)
    rows_read = sum(load_all(work / "rows"))
    written = {INTERACTIONS.name: 0, SNIPPETS.name: 0, MINIMUM_ACTIVITY: 0}
    for name, number in load_all(work / "written"):
        written[name] += number
    num_dropped = written.pop(MINIMUM_ACTIVITY)
    shutil.rmtree(work)
    for table in (INTERACTIONS, SNIPPETS):
        if not written[table.name]:
            table.write(folders[table.name], table.empty(), "part-00000")
    dropped = {MINIMUM_ACTIVITY: num_dropped} if num_dropped else {}
    counts = Counts(
        rows_in=num_rows, rows_out=rows_read - num_dropped, dropped=dropped, written=written
    )
    return counts.assert_balanced()


def _run_pipeline(
    config: InteractionsConfig,
    resources: BeamResources,
    groups: Sequence[tuple[RowGroup, int]],
    folders: dict[str, Path],
    work: Path,
) -> None:
    num_shards = min(_PREFIXES, 1 + sum(rows for _, rows in groups) // SHARD_ROWS)
    (work / "spills").mkdir(parents=True)
    reduce = Reduce(config, num_shards, work)
    with pipeline(resources, work / "workers.log") as root:
        read = root | "Row groups" >> beam.Create([group for group, _ in groups])
        reduced = read | "Reduce" >> beam.ParDo(reduce).with_outputs("rows", main="spills")
        spills = reduced.spills | "Spills" >> beam.combiners.ToList()
        shards = spills | "Plan" >> beam.FlatMap(shards_of) | "Shards" >> beam.Reshuffle()
        written = shards | "Write" >> beam.ParDo(WriteShard(config, folders))
        save_all(reduced.rows, work / "rows")
        save_all(written, work / "written")


def _row_groups(table: Table, run: Run) -> list[tuple[RowGroup, int]]:
    """Row groups of the table's month with their rows; empty ones are left out."""
    files = table.files(run)
    if not files:
        raise MissingInputError(
            f"table {table.name!r} not found at {table.path(run)}; run the step ingest first"
        )
    found = []
    for file in files:
        metadata = pq.read_metadata(file)
        for number in range(metadata.num_row_groups):
            rows = metadata.row_group(number).num_rows
            if rows:
                found.append(((table.name, str(file), number), rows))
    return found
