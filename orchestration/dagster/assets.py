"""Assets: the tables of the flow, a step each, with what the manifests say as metadata."""

# No `from __future__ import annotations`: Dagster looks at the type of `context` itself.
import base64
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from orchestration.dagster.command import Command
from orchestration.flow import FLOW, Step, step_named
from orchestration.manifests import Manifest
from orchestration.tables import APPROVAL, EVALUATION
from pipelines.contract import ContractError, Run, Table

CONTRACT, QUALITY = "contract", "quality"
RETRIES = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)


def flow_assets(
    command: Command, months: dg.MonthlyPartitionsDefinition, parallel: int
) -> list[dg.AssetsDefinition]:
    """One definition a step of the flow; its assets are the step's tables and artifacts."""
    return [_assets(step, command, months, parallel) for step in FLOW]


def _assets(
    step: Step, command: Command, months: dg.MonthlyPartitionsDefinition, parallel: int
) -> dg.AssetsDefinition:
    before = [t.name for name in step.after for t in step_named(name).writes]
    specs = [
        dg.AssetSpec(
            output.name,
            deps=[*(table.name for table in step.reads), *before],
            description=output.doc,
            group_name=step.function.partition(".")[0],
        )
        for output in step.writes
    ]
    tables = [output for output in step.writes if isinstance(output, Table)]
    checks = [dg.AssetCheckSpec(CONTRACT, asset=table.name) for table in tables]
    if APPROVAL in step.writes:
        checks.append(dg.AssetCheckSpec(QUALITY, asset=APPROVAL.name, blocking=True))

    @dg.multi_asset(
        name=step.name,
        specs=specs,
        check_specs=checks,
        partitions_def=months if step.monthly else None,
        backfill_policy=dg.BackfillPolicy.single_run() if step.monthly else None,
        retry_policy=RETRIES,
    )
    def compute(context: dg.AssetExecutionContext) -> Iterator[Any]:
        keys = [key[:7] for key in context.partition_keys] if step.monthly else []
        try:
            made = command.run(step, keys, parallel, context.log)
        except dg.Failure:
            told = command.quality_fell() if APPROVAL in step.writes else None
            if told is not None:
                yield dg.AssetCheckResult(
                    check_name=QUALITY,
                    asset_key=APPROVAL.name,
                    passed=False,
                    metadata={"why": told},
                )
            raise
        yield from _results(step, command, made)

    return compute


def _results(step: Step, command: Command, made: list[Manifest]) -> Iterator[Any]:
    run = Run(root=command.root)
    shared = step_metadata(made) | _plots(step, run)
    for output in step.writes:
        yield dg.MaterializeResult(asset_key=output.name, metadata=shared)
        if isinstance(output, Table):
            wrong = contract_problems(output, run, [m.month for m in made])
            yield dg.AssetCheckResult(
                check_name=CONTRACT,
                asset_key=output.name,
                passed=not wrong,
                metadata={"problems": wrong},
            )
    if APPROVAL in step.writes:
        figures = {name: value for m in made for name, value in m.counts.metrics.items()}
        yield dg.AssetCheckResult(
            check_name=QUALITY, asset_key=APPROVAL.name, passed=True, metadata=figures
        )


def step_metadata(made: list[Manifest]) -> dict[str, Any]:
    """Rows, rates, time and memory of a step, over the months that it ran for."""
    seconds = sum(m.seconds for m in made)
    rows_in = sum(m.counts.rows_in for m in made)
    lost = [
        f"| {m.month} | {reason} | {number:,} |"
        for m in made
        for reason, number in {**m.counts.rejected, **m.counts.dropped}.items()
    ]
    return {
        "rows_in": rows_in,
        "rows_out": sum(m.counts.rows_out for m in made),
        "seconds": seconds,
        "rows_per_s": rows_in / seconds if seconds else 0.0,
        "peak_memory_bytes": max(m.peak_rss_bytes for m in made),
        "runs": sorted({m.run_id for m in made}),
        "left_out": dg.MetadataValue.md(
            "\n".join(["| month | reason | rows |", "| - | - | - |", *lost])
        ),
    }


def contract_problems(table: Table, run: Run, months: list[str]) -> list[str]:
    """What of the published files breaks the table's contract: columns, types, nulls."""
    wanted = [f"month={month}" for month in months]
    files = [f for f in table.files(run) if not table.monthly or f.parent.name in wanted]
    problems = [] if files else [f"{table.path(run)} has no files"]
    for file in files:
        with pq.ParquetFile(file) as opened:
            try:
                for batch in opened.iter_batches():
                    table.check(batch)
            except ContractError as error:
                problems.append(f"{file.name}: {error}")
    return problems


def _plots(step: Step, run: Run) -> dict[str, Any]:
    """Plots of the evaluation's figures, as the report draws them."""
    if EVALUATION not in step.writes:
        return {}
    from orchestration.report import collect_metrics
    from orchestration.report.plots import all_plots

    drawn = all_plots(run, collect_metrics(run, []))
    return {title: dg.MetadataValue.md(_image(svg)) for title, svg in drawn.items()}


def _image(svg: str) -> str:
    return f"![plot](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
