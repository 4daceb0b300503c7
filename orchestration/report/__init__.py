"""The report of a run: `report.html`, one self-contained page, and `metrics.json`, its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from orchestration import runlog
from orchestration.flow import FLOW
from orchestration.manifests import Manifest, published
from orchestration.profiles import Profile
from orchestration.tables import EVALUATION
from pipelines.contract import Run

CARDS = 12
RUNS = 10


def write_report(profile: Profile) -> Path:
    """Write `metrics.json` and `report.html` under the root from what is published there.

    Returns:
        Path of the page. Parts whose tables are not there yet are left out of it.
    """
    from orchestration.report import cards, plots
    from orchestration.report.drift import drift

    run = Run(root=profile.root)
    manifests = [m for step in FLOW for m in published(run, step.name).values()]
    metrics = collect_metrics(run, manifests)
    (run.root / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    drifts = drift([m for m in manifests if m.step == "ingest"])
    environment = Environment(
        loader=PackageLoader("orchestration.report", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
    )
    page = environment.get_template("report.html.jinja").render(
        name=profile.name,
        manifests=manifests,
        metrics=metrics,
        costs=costs(manifests, profile.usd_per_hour),
        runs=last_runs(run.root),
        drift=drifts,
        judged=sum(one.is_judged for one in drifts),
        plots=plots.all_plots(run, metrics),
        cards=cards.persona_cards(run, profile.embed.archive, CARDS),
    )
    path = run.root / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def collect_metrics(run: Run, manifests: list[Manifest]) -> dict[str, Any]:
    """Quality from the evaluation, rows, seconds and memory from the manifests."""
    evaluation = EVALUATION.path(run) / "metrics.json"
    metrics: dict[str, Any] = json.loads(evaluation.read_text()) if evaluation.exists() else {}
    ingested = [m.counts for m in manifests if m.step == "ingest"]
    metrics["ingest"] = {
        "rows_in": sum(c.rows_in for c in ingested),
        "rows_out": sum(c.rows_out for c in ingested),
        "rows_rejected": sum(c.rows_rejected for c in ingested),
        "rows_dropped": sum(c.rows_dropped for c in ingested),
        "rejected": _merged(c.rejected for c in ingested),
        "dropped": _merged(c.dropped for c in ingested),
    }
    metrics["store"] = {
        "rows": sum(m.counts.rows_out for m in manifests if m.step == "index_personas")
    }
    metrics["seconds"], metrics["peak_rss_bytes"] = {}, {}
    for manifest in manifests:
        seconds = metrics["seconds"].get(manifest.step, 0.0) + manifest.seconds
        metrics["seconds"][manifest.step] = round(seconds, 3)
        peak = max(metrics["peak_rss_bytes"].get(manifest.step, 0), manifest.peak_rss_bytes)
        metrics["peak_rss_bytes"][manifest.step] = peak
    return metrics


def costs(manifests: list[Manifest], usd_per_hour: float) -> dict[str, float]:
    """USD by step, where a price is known: of the machines' time, and of what steps were billed."""
    found: dict[str, float] = {}
    for manifest in manifests:
        billed = manifest.counts.metrics.get("usd", 0.0)
        usd = billed + manifest.seconds / 3600 * usd_per_hour
        if usd:
            found[manifest.step] = found.get(manifest.step, 0.0) + usd
    return found


def last_runs(root: Path) -> list[dict[str, Any]]:
    """How the newest runs went, newest first: id, outcome, steps that ran, and their seconds."""
    found = []
    for run_id in reversed(runlog.run_ids(root)[-RUNS:]):
        told = runlog.events(root, run_id)
        made = [event for event in told if event["event"] == runlog.STEP_FINISHED]
        found.append(
            {
                "id": run_id,
                "outcome": runlog.outcome(told),
                "steps": len(made),
                "seconds": sum(event["seconds"] for event in made),
            }
        )
    return found


def _merged(counts: Any) -> dict[str, int]:
    merged: dict[str, int] = {}
    for part in counts:
        for name, number in part.items():
            merged[name] = merged.get(name, 0) + number
    return dict(sorted(merged.items()))
