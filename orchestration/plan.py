"""What would run, and why: each step and month against the manifest of what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graph.tables import CHECKPOINT
from orchestration.flow import FLOW, Step, producer, step_named
from orchestration.manifests import (
    ALL_MONTHS,
    Depends,
    Manifest,
    changes,
    depends,
    fingerprint,
    inputs,
    lineage,
    published,
    rules,
)
from orchestration.profiles import SETTINGS, Profile
from persona.idle import LastEvidence, evidence_rules
from persona.tables import EVIDENCE
from pipelines.contract import Run
from pipelines.dumps import Dump

Dumps = Mapping[str, list[Dump]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One step for one month (or for all): what would run, under which fingerprint, and why.

    Args:
        reasons: Why it must run; none if it is done.
        kept: What changed, where a policy keeps the result all the same.
    """

    step: Step
    config: Any
    resources: Any
    month: str | None
    fingerprint: str
    depends: Depends = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Month in manifests and file names."""
        return self.month or ALL_MONTHS

    @property
    def label(self) -> str:
        """For people."""
        return self.step.name + (f" {self.month}" if self.month else "")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A task, and tables that it reads and that may be other ones when its turn comes.

    Args:
        users: Of build_evidence: whose evidence would stay.
    """

    task: Task
    uncertain: tuple[str, ...]
    users: str = ""


def tasks(
    step: Step, profile: Profile, run: Run, dumps: Dumps, force: bool = False
) -> Iterator[Task]:
    """The step's tasks, a month each where it is monthly, as things are when each is asked for."""
    for month in sorted(dumps) if step.monthly else [None]:
        yield task_of(step, profile, replace(run, month=month), dumps, force)


def task_of(step: Step, profile: Profile, run: Run, dumps: Dumps, force: bool = False) -> Task:
    """The step's task for `run.month`, with the reasons why it must run."""
    config, resources = profile.settings(step.name)
    on = depends(step, config, run, dumps[run.month] if run.month and not step.reads else ())
    mark = fingerprint(step, run.month, on)
    before = published(run, step.name).get(run.month or ALL_MONTHS)
    of_settings = lineage(step, {name: profile.settings(name)[0] for name in SETTINGS})
    reasons = _reasons(step, before, mark, on, run)
    kept: list[str] = []
    if before is not None and reasons and _is_kept(step, profile, before, of_settings, run):
        reasons, kept, mark = [], reasons, before.fingerprint
    if before is not None and force:
        reasons = [*reasons, "forced"]
    return Task(
        step=step,
        config=config,
        resources=resources,
        month=run.month,
        fingerprint=mark,
        depends=on,
        lineage=of_settings,
        reasons=tuple(reasons),
        kept=tuple(kept),
    )


def plan(profile: Profile, run: Run, dumps: Dumps) -> list[Planned]:
    """Every task of the flow in order; nothing is run, so what follows a task is uncertain."""
    found: list[Planned] = []
    stale: set[tuple[str, str]] = set()
    for step in FLOW:
        for task in tasks(step, profile, run, dumps):
            read = {table.name for table in step.reads}
            uncertain = sorted(
                {name for name, month in stale if name in read and _meet(task.month, month)}
            )
            if task.reasons or (uncertain and not _holds(step, profile, task)):
                stale |= {(table.name, task.key) for table in step.writes}
            users = ""
            if step.name == "build_evidence":
                trains = (CHECKPOINT.name, ALL_MONTHS) in stale
                users = _whose_evidence_stays(task, run, trains)
            found.append(Planned(task=task, uncertain=tuple(uncertain), users=users))
    return found


def _whose_evidence_stays(task: Task, run: Run, trains: bool) -> str:
    """What becomes of users in whose own data nothing changed; empty before there is evidence."""
    if not EVIDENCE.files(run):
        return ""
    if task.config.idle_users == "renew":
        return "all users anew: evidence.idle_users is renew"
    trained = published(run, "train_gat").get(ALL_MONTHS)
    encoder = trained.outputs.get(CHECKPOINT.name, "") if trained else ""
    made_alike = LastEvidence(run, evidence_rules(rules(task.lineage), encoder)).stays
    if made_alike and not trains:
        return "idle users keep theirs"
    return f"all users anew: {'another encoder' if trains else 'other rules or another encoder'}"


def gates(step: Step) -> list[str]:
    """Steps between a step's inputs and those that it must follow, which go last."""
    after = [step_named(name) for name in step.after]
    before = {producer(table).name: None for gate in after for table in gate.reads}
    return [*before, *step.after]


def not_seen(gate: Step, step: Step, run: Run) -> list[str]:
    """Tables that differ from what a gate, and the steps before it, read when they last ran.

    Args:
        gate: That judges what `step` will publish.
        step: Whose inputs count, of all that the steps before the gate read.
        run: Where they lie.
    """
    own = {table.name for table in step.reads}
    found: list[str] = []
    for one in (*(producer(table) for table in gate.reads), gate):
        last = published(run, one.name).get(ALL_MONTHS)
        seen = last.depends.get("inputs", {}) if last else {}
        now = inputs(one, run)
        found += [
            name for name in now if (one is gate or name in own) and seen.get(name) != now[name]
        ]
    return found


def _holds(step: Step, profile: Profile, task: Task) -> bool:
    """Whether other data alone would not make the task run."""
    return step.name in profile.keep and not task.reasons


def _meet(month: str | None, other: str) -> bool:
    return month is None or other in (month, ALL_MONTHS)


def _reasons(step: Step, before: Manifest | None, mark: str, on: Depends, run: Run) -> list[str]:
    if before is None:
        return ["not made yet"]
    if before.fingerprint != mark:
        return changes(before.depends, on, SETTINGS[step.name][0]) or ["made otherwise"]
    return _missing(step, run)


def _is_kept(
    step: Step, profile: Profile, before: Manifest, of_settings: Mapping[str, str], run: Run
) -> bool:
    is_same = dict(before.lineage) == dict(of_settings)
    return step.name in profile.keep and is_same and not _missing(step, run)


def _missing(step: Step, run: Run) -> list[str]:
    return [f"missing: {table.name}" for table in step.writes if not table.path(run).exists()]


def told(planned: Planned, keep: Sequence[str]) -> tuple[str, str]:
    """Whether the task would run ("yes", "no", or "if ..."), and because of what."""
    task = planned.task
    policy = f"; {planned.users}" if planned.users else ""
    if task.reasons:
        return "yes", "; ".join(task.reasons) + policy
    if task.step.name in keep and (task.kept or planned.uncertain):
        data = "; ".join(task.kept) or ", ".join(planned.uncertain)
        return "no", f"kept by policy, though the data changed: {data}"
    if planned.uncertain:
        return "if changed", f"reads {', '.join(planned.uncertain)}{policy}"
    return "no", "done"
