"""What the commands print. Each function takes a root or profile and a console."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from orchestration.flow import FLOW
from orchestration.manifests import published
from orchestration.profiles import Profile
from orchestration.progress import quantity
from orchestration.runner import tasks
from pipelines.contract import MissingInputError, Run
from pipelines.dumps import discover


def show_status(root: Path, console: Console) -> None:
    """One row a finished step and month; below, what is missing of their inputs.

    Raises:
        MissingInputError: Nothing was ever run under `root`.
    """
    run = Run(root=root)
    if not (root / "manifests").is_dir():
        raise MissingInputError(f"no run at {root}: start one with `tastegraph run` or `sample`")
    table = Table(Column("step", no_wrap=True), Column("month", no_wrap=True))
    for name in ("rows in", "rows out", "rejected", "dropped", "s", "GiB"):
        table.add_column(name, justify="right")
    notes: list[str] = []
    for step in FLOW:
        for month, manifest in published(run, step.name).items():
            counts = manifest.counts
            table.add_row(
                step.name,
                month,
                *(quantity(n) for n in (counts.rows_in, counts.rows_out)),
                *(quantity(n) for n in (counts.rows_rejected, counts.rows_dropped)),
                f"{manifest.seconds:.1f}",
                f"{manifest.peak_rss_bytes / 2**30:.2f}",
            )
            notes += [f"{step.name} {month}: {name}: {note}" for name, note in counts.notes.items()]
        if not published(run, step.name):
            table.add_row(step.name, "-", *["-"] * 6, style="dim")
    console.print(table)
    for note in notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def show_plan(profile: Profile, console: Console) -> None:
    """One row a task: would it run, and why. A task downstream of one that runs may run as well."""
    run = Run(root=profile.root)
    dumps = discover(profile.ingest.inputs, profile.beam.options)
    table = Table(Column("step", no_wrap=True), "month", "would run", "because")
    stale: set[str] = set()
    for step in FLOW:
        upstream = stale & {s.name for s in FLOW if {w.name for w in s.writes} & _reads(step.name)}
        for task in tasks(step, profile, run, dumps):
            reason = task.reason or (f"after {', '.join(sorted(upstream))}" if upstream else None)
            if reason:
                stale.add(step.name)
            table.add_row(step.name, task.key, "yes" if reason else "no", reason or "done")
    console.print(table)


def _reads(name: str) -> set[str]:
    return {table.name for step in FLOW if step.name == name for table in step.reads}
