"""`make bench-refresh`: what a new month costs, a backfill in parallel, and faults.

A sample world of 13 months. Runs:

- `before`: 12 months. Then the 13th is added, the encoder kept: `refresh.seconds`.
- `full`: 13 months from nothing, trained as the profile of the sample says: `refresh.full_seconds`.
  Its share is the 13th month's part of all lines read.
- `full` with the encoder of `before` in place of its own, run again: its personas are those that
  the policy promises to the refresh, and must be equal.
- months 1 to 12 ingested one after another and several at once: tables must be equal.

Faults are in `orchestration.bench.faults`.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console

from orchestration import profiles
from orchestration.bench.faults import all_faults
from orchestration.engines import quiet_engines
from orchestration.flow import FLOW
from orchestration.manifests import Manifest, published
from orchestration.profiles import Profile
from orchestration.progress import Reporter
from orchestration.runner import How, run_profile
from orchestration.sample.config import WorldConfig
from orchestration.worlds import ensure_world
from persona.items import group_users
from persona.tables import EVIDENCE, PERSONAS
from pipelines.contract import Run, Table

BENCH = Path("runs/bench")
RESULT = BENCH / "refresh.json"
YEAR = tuple(f"2019-{month:02d}" for month in range(1, 13))
NEW = "2020-01"
MONTHLY = tuple(step.name for step in FLOW if step.monthly)
PARALLEL = 2


def main(
    users: Annotated[int, typer.Option(help="Users of the sample world.")] = 20_000,
    quick: Annotated[bool, typer.Option("--quick", help="300 users, 4 months.")] = False,
    only: Annotated[
        str, typer.Option(help="refresh, backfill, faults; several by comma. Empty: all.")
    ] = "",
) -> None:
    """Measure, print and write refresh.json."""
    quiet_engines()
    console = Console()
    parts = only.split(",") if only else ["refresh", "backfill", *(["faults"] * (not quick))]
    months = YEAR[-3:] if quick else YEAR
    users = 300 if quick else users
    work = BENCH / ("refresh_quick" if quick else "refresh")
    config = WorldConfig(
        users=users,
        months=(*months, NEW),
        image_size=48,
        poster_share=0.1,
        new_user_share=0.05,
    )
    ensure_world(config, work / "world")
    settings = ("train.epochs=3", "train.ablations=", "evaluate.permutations=200") if quick else ()
    base = profiles.override(profiles.local_sample(work / "run", work / "world"), settings)
    earlier = json.loads(RESULT.read_text()) if only and RESULT.exists() else {}
    found: dict[str, Any] = {**earlier, "users": users, "months": len(months)}
    if "refresh" in parts:
        found["refresh"] = measure_refresh(base, months, work, console)
        write(found)
    if "backfill" in parts:
        found["backfill"] = measure_backfill(base, months, work, console)
        write(found)
    if "faults" in parts:
        found["faults"] = []
        for fault in all_faults(work / "faults", console):
            found["faults"].append(vars(fault))
            write(found)  # a fault that ends the bench leaves what was measured before
    console.print(json.dumps(found, indent=2, sort_keys=True), markup=False, highlight=False)


def write(found: dict[str, Any]) -> None:
    """Write the figures so far."""
    BENCH.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


def over(profile: Profile, root: Path, world: Path, months: tuple[str, ...]) -> Profile:
    """The profile in another place, over the dumps of some months."""
    dumps = tuple(
        str(world / "dumps" / f"{kind}_{month}.zst") for month in months for kind in ("RS", "RC")
    )
    return replace(profile, root=root, ingest=replace(profile.ingest, inputs=dumps))


def measure_refresh(
    base: Profile, months: tuple[str, ...], work: Path, console: Console
) -> dict[str, Any]:
    """A further month on top of a finished run, against a full rebuild."""
    world, roots = work / "world", {name: work / name for name in ("before", "full")}
    for root in roots.values():
        shutil.rmtree(root, ignore_errors=True)
    timed(over(base, roots["before"], world, months), console)
    before = hashes(roots["before"])
    everything = (*months, NEW)
    grown = over(base, roots["before"], world, everything)
    seconds = timed(profiles.kept(grown, keep_encoder=True), console)
    full = over(base, roots["full"], world, everything)
    full_seconds = timed(full, console)
    after = hashes(roots["before"])
    share = lines(roots["full"], NEW) / sum(lines(roots["full"], m) for m in everything)
    made = published(Run(root=roots["before"]), "verbalize")["all"].counts.metrics
    changed = [user for user in after if before.get(user) != after[user]]
    equal = equal_with_encoder_of(roots["before"], full, console)
    return {
        "seconds": seconds,
        "full_seconds": full_seconds,
        "share": share,
        "share_ratio": seconds / (share * full_seconds),
        "reverbalized": int(made["verbalized"]),
        "evidence_changed": len(changed),
        "personas": len(after),
        "equal": equal,
        "steps": {m.step: m.seconds for m in newest(roots["before"])},
        "full_steps": step_seconds(roots["full"]),
    }


def equal_with_encoder_of(refreshed: Path, full: Profile, console: Console) -> bool:
    """Whether a full rebuild with the encoder of `refreshed` has its personas and evidence."""
    for name in ("artifacts/checkpoint", "manifests/train_gat"):
        shutil.rmtree(full.root / name)
        shutil.copytree(refreshed / name, full.root / name)
    timed(profiles.kept(full, keep_encoder=True), console)
    return same_tables(refreshed, full.root, (EVIDENCE, PERSONAS))


def measure_backfill(
    base: Profile, months: tuple[str, ...], work: Path, console: Console
) -> dict[str, Any]:
    """Months one after another, and several at once."""
    seconds = {}
    for name, parallel in (("sequential", 1), ("parallel", PARALLEL)):
        shutil.rmtree(work / name, ignore_errors=True)
        profile = over(base, work / name, work / "world", months)
        how = How(only=MONTHLY, parallel=parallel)
        seconds[name] = timed(profile, console, how)
    tables = [t for step in FLOW if step.monthly for t in step.writes if isinstance(t, Table)]
    equal = same_tables(work / "sequential", work / "parallel", tables)
    told = {f"{name}_seconds": value for name, value in seconds.items()}
    return {"equal": equal, "tables": len(tables), "months": len(months), **told}


def timed(profile: Profile, console: Console, how: How = How()) -> float:  # noqa: B008
    """Seconds of a run."""
    start = time.perf_counter()
    run_profile(profile, Reporter(console), how)
    return round(time.perf_counter() - start, 3)


def hashes(root: Path) -> dict[str, str]:
    """Hash of the evidence of every user."""
    return {user.user_id: user.hash for user in group_users(EVIDENCE.read(Run(root=root)))}


def lines(root: Path, month: str) -> int:
    """Lines of a month's dumps."""
    return published(Run(root=root), "ingest")[month].counts.rows_in


def newest(root: Path) -> list[Manifest]:
    """What the newest run made."""
    all_ = [m for step in FLOW for m in published(Run(root=root), step.name).values()]
    last = max(m.run_id for m in all_)
    return [m for m in all_ if m.run_id == last]


def step_seconds(root: Path) -> dict[str, float]:
    """Seconds of each step, over all months."""
    return {
        step.name: round(sum(m.seconds for m in published(Run(root=root), step.name).values()), 3)
        for step in FLOW
    }


def same_tables(left: Path, right: Path, tables: Any) -> bool:
    """Whether tables hold the same rows, in the order of their keys."""
    return all(
        pl.DataFrame(table.read(Run(root=left)))
        .sort(table.key)
        .equals(pl.DataFrame(table.read(Run(root=right))).sort(table.key))
        for table in tables
    )


if __name__ == "__main__":
    typer.run(main)
