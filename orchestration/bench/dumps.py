"""What ingest makes of every file of a folder: lines, rows, and the rest by reason and rule."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.config import BeamResources, IngestConfig
from pipelines.contract import Counts, Run
from pipelines.dumps import discover
from pipelines.ingest import ingest

NO_KEY = secrets.token_bytes(32)


def file_counts(folder: Path) -> Iterator[tuple[str, Counts]]:
    """Each dump below a folder, by its path in it, and what ingest counted in it alone."""
    found = discover([str(folder)])
    dumps = sorted((dump for month in found.values() for dump in month), key=lambda d: d.path)
    for dump in dumps:
        with TemporaryDirectory() as work:
            key = Path(work) / "key"
            key.write_bytes(NO_KEY)
            config = IngestConfig(inputs=(dump.path,), key_file=str(key), on_corrupt="keep")
            run = Run(root=Path(work), month=dump.month, staging=Path(work) / "staging")
            counts = ingest(config, BeamResources(), run)
        yield str(Path(dump.path).relative_to(folder.resolve())), replace(counts, notes={})


def main(
    folder: Annotated[Path, typer.Argument(help="Dumps; folders in it too.")],
    out: Annotated[Path, typer.Option(help="Where to write the counts.")] = Path(
        "runs/bench/dumps.json"
    ),
) -> None:
    """Print one row a dump: lines, rows, rejects by reason, drops by rule; write them as JSON."""
    found = dict(file_counts(folder))
    Console().print(counts_table(found))
    out.parent.mkdir(parents=True, exist_ok=True)
    told = {name: _as_json(counts) for name, counts in found.items()}
    out.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


def counts_table(found: Mapping[str, Counts]) -> Table:
    """One row a dump."""
    table = Table("dump", "lines", "rows", "rejected", "dropped")
    for name, counts in found.items():
        numbers = (f"{counts.rows_in:,}", f"{counts.rows_out:,}")
        table.add_row(name, *numbers, _told(counts.rejected), _told(counts.dropped))
    return table


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items())) or "-"


def _as_json(counts: Counts) -> dict[str, Any]:
    return {
        "lines": counts.rows_in,
        "rows": counts.rows_out,
        "rejected": dict(counts.rejected),
        "dropped": dict(counts.dropped),
    }


if __name__ == "__main__":
    typer.run(main)
