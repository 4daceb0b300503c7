"""Jobs, a schedule and sensors over the assets; `served` is what `make dagster` opens.

New or changed dumps start `ingest_months` for their months, which ends with a `refresh`; the
schedule refreshes in any case. A backfill over a range of months is one run of `ingest_months`
that takes them a few at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator

import dagster as dg

from orchestration.dagster.assets import flow_assets
from orchestration.dagster.command import Command
from orchestration.flow import FLOW
from orchestration.manifests import dump_identity
from orchestration.sample.config import WorldConfig
from pipelines.contract import MissingInputError
from pipelines.dumps import UNDATED

COMMAND = "TASTEGRAPH_COMMAND"
PARALLEL = "TASTEGRAPH_PARALLEL"
SAMPLE = "sample --root runs/local_sample"
EARLIEST = "2005-06"  # the first submissions of Reddit
MONTHLY = "0 6 5 * *"  # the dumps of a month are there some days after it
UNDER_WAY = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


def definitions(command: Command, first_month: str, parallel: int = 2) -> dg.Definitions:
    """Everything that Dagster shows and runs for one command.

    Args:
        command: What makes the assets.
        first_month: First partition, "2015-01".
        parallel: Months at once in a backfill.
    """
    months = dg.MonthlyPartitionsDefinition(start_date=f"{first_month}-01")
    assets = flow_assets(command, months, parallel)
    by_kind = {
        monthly: [a for a, step in zip(assets, FLOW, strict=True) if step.monthly == monthly]
        for monthly in (True, False)
    }
    ingest = dg.define_asset_job(
        "ingest_months",
        selection=dg.AssetSelection.assets(*by_kind[True]),
        partitions_def=months,
        executor_def=dg.in_process_executor,
    )
    refresh = dg.define_asset_job(
        "refresh",
        selection=dg.AssetSelection.assets(*by_kind[False]),
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(
        assets=assets,
        jobs=[ingest, refresh],
        schedules=[dg.ScheduleDefinition(name="monthly", job=refresh, cron_schedule=MONTHLY)],
        sensors=[
            dumps_sensor(command, ingest, months),
            refresh_sensor("after_ingest", dg.DagsterRunStatus.SUCCESS, ingest, refresh),
            refresh_sensor("after_failed_ingest", dg.DagsterRunStatus.FAILURE, ingest, refresh),
        ],
    )


def dumps_sensor(
    command: Command,
    ingest: dg.UnresolvedAssetJobDefinition,
    months: dg.MonthlyPartitionsDefinition,
) -> dg.SensorDefinition:
    """Asks for each month whose dumps are new or changed since the last tick.

    A month that is no partition waits until it is: the current one until it has ended, one before
    the first until the definitions are loaded again.
    """

    @dg.sensor(name="new_dumps", job=ingest, minimum_interval_seconds=300)
    def new_dumps(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        before = json.loads(context.cursor or "{}")
        try:
            found = dump_marks(command)
        except MissingInputError as error:
            return dg.SkipReason(str(error))
        now = {m: mark for m, mark in found.items() if months.has_partition_key(f"{m}-01")}
        if found.keys() - now:
            told = ", ".join(sorted(found.keys() - now))
            context.log.warning(f"{told}: no partition until it ends or definitions are reloaded")
        asked = [
            dg.RunRequest(run_key=f"{month}-{mark}", partition_key=f"{month}-01")
            for month, mark in now.items()
            if before.get(month) != mark
        ]
        return dg.SensorResult(run_requests=asked, cursor=json.dumps(now))

    return new_dumps


def dump_marks(command: Command) -> dict[str, str]:
    """A hash of the dumps of each month; undated ones belong to no partition."""
    found = {}
    for month, dumps in command.dumps().items():
        if month != UNDATED:
            told = json.dumps([dump_identity(dump) for dump in dumps])
            found[month] = hashlib.sha256(told.encode()).hexdigest()[:16]
    return found


def refresh_sensor(
    name: str,
    ended: dg.DagsterRunStatus,
    ingest: dg.UnresolvedAssetJobDefinition,
    refresh: dg.UnresolvedAssetJobDefinition,
) -> dg.SensorDefinition:
    """Refreshes when months were ingested and no further one is under way, though the last failed.

    Args:
        name: Of the sensor.
        ended: How the run ended that it looks at.
        ingest, refresh: Jobs.
    """

    @dg.run_status_sensor(
        name=name,
        run_status=ended,
        monitored_jobs=[ingest],
        request_job=refresh,
    )
    def after_ingest(
        context: dg.RunStatusSensorContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        others = context.instance.get_runs_count(
            dg.RunsFilter(job_name=ingest.name, statuses=UNDER_WAY)
        )
        if others:
            yield dg.SkipReason(f"{others} runs of {ingest.name} are under way")
        elif not has_news(context.instance, ingest.name, refresh.name):
            yield dg.SkipReason(f"no run of {ingest.name} succeeded since the last refresh")
        else:
            yield dg.RunRequest(run_key=context.dagster_run.run_id)

    return after_ingest


def has_news(instance: dg.DagsterInstance, ingest: str, refresh: str) -> bool:
    """Whether a month was ingested after the last refresh began."""
    ingested, refreshed = (
        instance.get_run_records(dg.RunsFilter(job_name=job, statuses=statuses), limit=1)
        for job, statuses in ((ingest, [dg.DagsterRunStatus.SUCCESS]), (refresh, None))
    )
    if not ingested or not refreshed:
        return bool(ingested)
    return ingested[0].update_timestamp > refreshed[0].create_timestamp


@dg.definitions
def served() -> dg.Definitions:
    """Definitions for the command in the environment, by default the sample run."""
    command = Command(tuple(shlex.split(os.environ.get(COMMAND, SAMPLE))))
    return definitions(command, first_month(command), int(os.environ.get(PARALLEL, "2")))


def first_month(command: Command) -> str:
    """Of the dumps that are there; where none is there yet, the first that a dump can have."""
    if command.words[0] == "sample":
        return WorldConfig().months[0]
    try:
        found = command.dumps()
    except MissingInputError:
        found = {}
    return min((month for month in found if month != UNDATED), default=EARLIEST)
