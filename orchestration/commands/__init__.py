"""What the commands print. Each function takes a root or profile and a console."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from graph.tables import GRAPH_STORE
from orchestration import runlog
from orchestration.flow import FLOW
from orchestration.manifests import Manifest, published
from orchestration.plan import plan, told
from orchestration.profiles import Profile
from orchestration.progress import quantity
from orchestration.publishing import visible
from persona.tables import PERSONA_STORE
from pipelines.contract import ConfigError, MissingInputError, Run
from pipelines.dumps import discover
from pipelines.pseudonym import Pseudonyms

SAMPLE_ROOT = Path("runs/local_sample")
KEY_FILE = Path("~/.config/tastegraph/key")
Root = Annotated[Path, typer.Option("--root", help="Folder of the run: tables, store, report.")]
ID = re.compile(r"[a-z2-7]{16}")
FIGURES = ("rows in", "rows out", "rejected", "dropped", "s", "rows/s", "GiB")


def run_at(root: Path) -> Run:
    """The run under a root.

    Raises:
        MissingInputError: There is no such folder.
    """
    if not root.is_dir():
        raise MissingInputError(f"no run at {root}: start one with `tastegraph run` or `sample`")
    return Run(root=root)


def plain_name(user: str) -> str:
    """A user's name as people write it, without u/."""
    return user.removeprefix("/").removeprefix("u/")


def pseudonyms_of(key_file: Path, roots: Iterable[Path]) -> Pseudonyms:
    """The pseudonyms that a key file makes.

    Raises:
        ConfigError: It is too short, or a root was made under another key, so that every name would
            seem unknown there.
        MissingInputError: There is no such file.
    """
    key_file = key_file.expanduser()
    pseudonyms = Pseudonyms.from_file(key_file)
    key = key_file.read_bytes()
    spelled = (key, key.strip(), key.strip() + b"\n")
    digests = {hashlib.sha256(spelling).hexdigest() for spelling in spelled}
    for root in roots:
        manifests = published(Run(root=root), "ingest").values()
        made = {m.depends["config"]["key_file"][-1] for m in manifests if "config" in m.depends}
        if made and digests.isdisjoint(made):
            raise ConfigError(f"key file {str(key_file)!r}: {root} was made with another key")
    return pseudonyms


def show_status(root: Path, console: Console) -> None:
    """One row a finished step and month; below, what is missing of their inputs, what readers see,
    and how the last run ended.

    Raises:
        MissingInputError: Nothing was ever run under `root`.
    """
    run = run_at(root)
    if not (root / "manifests").is_dir() and not runlog.run_ids(root):
        if GRAPH_STORE.path(run).is_dir():
            raise MissingInputError(
                f"{root} holds a graph and no run; see `tastegraph evaluate --root {root}`"
            )
        raise MissingInputError(f"no run at {root}: start one with `tastegraph run` or `sample`")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("step", "month"):
        table.add_column(name, no_wrap=True)
    for name in FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    notes: list[str] = []
    for step in FLOW:
        manifests = published(run, step.name)
        for month, manifest in manifests.items():
            table.add_row(step.name, month, *_figures(manifest))
            counts = manifest.counts
            notes += [f"{step.name} {month}: {name}: {note}" for name, note in counts.notes.items()]
        if not manifests:
            table.add_row(step.name, "-", *["-"] * len(FIGURES), style="dim")
    print_whole(table, console)
    for note in [*(f"note: {note}" for note in notes), *_state(run)]:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _figures(manifest: Manifest) -> list[str]:
    counts = manifest.counts
    rows = (counts.rows_in, counts.rows_out, counts.rows_rejected, counts.rows_dropped)
    return [
        *(quantity(number) for number in rows),
        f"{manifest.seconds:.1f}",
        quantity(counts.rows_in / manifest.seconds) if manifest.seconds else "-",
        f"{manifest.peak_rss_bytes / 2**30:.1f}",
    ]


def _state(run: Run) -> list[str]:
    """What readers see, and how the newest run ended."""
    lines = []
    now = visible(PERSONA_STORE, run)
    if now is not None:
        others = [f.name for f in PERSONA_STORE.folders(run) if f.name != now]
        rest = f"; to go back to: {', '.join(others)}" if others else ""
        lines.append(f"readers see: {now}{rest}")
    ids = runlog.run_ids(run.root)
    if ids:
        found = runlog.events(run.root, ids[-1])
        when = found[-1]["time"] if found else "-"
        lines.append(f"last run: {ids[-1]} {runlog.outcome(found)} ({when})")
    return lines


def show_plan(profile: Profile, console: Console) -> None:
    """One row a task: would it run, and why. `if changed`: unless what it reads stays as it is."""
    run = Run(root=profile.root)
    dumps = discover(profile.ingest.inputs, profile.beam.options)
    table = Table(Column("step", no_wrap=True), "month", "would run", "because")
    for planned in plan(profile, run, dumps):
        would, because = told(planned, profile.keep)
        table.add_row(planned.task.step.name, planned.task.key, would, escape(because))
    for step in FLOW:
        for month in published(run, step.name) if step.monthly else ():
            if month not in dumps:
                table.add_row(step.name, month, "no", "its dumps are no input; its tables stay")
    console.print(table)


def print_whole(table: Table, console: Console) -> None:
    """Print a table of figures with no figure cut, be the terminal narrower or there none."""
    needed = table.__rich_measure__(console, console.options.update(max_width=1000)).maximum
    console.width = max(needed, console.width)
    console.print(table)
