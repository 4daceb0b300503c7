"""`make fuzz-ingest`: mutated lines and files through the step, beside the plain-Python parser.

Nothing may crash, every line that is not blank is accounted for, both parsers agree on every row
and every reason, and damage to a file is reported. Deterministic by seed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.progress import track

from orchestration.bench.months import line_chunks
from orchestration.bench.vocabulary import base36_many
from pipelines.config import BeamResources, IngestConfig
from pipelines.containers import CorruptDumpError
from pipelines.contract import Counts, Run
from pipelines.dumps import Kind
from pipelines.ingest import ingest
from pipelines.tables import COMMENTS, REJECTS, SUBMISSIONS
from tests.pipelines.mutations import Container, mutated, mutated_container
from tests.pipelines.reference import UnreadableError, ingest_all, read_line

KEY = b"a key for the tests alone"
MONTH = "2025-12"
UTF8_BOM = b"\xef\xbb\xbf"  # Dropped at the start of a file, no JSON anywhere else.
BLOCK_LINES = 20_000
BYTES_PER_LINE = {"RC": 1_900, "RS": 4_600}
KINDS: tuple[Kind, ...] = ("RC", "RS")


def check_lines(kind: Kind, num_lines: int, seed: int, work: Path) -> Counts:
    """Mutate so many generated lines and ingest them.

    Raises:
        AssertionError: A line is unaccounted for, or the parsers differ; says where.
    """
    made = chain.from_iterable(line_chunks(kind, num_lines * BYTES_PER_LINE[kind], seed))
    data = b"\n".join(mutated(list(made)[:num_lines], seed))
    counts, run = ingest_bytes(data, f"{kind}_{MONTH}.ndjson", work)
    lines = data.removeprefix(UTF8_BOM).split(b"\n")
    assert counts.rows_in == sum(bool(line.strip()) for line in lines)
    counts.assert_balanced()
    compare(kind, lines, counts, run)
    return counts


def compare(kind: Kind, lines: list[bytes], counts: Counts, run: Run) -> None:
    """Rows, rejects and drops of the step against those of `reference`.

    Raises:
        AssertionError: They differ; shows the first few lines on which they do.
    """
    expected = ingest_all([(kind, lines)], KEY)
    found = staged(REJECTS, run).sort("line_number")
    rejects = dict(found.select("line_number", "reason").rows())
    if dict(counts.rejected) != dict(expected.rejected):
        raise AssertionError("rejects differ:\n" + _differing(kind, lines, rejects))
    table, key = (COMMENTS, "comment_id") if kind == "RC" else (SUBMISSIONS, "submission_id")
    rows = {row[key]: row for row in staged(table, run).to_dicts()}
    wanted = expected.comments if kind == "RC" else expected.submissions
    unequal = sorted(rows.keys() ^ wanted.keys())[:3]
    assert not unequal, f"only one parser keeps {unequal}: {_with_ids(lines, unequal)}"
    for number, row in wanted.items():
        unlike = {name: (rows[number][name], value) for name, value in row.items()
                  if rows[number][name] != value}  # fmt: skip
        assert not unlike, f"rows of id {number} differ, ours and expected: {unlike}"
    assert dict(counts.dropped) == dict(expected.dropped), "drops differ"


def _with_ids(lines: list[bytes], numbers: list[int]) -> list[bytes]:
    ids = [base36_many(np.array([number]), 13)[0].lstrip(b"0") for number in numbers]
    return [line for line in lines if any(b'"%b"' % found in line for found in ids)][:5]


def _differing(kind: Kind, lines: list[bytes], rejects: dict[int, str]) -> str:
    told = []
    for number, line in enumerate(lines, 1):
        wanted = None
        if line.strip():
            try:
                read_line(line, kind)
            except UnreadableError as reason:
                wanted = str(reason)
        if rejects.get(number) != wanted:
            told.append(
                f"line {number}: {rejects.get(number)}, expected {wanted}: {line[:3_000]!r}"
            )
    return "\n".join(told[:5])


def check_container(container: Container, raw: bytes, work: Path) -> str:
    """Ingest a mutated file by both policies; returns `corrupt` or `whole`.

    Raises:
        AssertionError: A line is unaccounted for, or damage is not reported.
    """
    name = f"RC_{MONTH}{container.suffix}"
    counts, _ = ingest_bytes(container.data, name, work, on_corrupt="keep")
    counts.assert_balanced()
    is_corrupt = counts.metrics["corrupt_dumps"] == 1
    if container.is_corrupt is not None:
        assert is_corrupt == container.is_corrupt, f"{container.kind}{container.suffix}"
    num_lines = sum(bool(line.strip()) for line in raw.split(b"\n"))
    if not is_corrupt:
        assert counts.rows_in == num_lines * container.num_copies
    elif container.kind == "cut":
        assert counts.rows_in <= num_lines and counts.rows_rejected <= 1
    try:
        ingest_bytes(container.data, name, work, on_corrupt="fail")
    except CorruptDumpError as error:
        assert is_corrupt, error
        assert 0 <= error.damages[0].offset_bytes <= len(container.data)
    else:
        assert not is_corrupt
    return "corrupt" if is_corrupt else "whole"


def ingest_bytes(
    data: bytes, name: str, work: Path, on_corrupt: Any = "fail"
) -> tuple[Counts, Run]:
    """The step on one file of these bytes, in a folder that is emptied first."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "key").write_bytes(KEY)
    (work / name).write_bytes(data)
    inputs = (str(work / name),)
    config = IngestConfig(inputs=inputs, key_file=str(work / "key"), on_corrupt=on_corrupt)
    run = Run(root=work / "run", month=MONTH, staging=work / "staging")
    return ingest(config, BeamResources(), run), run


def staged(table: Any, run: Run) -> pl.DataFrame:
    """What the step wrote of a table."""
    return pl.read_parquet(run.staged(table) / "*.parquet")


def some_lines(num_lines: int, seed: int) -> bytes:
    """Generated comments, as the containers hold them."""
    made = chain.from_iterable(line_chunks("RC", num_lines * BYTES_PER_LINE["RC"], seed))
    return b"\n".join(list(made)[:num_lines]) + b"\n"


def main(
    num_lines: Annotated[int, typer.Option("--lines", help="Mutated lines.")] = 1_000_000,
    num_containers: Annotated[int, typer.Option("--containers", help="Mutated files.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides every mutation.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for fuzz.json.")] = Path("runs/bench"),
) -> None:
    """Fuzz the step; ends with an error at the first line or file that is treated wrongly."""
    start, total, containers = time.perf_counter(), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        blocks = range(0, num_lines, BLOCK_LINES)
        for number, first in enumerate(track(blocks, description="lines")):
            size = min(BLOCK_LINES, num_lines - first)
            counts = check_lines(KINDS[number % 2], size, seed + number, work)
            total.update(lines=counts.rows_in, rows=counts.rows_out)
            total.update({f"rejected {reason}": n for reason, n in counts.rejected.items()})
            total.update({f"dropped {rule}": n for rule, n in counts.dropped.items()})
        raw = some_lines(300, seed)
        for number in track(range(num_containers), description="files"):
            container = mutated_container(raw, seed + number)
            containers[f"{container.kind} {check_container(container, raw, work)}"] += 1
    found = {"lines": dict(total), "containers": dict(containers), "seed": seed}
    found["seconds"] = time.perf_counter() - start
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=2, sort_keys=True)
    (out / "fuzz.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
