"""Dagster for real, without its server: materialisations, a backfill, the sensor, the gate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("dagster", reason="the extra `dagster` is not installed")

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from orchestration.dagster.assets import contract_problems, flow_assets
from orchestration.dagster.command import Command
from orchestration.dagster.definitions import definitions, first_month
from orchestration.flow import FLOW
from orchestration.manifests import published
from orchestration.tables import APPROVAL
from pipelines.contract import ConfigError, Run
from pipelines.dumps import Dump
from pipelines.tables import COMMENTS

pytestmark = [pytest.mark.engine, pytest.mark.slow]

MONTHS = ("2019-08-01", "2019-09-01", "2019-10-01")
RANGE = {"dagster/asset_partition_range_start": MONTHS[0]}
RANGE |= {"dagster/asset_partition_range_end": MONTHS[-1]}
WORDS: tuple[str, ...] = ("--users", "60", "--set", "train.epochs=2", "--set", "train.ablations=")
WORDS += ("--set", "evaluate.permutations=50", "--set", "approve.policy=checked")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    folder = tmp_path_factory.mktemp("dagster")
    yield Command(("sample", "--root", str(folder / "run"), *WORDS))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def built(command: Command) -> dg.Definitions:
    return definitions(command, "2019-08", parallel=2)


def test_the_definitions_load_and_hold_every_table(command: Command) -> None:
    dg.Definitions.validate_loadable(built(command))
    graph = built(command).resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        output.name for step in FLOW for output in step.writes
    }


def test_a_backfill_of_a_range_is_one_run_of_the_plain_command(
    command: Command, instance: dg.DagsterInstance
) -> None:
    job = built(command).resolve_job_def("ingest_months")
    done = job.execute_in_process(instance=instance, tags=RANGE)
    assert done.success
    run = Run(root=command.root)
    assert list(published(run, "interactions")) == [month[:7] for month in MONTHS]
    assert len({m.run_id for m in published(run, "ingest").values()}) == 1
    ready = instance.get_materialized_partitions(dg.AssetKey("interactions"))
    assert ready == set(MONTHS)
    checks = done.get_asset_check_evaluations()
    assert {c.check_name for c in checks} == {"contract"} and all(c.passed for c in checks)


def test_a_refresh_publishes_and_one_that_is_worse_does_not(
    command: Command, instance: dg.DagsterInstance
) -> None:
    job = built(command).resolve_job_def("refresh")
    first = job.execute_in_process(instance=instance)
    assert first.success
    told = first.asset_materializations_for_node("evaluate")[0].metadata
    assert told["rows_out"].value > 0 and "Training" in told
    run = Run(root=command.root)
    published_before = published(run, "index_personas")["all"]

    quality = APPROVAL.path(run) / "quality.json"
    better = json.loads(quality.read_text())
    better["figures"]["link.mrr"] *= 2  # as if the last run had been better
    quality.write_text(json.dumps(better))
    words = (*command.words, "--set", "evaluate.seed=1")
    worse = built(Command(words)).resolve_job_def("refresh")
    last = [dg.AssetKey(name) for name in ("evaluation", "approval", "persona_store")]
    done = worse.execute_in_process(instance=instance, raise_on_error=False, asset_selection=last)
    assert not done.success
    (gate,) = [c for c in done.get_asset_check_evaluations() if c.check_name == "quality"]
    assert not gate.passed
    assert "link.mrr" in str(gate.metadata["why"].value)
    assert published(run, "index_personas")["all"] == published_before


def test_the_sensor_asks_for_new_and_changed_months(
    command: Command, instance: dg.DagsterInstance
) -> None:
    dumps = Path(command.inputs[0])
    sensor = built(command).get_sensor_def("new_dumps")
    assert sensor.name == "new_dumps"

    def tick(cursor: str | None) -> tuple[list[str], str]:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, definitions=built(command)
        )
        result = sensor.evaluate_tick(context)
        return [str(r.partition_key) for r in result.run_requests or []], str(result.cursor)

    months, cursor = tick(None)
    assert tuple(months) == MONTHS
    assert tick(cursor) == ([], cursor)
    with (dumps / "RC_2019-09.zst").open("ab") as file:
        file.write(b"more")
    shutil.copy(dumps / "RC_2019-08.zst", dumps / "RC_2019-07.zst")  # before the first partition
    months, cursor = tick(cursor)
    assert months == [MONTHS[1]] and "2019-07" not in cursor
    (dumps / "RC_2019-07.zst").unlink()


def test_a_refresh_follows_months_that_were_ingested_though_the_last_one_failed(
    command: Command,
) -> None:
    """The run that succeeded had to wait for the one that failed, which nothing else looks at."""
    made = built(command)

    def asked(instance: dg.DagsterInstance, sensor: str, run: dg.DagsterRun) -> bool:
        kind = "FAILURE" if run.status is dg.DagsterRunStatus.FAILURE else "SUCCESS"
        event = dg.DagsterEvent(f"PIPELINE_{kind}", run.job_name)
        context = dg.build_run_status_sensor_context(sensor, event, instance, run)
        (answer,) = made.get_sensor_def(sensor)(context)
        return isinstance(answer, dg.RunRequest)

    with dg.instance_for_test() as instance:

        def ended(job: str, how: dg.DagsterRunStatus) -> dg.DagsterRun:
            return create_run_for_test(instance, job_name=job, status=how)

        failed = ended("ingest_months", dg.DagsterRunStatus.FAILURE)
        assert not asked(instance, "after_failed_ingest", failed)  # nothing came of it
        ingested = ended("ingest_months", dg.DagsterRunStatus.SUCCESS)
        under_way = ended("ingest_months", dg.DagsterRunStatus.STARTED)
        assert not asked(instance, "after_ingest", ingested)
        instance.report_run_failed(under_way)
        failed = instance.get_run_by_id(under_way.run_id)
        assert failed is not None and asked(instance, "after_failed_ingest", failed)
        ended("refresh", dg.DagsterRunStatus.SUCCESS)
        assert not asked(instance, "after_failed_ingest", failed)


def test_the_contract_check_finds_a_broken_file(command: Command) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = Run(root=command.root)
    assert contract_problems(COMMENTS, run, ["2019-08"]) == []
    file = COMMENTS.path(Run(root=run.root, month="2019-08")) / "part-x.parquet"
    pq.write_table(pa.table({"comment_id": ["12"]}), file)
    (problem,) = contract_problems(COMMENTS, run, ["2019-08"])
    assert "'comment_id' is string, expected uint64" in problem
    file.unlink()


def test_a_failing_command_is_tried_again_only_if_that_may_help(
    command: Command, instance: dg.DagsterInstance
) -> None:
    wrong = Command((*command.words, "--set", "ingest.over_18=maybe"))
    months = dg.MonthlyPartitionsDefinition(start_date=MONTHS[0])
    assets = flow_assets(wrong, months, parallel=1)[:1]
    done = dg.materialize(assets, instance=instance, partition_key=MONTHS[0], raise_on_error=False)
    (failure,) = [e for e in done.all_events if e.event_type_value == "STEP_FAILURE"]
    assert "over_18='maybe'" in str(failure.event_specific_data)
    assert not [e for e in done.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]


def test_the_first_month_is_that_of_the_dumps_and_they_may_come_later(tmp_path: Path) -> None:
    command = Command(("run", f"--root={tmp_path / 'run'}", f"--input={tmp_path / 'dumps'}"))
    (tmp_path / "dumps").mkdir()
    assert command.root == tmp_path / "run"
    assert first_month(command) == "2005-06"
    (tmp_path / "dumps" / "RS_extra.ndjson").write_text("{}")
    assert first_month(command) == "2005-06"
    (tmp_path / "dumps" / "RS_2019-08.ndjson").write_text("{}")
    assert first_month(command) == "2019-08"


def test_stores_are_reached_as_the_command_reaches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[list[str], list[str]]] = []

    def found(inputs: list[str], options: list[str]) -> dict[str, list[Dump]]:
        told.append((inputs, options))
        return {}

    monkeypatch.setattr("orchestration.dagster.command.discover", found)
    words = ("run", "--root", "r", "--input", "s3://dumps/")
    Command((*words, "--set", "beam.options=--s3_a=b,--s3_c=d")).dumps()
    assert told == [(["s3://dumps/"], ["--s3_a=b", "--s3_c=d"])]


@pytest.mark.parametrize("words", [(), ("forget", "--root", "x"), ("run", "--input", "x")])
def test_wrong_commands_are_named(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected `run` or `sample` first|--root is missing"):
        Command(words)
