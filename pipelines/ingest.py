"""Step ingest: the dumps of one month -> SUBMISSIONS, COMMENTS, MEDIA, REJECTS.

A file is one stream, so it is one element: one worker reads it, parses its lines on several threads
and spills what it parsed. Then the files of the tables are planned, and each is merged from the
spills by one worker (`pipelines.spill`). Spills lie beside the tables, where all workers see them.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.config import BeamResources, IngestConfig
from pipelines.containers import CorruptDumpError, LineBatch, read_batches
from pipelines.contract import ConfigError, Counts, MissingInputError, Run, Table
from pipelines.dumps import Dump, discover
from pipelines.engine import FileNote, file_progress_from, load_all, pipeline, save_all
from pipelines.frames import to_table
from pipelines.native.blake2 import hex_hashes
from pipelines.native.parser import LineParser
from pipelines.pseudonym import Pseudonyms
from pipelines.quiet_beam import GlobalWindows, beam
from pipelines.rows import Parsed, Tally, total, with_cut_lines
from pipelines.spill import Part, Spiller, merged, plan
from pipelines.tables import COMMENTS, MEDIA, REJECTS, SUBMISSIONS
from pipelines.urls import IMAGE_ID_BYTES

# Bytes of lines parsed together: what a batch costs besides its lines is a tenth of it then.
BATCH_BYTES = 32 << 20
TABLES = (SUBMISSIONS, COMMENTS, MEDIA, REJECTS)


class ReadDump(beam.DoFn):
    """(position, dump) -> its spills; in `tally` what became of its lines, in `corrupt` errors."""

    def __init__(
        self,
        config: IngestConfig,
        resources: BeamResources,
        threads: int,
        folders: dict[str, Path],
    ) -> None:
        self._config = config
        self._options = resources.options
        self._threads = threads
        self._folders = folders

    def setup(self) -> None:
        self._pseudonyms = Pseudonyms.from_file(self._config.key_file)

    def process(self, element: tuple[int, Dump]) -> Iterator[Any]:
        position, dump = element
        name = f"{position}-{dump.kind}"
        note = FileNote(self._folders["progress"], name, dump.label, dump.size_bytes)
        spiller = Spiller(self._folders["spills"], position, dump.kind)
        tallies: list[Tally] = []
        with REJECTS.writer(
            self._folders[REJECTS.name], f"part-{position:05}", REJECTS.key
        ) as reject:
            try:
                for batch, parsed in self._parsed(position, dump):
                    spiller.add(parsed.versions)
                    tallies.append(parsed.tally)
                    if parsed.rejects.height:
                        reject(to_table(parsed.rejects.sort("line_number"), REJECTS))
                    note.read(batch.offset_bytes, batch.first_line - 1 + batch.num_lines)
            except CorruptDumpError as error:
                yield beam.pvalue.TaggedOutput("corrupt", error)
            spills = spiller.finish()
        note.finish()
        yield from spills
        yield beam.pvalue.TaggedOutput("tally", total(tallies))

    def _parsed(self, position: int, dump: Dump) -> Iterator[tuple[LineBatch, Parsed]]:
        """Batches of the dump, parsed, in its order; parsing runs ahead on all threads."""
        parsers = local()

        def parse(batch: LineBatch) -> Parsed:
            if not hasattr(parsers, "parser"):
                parsers.parser = LineParser(dump.kind, self._config, self._pseudonyms)
            parser: LineParser = parsers.parser
            parsed = parser.parse(batch.view, batch.first_line, (position, dump.label))
            return with_cut_lines(parsed, batch.cut_lines) if batch.cut_lines else parsed

        batches = read_batches(
            dump.path,
            BATCH_BYTES,
            options=self._options,
            past_damage=self._config.on_corrupt == "keep",
        )
        waiting: deque[tuple[LineBatch, Future[Parsed]]] = deque()
        failure: CorruptDumpError | None = None
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for batch in batches:
                    waiting.append((batch, pool.submit(parse, batch)))
                    if len(waiting) > self._threads:
                        yield _finished(waiting)
            except CorruptDumpError as error:
                failure = error
            while waiting:
                yield _finished(waiting)
        if failure is not None:
            raise failure


def _finished(waiting: deque[tuple[LineBatch, Future[Parsed]]]) -> tuple[LineBatch, Parsed]:
    batch, parsed = waiting.popleft()
    return batch, parsed.result()


class WritePart(beam.DoFn):
    """A part -> its file of each table; yields the tally of what was written.

    The parts of a bundle are written side by side: a part alone does not keep two cores busy.
    """

    def __init__(self, folders: dict[str, Path], threads: int) -> None:
        self._folders = folders
        self._threads = threads

    def start_bundle(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads)
        self._writing: list[Future[Tally]] = []

    def process(self, part: Part) -> None:
        self._writing.append(self._pool.submit(_write, part, self._folders))

    def finish_bundle(self) -> Iterator[Any]:
        with self._pool:
            for tally in self._writing:
                yield GlobalWindows.windowed_value(tally.result())


def _write(part: Part, folders: Mapping[str, Path]) -> Tally:
    """Write a part's file of each table."""
    tables = (SUBMISSIONS, MEDIA) if part.kind == "RS" else (COMMENTS,)
    name = f"part-{part.number:05}"
    with ExitStack() as stack:
        append = {
            table.name: stack.enter_context(table.writer(folders[table.name], name, table.key))
            for table in tables
        }

        def write(table: Table, rows: pl.DataFrame) -> Tally:
            frame = _rows_of(table, rows)
            if frame.height:
                append[table.name](to_table(frame, table))
            return Tally(other={table.name: frame.height})

        # One row group is merged while the one before it is compressed.
        pool = stack.enter_context(ThreadPoolExecutor(len(tables)))
        tallies: list[Tally] = []
        before: list[Future[Tally]] = []
        for rows, tally in merged(part):
            tallies += [tally, *(future.result() for future in before)]
            before = [pool.submit(write, table, rows) for table in tables]
        tallies += [future.result() for future in before]
    return total(tallies)


def _rows_of(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    if table is MEDIA:
        return media_rows(rows)
    return rows.rename({"id": table.key[0]})


def media_rows(submissions: pl.DataFrame) -> pl.DataFrame:
    """Rows of MEDIA from submissions with nested `media`, in order of submission and position."""
    listed = submissions.filter(pl.col("media").list.len() > 0).select(
        pl.col("id").alias("submission_id"), "user_id", "subreddit", "created_utc", "media"
    )
    one_each = listed.explode("media").unnest("media")
    return one_each.with_columns(
        pl.int_range(pl.len()).over("submission_id").cast(pl.Int16).alias("position"),
        _image_ids(one_each["url"]).alias("image_id"),
    )


def _image_ids(urls: pl.Series) -> pl.Series:
    """`urls.image_id` of each."""
    texts = urls.to_arrow()
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return urls.clear()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    hashes = hex_hashes(IMAGE_ID_BYTES, np.frombuffer(data, np.uint8), bounds)
    ends = np.arange(len(texts) + 1, dtype=np.int64) * hashes.shape[1]
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(hashes)]
    return pl.Series(pa.Array.from_buffers(pa.large_string(), len(texts), buffers))


def ingest(config: IngestConfig, resources: BeamResources, run: Run) -> Counts:
    """Step: the dumps of `run.month` -> SUBMISSIONS, COMMENTS, MEDIA, REJECTS.

    Returns:
        Counts over the lines that are not blank. Metrics: bytes and dumps read, corrupt dumps,
        blank lines, lines with CR LF, albums that no preview stands for.

    Raises:
        MissingInputError: No dump of the month, or no key file.
        CorruptDumpError: A dump is cut or damaged and config.on_corrupt is "fail".
    """
    dumps = _dumps_of(config, resources, run)
    Pseudonyms.from_file(config.key_file)
    num_bytes = sum(dump.size_bytes for dump in dumps)
    work = run.staged(SUBMISSIONS).parent / "_work"
    folders = {table.name: run.staged(table) for table in TABLES}
    folders |= {name: work / name for name in ("progress", "spills")}
    shutil.rmtree(work, ignore_errors=True)
    (work / "spills").mkdir(parents=True)
    with file_progress_from(work / "progress", run, num_bytes):
        _run_pipeline(config, resources, dumps, folders, work)
    tally, corrupt = _outcome(work)
    shutil.rmtree(work)
    if corrupt and config.on_corrupt == "fail":
        first, *others = corrupt
        too = tuple(other.path for other in others)
        raise CorruptDumpError(first.path, first.damages, first.lines_saved, too)
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
        notes={error.path: error.note for error in corrupt},
    ).assert_balanced()


def _dumps_of(config: IngestConfig, resources: BeamResources, run: Run) -> list[Dump]:
    by_month = discover(config.inputs, resources.options)
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
    read = ReadDump(config, resources, resources.threads_of(len(dumps)), folders)
    write = WritePart(folders, resources.threads_of(resources.workers))
    with pipeline(resources, work / "workers.log") as root:
        parsed = (
            root
            | "Dumps" >> beam.Create(list(enumerate(dumps)), reshuffle=len(dumps) > 1)
            | "Read" >> beam.ParDo(read).with_outputs("tally", "corrupt", main="spills")
        )
        spills = parsed.spills | "Spills" >> beam.combiners.ToList()
        parts = spills | "Plan" >> beam.FlatMap(plan) | "Parts" >> beam.Reshuffle()
        written = parts | "Write" >> beam.ParDo(write)
        tallies = (parsed.tally, written) | "Tallies" >> beam.Flatten()
        save_all(tallies, work / "tallies")
        save_all(parsed.corrupt, work / "corrupt")


def _outcome(work: Path) -> tuple[Tally, list[CorruptDumpError]]:
    corrupt: list[CorruptDumpError] = load_all(work / "corrupt")
    return total(load_all(work / "tallies")), sorted(corrupt, key=lambda error: error.path)
