"""`make bench-refresh`: what a new month costs, a backfill in parallel, and faults.

A sample world of 13 months, whose users come, go quiet and return: 27% of them do anything in an
average month. That is the most that the paper's figures allow: 682 M submissions and comments of
22 M users in 96 months are .32 a user and month, and were they spread as evenly as chance does,
1 - exp(-.32) = .27 of all user-months would have one. In fact activity is bursty and
heavy-tailed, so fewer do, and a refresh costs less. Users of the world do more than those when
active, so that there is a persona to make. A twentieth of them are new in the last month. Runs:

- `before`: 12 months. Then the 13th is added, the encoder kept: `refresh.seconds`.
- `full`: 13 months from nothing, trained as the profile of the sample says: `refresh.full_seconds`.
  Its share is the 13th month's part of all lines read.
- `full` with the encoder of `before` in place of its own, run again: its personas and evidence are
  what the policy promises to users who did anything in the 13th month; to the others, what they had
  before. `kept_differ` says how many of those a rebuild would have told otherwise.
- months 1 to 12 ingested one after another and several at once: tables must be equal.

Faults are in `orchestration.bench.faults`.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
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
from pipelines.tables import INTERACTIONS

BENCH = Path("runs/bench")
RESULT = BENCH / "refresh.json"
YEAR = tuple(f"2019-{month:02d}" for month in range(1, 13))
NEW = "2020-01"
MONTHLY = tuple(step.name for step in FLOW if step.monthly)
PARALLEL = 2
ACTIVE_SHARE = 0.27  # of users in an average month, see above


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
        active_share=ACTIVE_SHARE,
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
    before = told(roots["before"])
    everything = (*months, NEW)
    grown = over(base, roots["before"], world, everything)
    seconds = timed(profiles.kept(grown, keep_encoder=True), console)
    full = over(base, roots["full"], world, everything)
    full_seconds = timed(full, console)
    share = lines(roots["full"], NEW) / sum(lines(roots["full"], m) for m in everything)
    took = {
        "seconds": seconds,
        "full_seconds": full_seconds,
        "share": share,
        "share_ratio": seconds / (share * full_seconds),
        "steps": {m.step: m.seconds for m in newest(roots["before"])},
        "full_steps": step_seconds(roots["full"]),
    }
    after, active = told(roots["before"]), active_users(roots["before"], NEW)
    made, evidence = (
        published(Run(root=roots["before"]), step)["all"].counts.metrics
        for step in ("verbalize", "build_evidence")
    )
    rebuilt = rebuilt_with_encoder_of(roots["before"], full, console)
    return took | {
        "reverbalized": int(made["verbalized"]),
        "kept": int(evidence["kept"]),
        "renewed": int(evidence["renewed"]),
        **of_users(before, after, rebuilt, active),
    }


@dataclass(frozen=True)
class Told:
    """What a run says of a user: hash and ids of the evidence, and the persona."""

    hash: str
    items: tuple[str, ...]
    persona: str


def told(root: Path) -> dict[str, Told]:
    """What the run under `root` says of every user who has evidence."""
    rows = PERSONAS.read(Run(root=root), columns=["user_id", "persona"]).to_pylist()
    personas = {row["user_id"]: row["persona"] for row in rows}
    return {
        user.user_id: Told(
            user.hash, tuple(i.evidence_id for i in user.items), personas.get(user.user_id, "")
        )
        for user in group_users(EVIDENCE.read(Run(root=root)))
    }


def active_users(root: Path, month: str) -> set[str]:
    """Users who did anything in a month, as its dumps say."""
    found = INTERACTIONS.read(Run(root=root, month=month), columns=["user_id"])
    return set(found.column("user_id").to_pylist())


def of_users(
    before: Mapping[str, Told],
    after: Mapping[str, Told],
    rebuilt: Mapping[str, Told],
    active: Collection[str],
) -> dict[str, Any]:
    """Users by what a refresh said of them, against before and against a rebuild."""
    stay = {user for user in after.keys() - set(active) if before.get(user) == after[user]}
    differ = {user for user in stay if rebuilt.get(user) != after[user]}
    others = {
        user for user in differ if user not in rebuilt or rebuilt[user].items != after[user].items
    }
    return {
        "personas": len(after),
        "active": len(active),
        "active_share": len(active) / len(after),
        "evidence_changed": sum(
            user not in before or before[user].hash != said.hash for user, said in after.items()
        ),
        "kept_differ": {"evidence": len(differ), "items": len(others)},
        "equal": as_promised(before, after, rebuilt, active),
    }


def as_promised(
    before: Mapping[str, Told],
    after: Mapping[str, Told],
    rebuilt: Mapping[str, Told],
    active: Collection[str],
) -> bool:
    """Whether a refresh kept its policy.

    Who was active has what a rebuild with the same encoder says, and everybody else that or what
    was said before. No user is missing, and none too many.
    """
    return after.keys() == rebuilt.keys() and all(
        said == rebuilt.get(user) or (user not in active and said == before.get(user))
        for user, said in after.items()
    )


def rebuilt_with_encoder_of(refreshed: Path, full: Profile, console: Console) -> dict[str, Told]:
    """What a full rebuild with the encoder of `refreshed` says."""
    for name in ("artifacts/checkpoint", "manifests/train_gat"):
        shutil.rmtree(full.root / name)
        shutil.copytree(refreshed / name, full.root / name)
    timed(profiles.kept(full, keep_encoder=True), console)
    return told(full.root)


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
    took = {f"{name}_seconds": value for name, value in seconds.items()}
    return {"equal": equal, "tables": len(tables), "months": len(months), **took}


def timed(profile: Profile, console: Console, how: How = How()) -> float:  # noqa: B008
    """Seconds of a run."""
    start = time.perf_counter()
    run_profile(profile, Reporter(console), how)
    return round(time.perf_counter() - start, 3)


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
