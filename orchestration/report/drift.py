"""Whether a month's data is like that of the months before it: shares of its lines, and of images.

A share is odd if it is further from the mean of the earlier months than both three standard
deviations of theirs and a hundredth; with fewer than three earlier months nothing is.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.manifests import Manifest
from pipelines.dumps import UNDATED

MIN_MONTHS = 3
DEVIATIONS = 3.0
LEAST = 0.01


@dataclass(frozen=True)
class Drift:
    """One share of one month.

    Args:
        month: The month.
        name: What is a share of what.
        value: Of this month.
        usual: Mean of the months before; None without any.
        is_odd: Far from it.
        is_judged: There are months enough before it to tell.
    """

    month: str
    name: str
    value: float
    usual: float | None
    is_odd: bool
    is_judged: bool


def shares(manifest: Manifest) -> dict[str, float]:
    """Shares of a month of ingest, by name."""
    counts = manifest.counts
    lines = max(1, counts.rows_in)
    found = {
        "lines rejected": counts.rows_rejected / lines,
        "lines dropped": counts.rows_dropped / lines,
        "images a line": counts.written.get("media", 0) / lines,
        "submissions of rows out": counts.written.get("submissions", 0) / max(1, counts.rows_out),
    }
    found |= {f"dropped: {rule}": number / lines for rule, number in counts.dropped.items()}
    return found


def drift(ingested: Sequence[Manifest]) -> list[Drift]:
    """Every share of every month against the months before it, in order of month and name."""
    dated = sorted((m for m in ingested if m.month != UNDATED), key=lambda m: m.month)
    by_month = [(m.month, shares(m)) for m in dated]
    found = []
    for place, (month, now) in enumerate(by_month):
        earlier = [before for _, before in by_month[:place]]
        for name in sorted({*now, *(key for before in earlier for key in before)}):
            value = now.get(name, 0.0)
            past = [before.get(name, 0.0) for before in earlier]
            usual = statistics.fmean(past) if past else None
            is_judged = len(past) >= MIN_MONTHS
            is_odd = is_judged and _is_far(value, past)
            found.append(Drift(month, name, value, usual, is_odd, is_judged))
    return found


def _is_far(value: float, past: Sequence[float]) -> bool:
    far = abs(value - statistics.fmean(past))
    return far > max(LEAST, DEVIATIONS * statistics.stdev(past))
