"""What a crawler says while it waits for a silent host, and who is told of it.

A crawler leaves a note in a folder that the driver sees; the driver shows it while it holds.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.repeat import repeated

POLL_S = 5.0
SLACK_S = 10.0  # For the next attempt, and for clocks that differ.


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A host that is waited for.

    Args:
        host: Its name.
        since_utc: When it was last heard of, or first asked.
        patience_s: Silence that is waited out in all.
        until_utc: When it is tried again; the note holds a little longer.
    """

    host: str
    since_utc: float
    patience_s: float
    until_utc: float

    def note(self, folder: Path) -> None:
        """Leave a note, in place of an earlier one on this host; replaced at once."""
        temporary = folder / f".{self.host}-{os.getpid()}-{threading.get_ident()}"
        temporary.write_text(json.dumps(asdict(self)))
        temporary.rename(folder / self.host)


def silences(folder: Path, now_utc: float) -> list[Silence]:
    """What holds of the notes in the folder, by host."""
    files = sorted(file for file in folder.glob("*") if not file.name.startswith("."))
    found = [Silence(**json.loads(file.read_text())) for file in files]
    return [silence for silence in found if now_utc < silence.until_utc + SLACK_S]


@contextmanager
def outages_told(
    folder: Path, show: Callable[[str], None], tell: Callable[[str], None]
) -> Iterator[None]:
    """Tell of silent hosts while the context is open.

    Args:
        folder: Of the notes; made if absent.
        show: Called now and then with who is silent and for how long; empty: nobody any more.
        tell: Called once an outage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told: set[str] = set()

    def look() -> None:
        now_utc = time.time()
        silent = {silence.host: silence for silence in silences(folder, now_utc)}
        if silent or told:
            show(", ".join(f"{s.host} silent for {_s(s, now_utc)}" for s in silent.values()))
        for host in silent.keys() - told:
            tell(
                f"{host} gives no answer; it is waited for, up to "
                f"{silent[host].patience_s:.0f} s (embedding.host_outage_s)"
            )
        told.clear()
        told.update(silent)

    with repeated(look, POLL_S):
        yield


def _s(silence: Silence, now_utc: float) -> str:
    return f"{max(0.0, now_utc - silence.since_utc):.0f} of {silence.patience_s:.0f} s"
