"""Idle users keep their evidence through the runner, as plan says; no engine is started."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestration import profiles
from orchestration.manifests import published
from orchestration.plan import plan, told
from orchestration.profiles import Profile
from orchestration.progress import Reporter
from orchestration.runner import How, run_profile
from persona.items import group_users
from persona.tables import EVIDENCE, USER_DATA
from pipelines.contract import Run, Table
from pipelines.dumps import discover
from tests.persona.synthetic import User, publish_world, world

ONLY = How(only=("build_evidence",))
AGAIN = replace(ONLY, force=True)  # no step before it tells that its tables are others


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    """A root with the tables that evidence is made of, and with evidence."""
    (tmp_path / "RC_2019-10.zst").write_bytes(b"")
    (tmp_path / "key").write_text("0" * 64)
    found = profiles.dumps(tmp_path / "run", (str(tmp_path / "RC_2019-10.zst"),), tmp_path / "key")
    publish_world(Run(root=found.root), world(8))
    run_profile(found, Reporter(Console(quiet=True)), ONLY)
    return found


def moved(users: list[User]) -> list[User]:
    """Everybody's attention moved; the first user did something, too."""
    users = [
        replace(u, attention={n: a - 0.01 * i for i, (n, a) in enumerate(u.attention.items())})
        for u in users
    ]
    users[0].comments += 1
    return users


def planned(profile: Profile) -> str:
    found = plan(profile, Run(root=profile.root), discover(profile.ingest.inputs))
    (task,) = (p for p in found if p.task.step.name == "build_evidence")
    return told(task, profile.keep)[1].rpartition("; ")[2]


def refreshed(profile: Profile, how: How) -> tuple[float, float, list[str]]:
    """(kept, renewed, whose evidence is another)."""
    run = Run(root=profile.root)
    before = {user.user_id: user for user in group_users(EVIDENCE.read(run))}
    run_profile(profile, Reporter(Console(quiet=True)), how)
    after = {user.user_id: user for user in group_users(EVIDENCE.read(run))}
    counts = published(run, "build_evidence")["all"].counts.metrics
    changed = [user for user in after if after[user] != before[user]]
    return counts["kept"], counts["renewed"], changed


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("verbalize.seed=3", 7),  # of a step behind
        ("serving.shard_users=3", 7),
        ("evidence.max_images=3", 0),
        ("infer.seed=3", 0),
        ("ingest.over_18=keep", 0),
        ("evidence.idle_users=renew", 0),
    ],
)
def test_idle_users_keep_their_evidence_while_rules_before_it_stay(
    profile: Profile, setting: str, kept: int
) -> None:
    publish_world(Run(root=profile.root), moved(world(8)))
    changed = profiles.override(profile, [setting])
    number, renewed, differing = refreshed(changed, AGAIN)
    assert (number, renewed, len(differing)) == (kept, 8 - kept, 8 - kept)


@pytest.mark.parametrize("table", [EVIDENCE, USER_DATA])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_publication_that_is_killed_anywhere_and_run_again_gives_the_same_tables(
    profile: Profile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: Table,
    is_there: bool,
) -> None:
    """Killed before, or just after, one of the two tables was put in place."""
    publish_world(Run(root=profile.root), moved(world(8)))
    whole = replace(profile, root=tmp_path / "whole")
    shutil.copytree(profile.root, whole.root)
    refreshed(whole, AGAIN)
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        is_last = target == table.path(Run(root=profile.root))
        if is_last and is_there:
            rename(path, target)
        if is_last:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", killed)
        run_profile(profile, Reporter(Console(quiet=True)), AGAIN)
    run_profile(profile, Reporter(Console(quiet=True)), ONLY)
    for one in (EVIDENCE, USER_DATA):
        assert one.read(Run(root=profile.root)).equals(one.read(Run(root=whole.root)))


def test_plan_says_who_keeps_evidence_and_why_not(profile: Profile) -> None:
    """Nothing else was ever run here, so training is to come, and with it another encoder."""
    assert planned(profile) == "all users anew: another encoder"
    renewing = profiles.override(profile, ["evidence.idle_users=renew"])
    assert planned(renewing) == "all users anew: evidence.idle_users is renew"


def test_a_rerun_has_nothing_to_do(profile: Profile) -> None:
    first = published(Run(root=profile.root), "build_evidence")["all"]
    run_profile(profile, Reporter(Console(quiet=True)), ONLY)
    assert published(Run(root=profile.root), "build_evidence")["all"] == first
