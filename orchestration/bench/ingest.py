"""`make bench-ingest`: our ingest beside zstd, scripts and DuckDB, on the same generated months.

All run one after the other in processes of their own, on files that the page cache holds. Speeds
are raw (uncompressed) megabytes of 10^6 bytes a second. Times of Python readers leave out the start
of Python and its imports, which a real month does not notice; ours includes the start of Beam,
and its kernels are loaded before, as imports are.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from orchestration.bench.measure import measure
from orchestration.bench.months import Month, ensure_month
from orchestration.bench.scaling import Point, interactions_scaling
from pipelines.dumps import Kind

BENCH = Path("runs/bench")
KINDS: tuple[Kind, ...] = ("RC", "RS")
SCRIPTS = ("script_json", "script_orjson")
RAW_BYTES, QUICK_RAW_BYTES = 8_000_000_000, 500_000_000
SCRIPT_LIMIT_S, QUICK_SCRIPT_LIMIT_S = 60.0, 10.0
# Whose speed divides ours; what each should be.
GOALS: Mapping[str, float] = {"ratio_to_zstd": 0.8, "ratio_to_duckdb": 1.0, "ratio_to_script": 10.0}
# The floor is `zstd -dc --long=31 | wc -l`; the others are in `readers`.
NAMES = ("zstd", *SCRIPTS, "duckdb", "ours")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one reader read.

    Args:
        mb_per_s: Raw megabytes a second.
        lines_per_s: Lines a second.
        peak_rss_bytes: Of its process tree.
        rows_out: Rows that it wrote: ours leaves some out by its rules.
        share: Part of the file that it read, from its start.
    """

    mb_per_s: float
    lines_per_s: float
    peak_rss_bytes: int
    rows_out: int = 0
    share: float = 1.0


def main(
    *,
    quick: Annotated[bool, typer.Option(help="Small months, under three minutes.")] = False,
    raw_mb: Annotated[float, typer.Option(help="Raw MB a month; 0: 8000, or 500 if quick.")] = 0.0,
    workers: Annotated[int, typer.Option(help="Threads of ours and of DuckDB.")] = (
        os.cpu_count() or 1
    ),
    seed: Annotated[int, typer.Option(help="Of the generated months.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for months and results.")] = BENCH,
    keep_over_18: Annotated[bool, typer.Option(help="Ours writes what is over 18, too.")] = False,
) -> None:
    """Compare the readers on an RC and an RS month, print one table, write ingest.json."""
    console = Console()
    raw_bytes = int(raw_mb * 1e6) or (QUICK_RAW_BYTES if quick else RAW_BYTES)
    options = f"--workers {workers} --limit-s {QUICK_SCRIPT_LIMIT_S if quick else SCRIPT_LIMIT_S}"
    options += " --keep-over-18" if keep_over_18 else ""
    work = out / "ingest_work"
    found: dict[Kind, dict[str, Speed]] = {}
    months = {kind: _month(kind, raw_bytes, seed, out, console) for kind in KINDS}
    for kind, month in months.items():
        found[kind] = {}
        month.path.read_bytes()  # Into the page cache.
        for name in _available(console):
            with console.status(f"{kind}: {name}"):
                found[kind][name] = read_once(name, month, options, work)
    with console.status("interactions at 1x, 2x, 4x"):
        points = interactions_scaling(raw_bytes // 4, seed, workers, out / "months", work)
    result = summary(months, found, points) | {"workers": workers, "seed": seed, "quick": quick}
    result["keep_over_18"] = keep_over_18
    console.print(speed_table(found, result), scaling_table(points))
    (out / "ingest.json").write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")


def read_once(name: str, month: Month, options: str, work: Path) -> Speed:
    """Let a reader read a month in a process of its own; what it writes is removed again.

    Args:
        name: One of NAMES.
        month: What it reads.
        options: For `readers`, as words of its command line.
        work: Folder for what it writes.
    """
    path, out = shlex.quote(str(month.path)), shlex.quote(str(work))
    unpacked = f"zstd -dc --long=31 {path}"
    python = f"{shlex.quote(sys.executable)} -m orchestration.bench.readers"
    told = f"--path {path} --out {out} {options}"
    if name == "zstd" and shutil.which("zstd"):
        measured = measure(f"{unpacked} | wc -l")
        seconds, num_lines, rows_out = measured.seconds, int(measured.output), 0
    else:
        reader = "python_floor" if name == "zstd" else name
        piped = f"{unpacked} | " if name == "duckdb" else ""
        shutil.rmtree(work, ignore_errors=True)
        measured = measure(f"{piped}{python} {reader} {told}")
        shutil.rmtree(work, ignore_errors=True)
        read = json.loads(measured.output.splitlines()[-1])
        seconds, rows_out = read["seconds"], read["rows_out"]
        num_lines = read["num_lines"] or rows_out
    share = num_lines / month.num_lines
    if name not in SCRIPTS and share != 1:
        raise AssertionError(f"{name} read {num_lines} of {month.num_lines} lines of {month.path}")
    return Speed(
        mb_per_s=share * month.raw_bytes / seconds / 1e6,
        lines_per_s=num_lines / seconds,
        peak_rss_bytes=measured.peak_rss_bytes,
        rows_out=rows_out,
        share=share,
    )


def together(months: Mapping[Kind, Month], speeds: Mapping[Kind, Speed]) -> Speed:
    """Speed over all months, each as long as its own speed makes it; memory of the larger."""
    raw_mb = sum(month.raw_bytes for month in months.values()) / 1e6
    num_lines = sum(month.num_lines for month in months.values())
    seconds = sum(month.raw_bytes / 1e6 / speeds[kind].mb_per_s for kind, month in months.items())
    return Speed(
        mb_per_s=raw_mb / seconds,
        lines_per_s=num_lines / seconds,
        peak_rss_bytes=max(speed.peak_rss_bytes for speed in speeds.values()),
        rows_out=sum(speed.rows_out for speed in speeds.values()),
        share=min(speed.share for speed in speeds.values()),
    )


def summary(
    months: Mapping[Kind, Month],
    found: Mapping[Kind, Mapping[str, Speed]],
    points: Sequence[Point],
) -> dict[str, Any]:
    """What ingest.json holds; the script that ours is divided by is the faster one."""
    names = list(found[KINDS[0]])
    both = {name: together(months, {k: found[k][name] for k in months}) for name in names}
    return {
        **{name: asdict(speed) for name, speed in both.items()},
        **_ratios(both),
        **{kind.lower(): {n: asdict(s) for n, s in found[kind].items()} | _ratios(found[kind])
           for kind in months},
        "months": {
            kind.lower(): {
                "num_lines": month.num_lines,
                "raw_bytes": month.raw_bytes,
                "zst_bytes": month.path.stat().st_size,
            }
            for kind, month in months.items()
        },
        "interactions_scaling": [asdict(point) for point in points],
        "floor": "zstd" if shutil.which("zstd") else "python-zstandard, there is no zstd program",
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
    }  # fmt: skip


def _ratios(speeds: Mapping[str, Speed]) -> dict[str, float]:
    ours = speeds["ours"].mb_per_s
    ratios = {f"ratio_to_{name}": ours / speeds[name].mb_per_s for name in speeds if name != "ours"}
    ratios["ratio_to_script"] = min(ratios[f"ratio_to_{name}"] for name in SCRIPTS)
    return ratios


def speed_table(found: Mapping[Kind, Mapping[str, Speed]], result: Mapping[str, Any]) -> Table:
    """One row a reader: both months together, then each."""
    table = Table(
        Column("reader", no_wrap=True),
        "MB/s",
        Column("lines/s", no_wrap=True),
        "peak GB",
        "ours / it",
        "goal",
    )
    for kind in KINDS:
        table.add_column(f"{kind} MB/s")
    for name in found[KINDS[0]]:
        speed = result[name]
        ratio = result.get(f"ratio_to_{name}", 1.0)
        goal = GOALS.get("ratio_to_script" if name in SCRIPTS else f"ratio_to_{name}")
        met = "" if goal is None else f"[{'green' if ratio >= goal else 'red'}]{goal}[/]"
        part = "" if speed["share"] == 1 else f" (first {speed['share']:.0%})"
        table.add_row(
            name + part,
            f"{speed['mb_per_s']:,.0f}",
            f"{speed['lines_per_s']:,.0f}",
            f"{speed['peak_rss_bytes'] / 1e9:.2f}",
            f"{ratio:.2f}",
            met,
            *(f"{found[kind][name].mb_per_s:,.0f}" for kind in KINDS),
        )
    return table


def scaling_table(points: Sequence[Point]) -> Table:
    """One row a size: time of the step interactions, and per million rows."""
    table = Table("interactions", "rows in", "seconds", "seconds per million rows")
    for point in points:
        per_million = f"{point.seconds / point.rows_in * 1e6:.2f}"
        table.add_row(f"{point.factor}x", f"{point.rows_in:,}", f"{point.seconds:.2f}", per_million)
    return table


def _month(kind: Kind, raw_bytes: int, seed: int, out: Path, console: Console) -> Month:
    with console.status(f"{kind}: making a month of {raw_bytes / 1e6:,.0f} MB"):
        month = ensure_month(kind, raw_bytes, seed, out / "months")
    console.print(
        f"{month.path}: {month.num_lines:,} lines, {month.raw_bytes / 1e6:,.0f} MB raw, "
        f"{month.ratio:.1f}x compressed",
        soft_wrap=True,
    )
    return month


def _available(console: Console) -> list[str]:
    """The readers that this machine has; says what is missing."""
    names = list(NAMES)
    if shutil.which("zstd") is None:
        console.print("no program zstd: python-zstandard stands for it, and DuckDB has no pipe")
        names.remove("duckdb")
    elif find_spec("duckdb") is None:
        console.print("DuckDB is not installed: pip install '.[bench]'")
        names.remove("duckdb")
    return names


if __name__ == "__main__":
    typer.run(main)
