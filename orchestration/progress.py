"""Progress for people: bars while a step runs, a line when it is done, a log of its files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from orchestration.manifests import Manifest
from pipelines.contract import FileProgress
from pipelines.repeat import repeated

OnProgress = Callable[[float, float | None, str], None]
LABEL_WIDTH = 24
LOG_EVERY_S = 30.0
FIGURES = ("bytes", "total", "bytes_per_s", "lines", "lines_per_s")  # of a logged line
LOOK_EVERY_S = 1.0  # at the logs of other processes


class FileLog:
    """A JSON line a file now and then while it is read, and one when it is finished.

    Args:
        target: Lines are appended to it; it is made with the first one.
        step: Of the lines.
        month: Of the lines.
        run_id: Of the lines.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        target: Path,
        step: str,
        month: str,
        run_id: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._named = {"run": run_id, "step": step, "month": month}
        self._clock = clock
        self._logged_utc: dict[str, float] = {}

    def add(self, file: FileProgress) -> dict[str, Any] | None:
        """What was logged; None if the file's last line, or its start, is too recent."""
        now_utc = self._clock()
        since_s = now_utc - self._logged_utc.setdefault(file.label, now_utc)
        if since_s < LOG_EVERY_S and not file.is_finished:
            return None
        self._logged_utc[file.label] = now_utc
        told = {
            "time": datetime.fromtimestamp(now_utc, UTC).isoformat(timespec="seconds"),
            **self._named,
            "dump": file.label,
            "bytes": file.done_bytes,
            "total": file.total_bytes,
            "lines": file.num_lines,
            "bytes_per_s": round(file.bytes_per_s),
            "lines_per_s": round(file.lines_per_s),
            "eta_s": None if file.eta_s is None else round(file.eta_s),
            "finished": file.is_finished,
        }
        self._target.parent.mkdir(parents=True, exist_ok=True)
        with self._target.open("a") as log:
            log.write(json.dumps(told) + "\n")
        return told


class StepBars:
    """The bar of a running step and, below it, one of each file that is being read.

    Args:
        bars: Shows them, on a terminal.
        label: Of the step.
        log: Takes the files; without a terminal what it logs is told instead of bars.
    """

    def __init__(self, bars: Progress, label: str, log: FileLog | None) -> None:
        self.bars = bars
        self._log = log
        self._step = bars.add_task(label, total=None, amount="")
        self._files: dict[str, TaskID] = {}

    def progress(self, done: float, total: float | None, unit: str) -> None:
        """Show how far the step is."""
        amount = f"{_of_total(done, total)} {unit}"
        self.bars.update(self._step, completed=done, total=total, amount=amount)

    def file(self, file: FileProgress) -> None:
        """Show how far a file is, and log it."""
        told = self._log.add(file) if self._log is not None else None
        if told is not None and not self.bars.console.is_terminal:
            _tell(self.bars.console, told)
        if file.is_finished:
            if file.label in self._files:
                self.bars.remove_task(self._files.pop(file.label))
            return
        if file.label not in self._files:
            self._files[file.label] = self.bars.add_task(f"  {file.label}", amount="")
        self.bars.update(
            self._files[file.label],
            completed=file.done_bytes,
            total=file.total_bytes,
            amount=_amount(
                file.done_bytes,
                file.total_bytes,
                file.bytes_per_s,
                file.num_lines,
                file.lines_per_s,
            ),
        )


class LogWatch:
    """Shows what `FileLog`s of other processes have told since the last look.

    Args:
        bars: Shows files, on a terminal; without one what is new is told.
        logs: Folder of the logs.
        run_id: Whose lines count.
    """

    def __init__(self, bars: Progress, logs: Path, run_id: str) -> None:
        self._bars, self._logs, self._run_id = bars, logs, run_id
        self._read: dict[Path, int] = {}  # bytes
        self._files: dict[str, TaskID] = {}

    def look(self) -> None:
        """Show every whole line that came."""
        for path in sorted(self._logs.glob("*.log")):
            with path.open("rb") as log:
                log.seek(self._read.get(path, 0))
                whole, end, _ = log.read().rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(whole) + len(end)
            for line in whole.decode().splitlines():
                with suppress(ValueError):  # a full disk cut it
                    told = json.loads(line)
                    if told["run"] == self._run_id:
                        self._show(told)

    def _show(self, told: dict[str, Any]) -> None:
        if not self._bars.console.is_terminal:
            _tell(self._bars.console, told)
            return
        label = told["dump"]
        if told["finished"]:
            if label in self._files:
                self._bars.remove_task(self._files.pop(label))
            return
        if label not in self._files:
            self._files[label] = self._bars.add_task(f"  {label}", amount="")
        self._bars.update(
            self._files[label],
            completed=told["bytes"],
            total=told["total"],
            amount=_amount(*(told[name] for name in FIGURES)),
        )


class Reporter:
    """Draws bars on a terminal and a line a step anywhere.

    Args:
        console: Where to; a quiet console shows nothing.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, label: str, log: FileLog | None = None) -> Iterator[StepBars]:
        """A context whose value takes the progress of the step and of its files as it goes on."""
        with self._bars() as bars:
            yield StepBars(bars, label, log)

    @contextmanager
    def watching(self, logs: Path, run_id: str) -> Iterator[None]:
        """A context in which files that other processes of a run read are shown, as they log them.

        Args:
            logs: Folder of their logs.
            run_id: Of the run; lines of others are passed over.
        """
        with self._bars() as bars:
            watch = LogWatch(bars, logs, run_id)
            try:
                with repeated(watch.look, LOOK_EVERY_S):
                    yield
            finally:
                watch.look()

    def _bars(self) -> Progress:
        columns = (
            SpinnerColumn(),
            TextColumn(
                "{task.description}", markup=False, table_column=Column(min_width=LABEL_WIDTH)
            ),
            BarColumn(bar_width=24),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
            # Last, as a narrow terminal cuts the end of it.
            TextColumn("{task.fields[amount]}"),
        )
        shown = self._console.is_terminal
        return Progress(*columns, console=self._console, transient=True, disable=not shown)

    def finished(self, label: str, manifest: Manifest) -> None:
        """One line of what the step did."""
        counts = manifest.counts
        told = [f"{counts.rows_in:>11,} in", f"{counts.rows_out:>11,} out"]
        if counts.rows_rejected:
            told.append(f"{counts.rows_rejected:,} rejected")
        if counts.rows_dropped:
            told.append(f"{counts.rows_dropped:,} dropped")
        if counts.metrics.get("kept"):  # users who are as the last run left them
            told.append(f"{counts.metrics['kept']:,.0f} kept")
        memory = f"{manifest.peak_rss_bytes / 2**30:5.2f} GiB"
        self._line(
            "[green]done[/]", label, f"{manifest.seconds:7.1f} s  {memory}  {' '.join(told)}"
        )

    def skipped(self, label: str, manifest: Manifest, kept: Sequence[str] = ()) -> None:
        """One line: nothing to do, or nothing done by policy."""
        why = escape(f", kept by policy: {'; '.join(kept)}") if kept else ""
        self._line("[dim]kept[/]", label, f"[dim]made before in {manifest.seconds:.1f} s{why}[/]")

    def done(self, manifest: Manifest, *, is_new: bool) -> None:
        """One line of a month's step that ran, or was found done, in another process."""
        (self.finished if is_new else self.skipped)(f"{manifest.step} {manifest.month}", manifest)

    def note(self, label: str, text: str) -> None:
        """One line about something that is no step."""
        self._line("[cyan]note[/]", label, escape(text))

    def _line(self, mark: str, label: str, text: str) -> None:
        self._console.print(
            f"{mark} {label:<{LABEL_WIDTH}} {text}", highlight=False, soft_wrap=True
        )


def _tell(console: Console, told: dict[str, Any]) -> None:
    """One line of a file, where there are no bars."""
    line = f"read {told['dump']:<{LABEL_WIDTH}} {_amount(*(told[name] for name in FIGURES))}"
    if told["eta_s"] and not told["finished"]:
        line += f", {quantity(told['eta_s'])} s left"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _amount(
    done_bytes: float, total_bytes: float, bytes_per_s: float, lines: float, lines_per_s: float
) -> str:
    read = f"{_of_total(done_bytes, total_bytes)} bytes, {bytes_per_s / 1e6:.1f} MB/s"
    return f"{read}  {quantity(lines)} lines, {quantity(lines_per_s)}/s"


def _of_total(done: float, total: float | None) -> str:
    return quantity(done) if total is None else f"{quantity(done)}/{quantity(total)}"


def quantity(value: float) -> str:
    """A number with at most four digits and a unit of scale: 812, 4.1K, 27.3M."""
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= scale:
            return f"{value / scale:.1f}{suffix}"
    return f"{value:.0f}"
