"""Step ingest: the dumps of one month -> SUBMISSIONS, COMMENTS, MEDIA, REJECTS.

A file is one stream, so reading is one element a file; parsing is spread over batches of lines
behind it; all versions of an id meet in one shard, which is sorted and written.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.config import BeamResources, IngestConfig
from pipelines.containers import CorruptDumpError, read_batches
from pipelines.contract import ConfigError, Counts, MissingInputError, Run, Table
from pipelines.dumps import Dump, Kind, discover
from pipelines.engine import (
    load_all,
    note,
    pipeline,
    progress_from,
    save_all,
    worth_spreading,
)
from pipelines.frames import from_bytes, to_bytes, to_table
from pipelines.pseudonym import Pseudonyms
from pipelines.quiet_beam import beam
from pipelines.rows import Parsed, Tally, parse_batch, total, winners
from pipelines.tables import COMMENTS, MEDIA, REJECTS, SUBMISSIONS
from pipelines.urls import image_id

# A shard is sorted in memory: about 1 GB of rows for this much zstd.
SHARD_BYTES = 128 << 20
# Rows gathered before they are split into shards, so that the pieces of a large month stay large.
FLUSH_BYTES = 64 << 20
TABLES = (SUBMISSIONS, COMMENTS, MEDIA, REJECTS)
_TABLE_OF_KIND = {"RS": SUBMISSIONS, "RC": COMMENTS}

Lines = tuple[int, Dump, int, bytes]
"""Position of the dump, dump, number of the first line, whole lines."""


class ReadLines(beam.DoFn):
    """(position, dump) -> batches of whole lines; what is corrupt goes to `corrupt` as an error."""

    def __init__(self, progress: Path) -> None:
        self._progress = progress

    def process(self, element: tuple[int, Dump]) -> Iterator[Any]:
        position, dump = element
        done = note(self._progress, f"{position}-{dump.kind}")
        try:
            for batch in read_batches(Path(dump.path)):
                done(batch.offset_bytes)
                yield position, dump, batch.first_line, batch.data
        except CorruptDumpError as error:
            yield beam.pvalue.TaggedOutput("corrupt", error)
        done(dump.size_bytes)


class ParseLines(beam.DoFn):
    """Batches of lines -> (shard, rows as Arrow bytes), and a tally of each bundle in `tally`."""

    def __init__(self, config: IngestConfig, num_shards: int) -> None:
        self._config = config
        self._num_shards = num_shards

    def setup(self) -> None:
        self._pseudonyms = Pseudonyms.from_file(self._config.key_file)

    def start_bundle(self) -> None:
        self._tallies: list[Tally] = []
        self._gathered: dict[str, list[pl.DataFrame]] = {}
        self._gathered_bytes = 0.0

    def process(self, element: Lines) -> Iterator[tuple[str, bytes]]:
        position, dump, first_line, data = element
        parsed = parse_batch(
            dump.kind,
            data,
            first_line,
            dump=(position, dump.label),
            config=self._config,
            pseudonyms=self._pseudonyms,
        )
        self._gather(dump.kind, parsed)
        if self._gathered_bytes > FLUSH_BYTES:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        windowed = beam.transforms.window.GlobalWindows.windowed_value
        for keyed in self._flush():
            yield windowed(keyed)
        yield beam.pvalue.TaggedOutput("tally", windowed(total(self._tallies)))

    def _gather(self, kind: Kind, parsed: Parsed) -> None:
        self._tallies.append(parsed.tally)
        for name, frame in (
            (_TABLE_OF_KIND[kind].name, parsed.versions),
            (REJECTS.name, parsed.rejects),
        ):
            if frame.height:
                self._gathered.setdefault(name, []).append(frame)
                self._gathered_bytes += frame.estimated_size()

    def _flush(self) -> Iterator[tuple[str, bytes]]:
        for name, frames in self._gathered.items():
            frame = pl.concat(frames, how="diagonal")
            if name == REJECTS.name:
                yield f"{name}/0", to_bytes(frame)
                continue
            shard = (pl.col("id") % self._num_shards).alias("shard")
            for (number,), rows in (
                frame.with_columns(shard)
                .partition_by("shard", as_dict=True, include_key=False)
                .items()
            ):
                yield f"{name}/{number}", to_bytes(rows)
        self._gathered, self._gathered_bytes = {}, 0.0


class WriteShard(beam.DoFn):
    """(shard, its rows) -> files of the tables; yields the tally of what was written."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[Tally]:
        key, parts = element
        name, _, number = key.partition("/")
        rows, part = from_bytes(parts), f"part-{int(number):05}"
        if name == REJECTS.name:
            self._write(REJECTS, rows.sort("dump", "line_number"), part)
            return
        latest, tally = winners(rows)
        if name == SUBMISSIONS.name:
            media = media_rows(latest)
            self._write(SUBMISSIONS, latest.rename({"id": "submission_id"}), part)
            self._write(MEDIA, media, part)
            other = {"submissions": latest.height, "media": media.height}
        else:
            self._write(COMMENTS, latest.rename({"id": "comment_id"}), part)
            other = {"comments": latest.height}
        yield Tally(tally.rows_in, tally.rows_out, tally.rejected, tally.dropped, other)

    def _write(self, table: Table, rows: pl.DataFrame, part: str) -> None:
        table.write(self._folders[table.name], to_table(rows, table), part)


def media_rows(submissions: pl.DataFrame) -> pl.DataFrame:
    """Rows of MEDIA from submissions with nested `media`, in order of submission and position."""
    listed = submissions.filter(pl.col("media").list.len() > 0).select(
        pl.col("id").alias("submission_id"), "user_id", "subreddit", "created_utc", "media"
    )
    one_each = listed.explode("media").unnest("media")
    return one_each.with_columns(
        pl.int_range(pl.len()).over("submission_id").cast(pl.Int16).alias("position"),
        pl.Series("image_id", [image_id(url) for url in one_each["url"]], pl.String()),
    )


def ingest(config: IngestConfig, resources: BeamResources, run: Run) -> Counts:
    """Step: the dumps of `run.month` -> SUBMISSIONS, COMMENTS, MEDIA, REJECTS.

    Returns:
        Counts over the lines that are not blank. Metrics: bytes and dumps read, corrupt dumps,
        blank lines, lines with CR LF, albums that no preview stands for.

    Raises:
        MissingInputError: No dump of the month, or no key file.
        CorruptDumpError: A dump is cut or damaged and config.on_corrupt is "fail".
    """
    dumps = _dumps_of(config, run)
    Pseudonyms.from_file(config.key_file)
    num_bytes = sum(dump.size_bytes for dump in dumps)
    work = run.staged(SUBMISSIONS).parent / "_work"
    folders = {table.name: run.staged(table) for table in TABLES}
    shutil.rmtree(work, ignore_errors=True)
    with progress_from(work / "progress", run, num_bytes, "bytes"):
        _run_pipeline(config, resources, dumps, folders, work)
    tally, corrupt = _outcome(work)
    shutil.rmtree(work)
    if corrupt and config.on_corrupt == "fail":
        raise corrupt[0]
    for table in TABLES:
        if not any(folders[table.name].iterdir()):
            table.write(folders[table.name], table.empty(), "part-00000")
    other = dict(tally.other)
    written = {table.name: other.pop(table.name, 0) for table in (SUBMISSIONS, COMMENTS, MEDIA)}
    written[REJECTS.name] = sum(tally.rejected.values())
    metrics = {"bytes_read": num_bytes, "dumps": len(dumps), "corrupt_dumps": len(corrupt), **other}
    return Counts(
        rows_in=tally.rows_in,
        rows_out=tally.rows_out,
        rejected=tally.rejected,
        dropped=tally.dropped,
        written=written,
        metrics=metrics,
    ).assert_balanced()


def _dumps_of(config: IngestConfig, run: Run) -> list[Dump]:
    by_month = discover(config.inputs)
    if run.month is None:
        raise ConfigError(f"run.month=None: expected one of {', '.join(by_month)}")
    if run.month not in by_month:
        raise MissingInputError(
            f"no dumps of month {run.month!r} in {config.inputs}; there are {', '.join(by_month)}"
        )
    return by_month[run.month]


def _run_pipeline(
    config: IngestConfig,
    resources: BeamResources,
    dumps: list[Dump],
    folders: dict[str, Path],
    work: Path,
) -> None:
    num_shards = 1 + sum(dump.size_bytes for dump in dumps) // SHARD_BYTES
    with pipeline(resources, work / "workers.log") as root:
        files = root | "Dumps" >> beam.Create(list(enumerate(dumps)), reshuffle=len(dumps) > 1)
        read = files | "Read" >> beam.ParDo(ReadLines(work / "progress")).with_outputs(
            "corrupt", main="lines"
        )
        lines = read.lines
        if worth_spreading(resources, len(dumps)):
            lines = lines | "Spread" >> beam.Reshuffle()
        parsed = lines | "Parse" >> beam.ParDo(ParseLines(config, num_shards)).with_outputs(
            "tally", main="rows"
        )
        written = (
            parsed.rows | "Shards" >> beam.GroupByKey() | "Write" >> beam.ParDo(WriteShard(folders))
        )
        tallies = (parsed.tally, written) | "Tallies" >> beam.Flatten()
        save_all(tallies, work / "tallies")
        save_all(read.corrupt, work / "corrupt")


def _outcome(work: Path) -> tuple[Tally, list[CorruptDumpError]]:
    corrupt: list[CorruptDumpError] = load_all(work / "corrupt")
    return total(load_all(work / "tallies")), sorted(corrupt, key=lambda error: error.path)
