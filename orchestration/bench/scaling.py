"""Time of the step interactions as its input grows: 1x, 2x, 4x as many submissions and comments."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from orchestration.bench.months import MONTH, ensure_month
from pipelines.config import BeamResources, IngestConfig, InteractionsConfig
from pipelines.contract import Run
from pipelines.ingest import ingest
from pipelines.interactions import interactions
from pipelines.tables import COMMENTS, SUBMISSIONS

FACTORS = (1, 2, 4)


@dataclass(frozen=True, kw_only=True)
class Point:
    """The step at one size.

    Args:
        factor: How many times the smallest input.
        rows_in: Submissions and comments.
        seconds: Of the whole step, with the start of Beam.
    """

    factor: int
    rows_in: int
    seconds: float


def interactions_scaling(
    raw_bytes: int, seed: int, workers: int, months: Path, work: Path
) -> list[Point]:
    """The step `interactions` on months of 1, 2 and 4 times `raw_bytes` each of RC and RS.

    Args:
        raw_bytes: Of each month, uncompressed, at factor 1.
        seed: Of the months.
        workers: Processes of Beam.
        months: Folder of generated months.
        work: Folder for tables; removed at the end.
    """
    return [_point(factor, raw_bytes * factor, seed, workers, (months, work)) for factor in FACTORS]


def _point(
    factor: int, raw_bytes: int, seed: int, workers: int, folders: tuple[Path, Path]
) -> Point:
    months, work = folders
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    key = work / "key"
    key.write_bytes(b"key of the benchmark, not secret")
    made = [ensure_month(kind, raw_bytes, seed, months) for kind in ("RC", "RS")]
    config = IngestConfig(inputs=tuple(str(month.path) for month in made), key_file=str(key))
    run = Run(root=work / "run", month=MONTH, staging=work / "staging")
    resources = BeamResources(workers=workers)
    ingest(config, resources, run)
    for table in (SUBMISSIONS, COMMENTS):
        table.path(run).parent.mkdir(parents=True)
        run.staged(table).rename(table.path(run))
    start = time.perf_counter()
    counts = interactions(InteractionsConfig(), resources, run)
    seconds = time.perf_counter() - start
    shutil.rmtree(work)
    return Point(factor=factor, rows_in=counts.rows_in, seconds=seconds)
