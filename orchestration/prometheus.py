"""Metrics of a root for Prometheus: `ROOT/metrics.prom`, for the textfile collector of a node."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from orchestration import runlog
from orchestration.flow import FLOW
from orchestration.manifests import Manifest, published
from pipelines.contract import Run

FILE = "metrics.prom"

_OF_STEP: dict[str, tuple[str, Callable[[Manifest], float]]] = {
    "seconds": ("Time that it took.", lambda m: m.seconds),
    "rows_in": ("Rows read.", lambda m: m.counts.rows_in),
    "rows_out": ("Rows that stand for rows read.", lambda m: m.counts.rows_out),
    "peak_memory_bytes": ("Most memory held at once.", lambda m: m.peak_rss_bytes),
    "written_bytes": ("Bytes published.", lambda m: m.bytes_written),
    "finished_timestamp_seconds": ("When it was finished.", lambda m: m.finished_utc),
}


def write_metrics(root: Path) -> Path:
    """Write what manifests and the newest run's log say, whole or not at all."""
    registry = CollectorRegistry()
    manifests = [m for step in FLOW for m in published(Run(root=root), step.name).values()]
    for name, (doc, of) in _OF_STEP.items():
        gauge = Gauge(f"tastegraph_step_{name}", doc, ["step", "month"], registry=registry)
        for manifest in manifests:
            gauge.labels(manifest.step, manifest.month).set(of(manifest))
    lost = Gauge(
        "tastegraph_rows_lost",
        "Rows rejected or dropped over all months, by reason or rule.",
        ["step", "kind", "reason"],
        registry=registry,
    )
    for manifest in manifests:
        for kind, counts in (
            ("rejected", manifest.counts.rejected),
            ("dropped", manifest.counts.dropped),
        ):
            for reason, number in counts.items():
                lost.labels(manifest.step, kind, reason).inc(number)
    figures = Gauge("tastegraph_figure", "Metrics of a step.", ["step", "name"], registry=registry)
    for manifest in manifests:
        for name, value in manifest.counts.metrics.items():
            figures.labels(manifest.step, name).inc(value)
    _add_last_run(root, registry)
    path = root / FILE
    # Runs of single months write at once, also from pods, whose processes have the same numbers.
    temporary = root / f".{FILE}.{secrets.token_hex(8)}"
    with runlog.unless_full():
        try:
            temporary.write_bytes(generate_latest(registry))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _add_last_run(root: Path, registry: CollectorRegistry) -> None:
    ids = runlog.run_ids(root)
    if not ids:
        return
    kinds = [event["event"] for event in runlog.events(root, ids[-1])]
    success = Gauge(
        "tastegraph_last_run_success",
        "1: the newest run ended well; 0: it failed, or is under way.",
        ["run"],
        registry=registry,
    )
    success.labels(ids[-1]).set(float(runlog.FINISHED in kinds))
    failed = Gauge("tastegraph_last_run_failed", "1: it failed.", ["run"], registry=registry)
    failed.labels(ids[-1]).set(float(runlog.FAILED in kinds))
