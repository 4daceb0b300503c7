from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from orchestration import runlog
from orchestration.manifests import Manifest
from orchestration.prometheus import write_metrics
from orchestration.report import costs, last_runs
from orchestration.runlog import RunLog, new_run_id
from pipelines.contract import Counts, Run


def manifest(month: str) -> Manifest:
    return Manifest(
        step="ingest",
        month=month,
        fingerprint="",
        config={},
        counts=Counts(
            rows_in=10, rows_out=7, rejected={"no_json": 1}, dropped={"bot": 2}, metrics={"usd": 1}
        ),
        seconds=36.0,
        peak_rss_bytes=5,
        bytes_written=6,
        code_version="",
        finished_utc=99,
    )


def values(path: Path) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(path.read_text())
    return {
        (sample.name, "/".join(v for _, v in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_tell_steps_losses_and_the_last_run(tmp_path: Path) -> None:
    for month in ("2019-08", "2019-09"):
        manifest(month).write(Run(root=tmp_path))
    first, second = RunLog(tmp_path, "1"), RunLog(tmp_path, "2")
    first.event(runlog.FINISHED)
    second.event(runlog.FAILED, error="E", message="no space")
    found = values(write_metrics(tmp_path))
    assert found["tastegraph_step_seconds", "2019-08/ingest"] == 36.0
    assert found["tastegraph_step_finished_timestamp_seconds", "2019-09/ingest"] == 99.0
    assert found["tastegraph_rows_lost", "rejected/no_json/ingest"] == 2.0
    assert found["tastegraph_rows_lost", "dropped/bot/ingest"] == 4.0
    assert found["tastegraph_last_run_success", "2"] == 0.0
    assert found["tastegraph_last_run_failed", "2"] == 1.0
    assert [path.name for path in tmp_path.glob(".metrics*")] == []


def test_metrics_that_are_written_at_once_fail_no_run(tmp_path: Path) -> None:
    """Threads have one process number, as processes of several pods may have."""
    manifest("2019-08").write(Run(root=tmp_path))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_metrics, [tmp_path] * 200))
    assert values(tmp_path / "metrics.prom")["tastegraph_step_seconds", "2019-08/ingest"] == 36.0


def test_costs_are_of_time_and_of_bills() -> None:
    both = [manifest("2019-08"), manifest("2019-09")]
    assert costs(both, usd_per_hour=100.0) == {"ingest": 4.0}
    assert costs(both, usd_per_hour=0.0) == {"ingest": 2.0}


def test_the_last_runs_are_told_newest_first(tmp_path: Path) -> None:
    for number in range(12):
        log = RunLog(tmp_path, f"{number:02}")
        log.event(runlog.STEP_FINISHED, seconds=1.5)
        log.event(runlog.FAILED, error="E", message="why") if number == 11 else log.event(
            runlog.FINISHED
        )
    told = last_runs(tmp_path)
    assert len(told) == 10
    assert told[0] == {"id": "11", "outcome": "failed: E: why", "steps": 1, "seconds": 1.5}
    assert told[1]["outcome"] == "finished"


def test_run_ids_sort_by_time() -> None:
    assert new_run_id(1.0) < new_run_id(2.0) and new_run_id(0).startswith("19700101T000000Z-")
