from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestration.progress import LOG_EVERY_S, FileLog, LogWatch, Reporter
from pipelines.contract import FileProgress

STARTED_UTC = 1_570_000_000.0
FILE = FileProgress(
    label="RC_2019-10.zst",
    done_bytes=50_000_000,
    total_bytes=200_000_000,
    num_lines=1_500_000,
    started_utc=STARTED_UTC,
    noted_utc=STARTED_UTC + 20,
)
WHOLE = replace(
    FILE, done_bytes=200_000_000, num_lines=6_000_000, noted_utc=STARTED_UTC + 80, is_finished=True
)
TOLD_OF_FILE = (
    "read RC_2019-10.zst           50.0M/200.0M bytes, 2.5 MB/s  1.5M lines, 75.0K/s, 60 s left"
)
TOLD_OF_WHOLE = "read [bold].zst               200.0M/200.0M bytes, 2.5 MB/s  6.0M lines, 75.0K/s"


class Clock:
    def __init__(self) -> None:
        self.now_utc = STARTED_UTC

    def __call__(self) -> float:
        return self.now_utc


def log_at(folder: Path, clock: Clock) -> FileLog:
    return FileLog(folder / "logs" / "ingest.log", "ingest", "2019-10", "run-1", clock)


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs" / "ingest.log").open()]


def console_of(terminal: bool) -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    console = Console(file=shown, width=150, force_terminal=terminal, color_system=None)
    return console, shown


def test_a_line_has_the_rates_and_the_time_left(tmp_path: Path) -> None:
    clock = Clock()
    log = log_at(tmp_path, clock)
    assert log.add(FILE) is None
    clock.now_utc += LOG_EVERY_S
    told = log.add(FILE)
    assert logged(tmp_path) == [told]
    assert told == {
        "time": "2019-10-02T07:07:10+00:00",
        "run": "run-1",
        "step": "ingest",
        "month": "2019-10",
        "dump": "RC_2019-10.zst",
        "bytes": 50_000_000,
        "total": 200_000_000,
        "lines": 1_500_000,
        "bytes_per_s": 2_500_000,
        "lines_per_s": 75_000,
        "eta_s": 60,
        "finished": False,
    }


def test_each_file_has_a_line_now_and_then_and_one_at_its_end(tmp_path: Path) -> None:
    clock = Clock()
    log = log_at(tmp_path, clock)
    other = replace(FILE, label="RS_2019-10.zst")
    for second in range(80):
        clock.now_utc = STARTED_UTC + second
        log.add(FILE)
        if second >= 45:
            log.add(other)
    clock.now_utc = STARTED_UTC + 80
    log.add(WHOLE)
    told = [(line["time"][14:19], line["dump"][:2], line["finished"]) for line in logged(tmp_path)]
    assert told == [
        ("07:10", "RC", False),
        ("07:40", "RC", False),
        ("07:55", "RS", False),
        ("08:00", "RC", True),
    ]


def test_lines_of_a_second_run_follow_those_of_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        log_at(tmp_path, Clock()).add(WHOLE)
    assert [line["lines"] for line in logged(tmp_path)] == [6_000_000] * 2


def test_a_file_that_has_only_begun_has_no_rate(tmp_path: Path) -> None:
    begun = replace(FILE, done_bytes=0, num_lines=0, noted_utc=STARTED_UTC)
    assert (begun.bytes_per_s, begun.lines_per_s, begun.eta_s) == (0, 0, None)
    clock = Clock()
    log = log_at(tmp_path, clock)
    log.add(begun)
    clock.now_utc += LOG_EVERY_S
    log.add(begun)
    assert logged(tmp_path)[0]["eta_s"] is None


def test_without_a_terminal_what_is_logged_is_told(tmp_path: Path) -> None:
    console, shown = console_of(terminal=False)
    clock = Clock()
    with Reporter(console).step("ingest 2019-10", log_at(tmp_path, clock)) as step:
        step.progress(50, 200, "bytes")
        step.file(FILE)
        clock.now_utc += LOG_EVERY_S
        step.file(FILE)
        step.file(replace(WHOLE, label="[bold].zst"))
    assert shown.getvalue().splitlines() == [TOLD_OF_FILE, TOLD_OF_WHOLE]


@pytest.mark.parametrize("terminal", [True, False])
def test_files_that_other_processes_read_are_shown_as_they_log_them(
    tmp_path: Path, terminal: bool
) -> None:
    console, shown = console_of(terminal=terminal)
    logs, clock = tmp_path / "logs", Clock()
    FileLog(logs / "ingest-2019-09.log", "ingest", "2019-09", "an older run", clock).add(WHOLE)
    ours = FileLog(logs / "ingest-2019-10.log", "ingest", "2019-10", "run-1", clock)
    with Reporter(console)._bars() as bars:
        watch = LogWatch(bars, logs, "run-1")
        ours.add(FILE)
        clock.now_utc += LOG_EVERY_S
        ours.add(FILE)
        with (logs / "ingest-2019-10.log").open("a") as log:
            log.write('{"half a')
        watch.look()
        watch.look()  # nothing new
        with (logs / "ingest-2019-10.log").open("a") as log:
            log.write('line", cut by a full disk\n')
        watch.look()
        assert [task.description.strip() for task in bars.tasks] == [FILE.label] * terminal
        if terminal:
            bars.refresh()
            assert "50.0M/200.0M bytes, 2.5 MB/s  1.5M lines, 75.0K/s" in shown.getvalue()
        else:
            assert shown.getvalue() == f"{TOLD_OF_FILE}\n"


def test_what_was_logged_last_is_shown_in_the_end(tmp_path: Path) -> None:
    console, shown = console_of(terminal=False)
    log = FileLog(tmp_path / "logs" / "ingest-2019-10.log", "ingest", "2019-10", "run-1", Clock())
    with Reporter(console).watching(tmp_path / "logs", "run-1"):
        log.add(replace(WHOLE, label="[bold].zst"))
    assert shown.getvalue() == f"{TOLD_OF_WHOLE}\n"


def test_what_an_error_says_is_shown_as_it_is() -> None:
    console, shown = console_of(terminal=False)
    Reporter(console).note("failed", "2019-10: [parquet] at [/mnt/run]")
    assert "2019-10: [parquet] at [/mnt/run]" in shown.getvalue()


def test_a_terminal_has_a_bar_of_each_file_until_it_is_finished(tmp_path: Path) -> None:
    console, shown = console_of(terminal=True)
    with Reporter(console).step("ingest 2019-10", log_at(tmp_path, Clock())) as step:
        step.file(replace(FILE, label="[bold].zst"))
        step.file(FILE)
        step.bars.refresh()
        assert "[bold].zst" in shown.getvalue()
        amount = "50.0M/200.0M bytes, 2.5 MB/s  1.5M lines, 75.0K/s"
        assert amount in shown.getvalue()
        step.file(WHOLE)
        assert [task.description.strip() for task in step.bars.tasks] == [
            "ingest 2019-10",
            "[bold].zst",
        ]
    assert '"dump"' not in shown.getvalue()
    assert [line["dump"] for line in logged(tmp_path)] == ["RC_2019-10.zst"]
