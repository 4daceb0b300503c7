"""Progress for people: a bar while a step runs, a line when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from orchestration.manifests import Manifest

OnProgress = Callable[[float, float | None, str], None]
LABEL_WIDTH = 24


class Reporter:
    """Draws a bar on a terminal and a line a step anywhere.

    Args:
        console: Where to; a quiet console shows nothing.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, label: str) -> Iterator[OnProgress]:
        """A context whose value takes (done, total or None, unit) as the step goes on."""
        columns = (
            SpinnerColumn(),
            TextColumn(f"{label:<{LABEL_WIDTH}}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        shown = self._console.is_terminal
        with Progress(
            *columns, console=self._console, transient=True, disable=not shown
        ) as progress:
            task = progress.add_task(label, total=None, amount="")

            def on_progress(done: float, total: float | None, unit: str) -> None:
                of_total = f"/{quantity(total)}" if total is not None else ""
                amount = f"{quantity(done)}{of_total} {unit}"
                progress.update(task, completed=done, total=total, amount=amount)

            yield on_progress

    def finished(self, label: str, manifest: Manifest) -> None:
        """One line of what the step did."""
        counts = manifest.counts
        told = [f"{counts.rows_in:>11,} in", f"{counts.rows_out:>11,} out"]
        if counts.rows_rejected:
            told.append(f"{counts.rows_rejected:,} rejected")
        if counts.rows_dropped:
            told.append(f"{counts.rows_dropped:,} dropped")
        memory = f"{manifest.peak_rss_bytes / 2**30:5.2f} GiB"
        self._line(
            "[green]done[/]", label, f"{manifest.seconds:7.1f} s  {memory}  {' '.join(told)}"
        )

    def skipped(self, label: str, manifest: Manifest) -> None:
        """One line: nothing to do."""
        self._line("[dim]kept[/]", label, f"[dim]made before in {manifest.seconds:.1f} s[/]")

    def note(self, label: str, text: str) -> None:
        """One line about something that is no step."""
        self._line("[cyan]note[/]", label, text)

    def _line(self, mark: str, label: str, text: str) -> None:
        self._console.print(
            f"{mark} {label:<{LABEL_WIDTH}} {text}", highlight=False, soft_wrap=True
        )


def quantity(value: float) -> str:
    """A number with at most four digits and a unit of scale: 812, 4.1K, 27.3M."""
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= scale:
            return f"{value / scale:.1f}{suffix}"
    return f"{value:.0f}"
