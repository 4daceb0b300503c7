"""Refreshes of a small sample run: what runs again, and what it leaves alone."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from rich.console import Console

from embed.tables import USER_IMAGES
from orchestration import profiles, runlog
from orchestration.flow import FLOW
from orchestration.manifests import Manifest, published
from orchestration.plan import plan, task_of, told
from orchestration.profiles import Profile
from orchestration.progress import Reporter
from orchestration.runner import How, run_profile
from orchestration.sample.config import WorldConfig
from orchestration.worlds import ensure_world
from persona.items import UserEvidence, group_users
from persona.store import PersonaStore
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS
from pipelines.containers import CorruptDumpError
from pipelines.contract import Run
from pipelines.dumps import discover
from pipelines.tables import INTERACTIONS, SNIPPETS

pytestmark = [pytest.mark.engine, pytest.mark.slow]

WORLD = WorldConfig(users=120, image_size=64, active_share=0.5)
FIRST, SECOND, NEW = WORLD.months
FAST = ("train.epochs=2", "train.ablations=", "evaluate.permutations=50")


def with_dumps(base: Profile, folder: Path) -> Profile:
    return replace(base, ingest=replace(base.ingest, inputs=(str(folder),)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profile]:
    """A finished run over two of three months; its dumps lie beside it."""
    folder = tmp_path_factory.mktemp("refresh")
    ensure_world(WORLD, folder / "world")
    (folder / "dumps").mkdir()
    for month in (FIRST, SECOND):
        for kind in ("RS", "RC"):
            shutil.copy(folder / "world" / "dumps" / f"{kind}_{month}.zst", folder / "dumps")
    profile = profiles.local_sample(folder / "run", folder / "world")
    profile = with_dumps(profiles.override(profile, FAST), folder / "dumps")
    refresh(profile)
    yield profile
    shutil.rmtree(folder)


@pytest.fixture
def copied(base: Profile, tmp_path: Path) -> Profile:
    """The same in a place of its own."""
    shutil.copytree(base.root, tmp_path / "run", symlinks=True)
    shutil.copytree(base.root.with_name("dumps"), tmp_path / "dumps")
    return with_dumps(replace(base, root=tmp_path / "run"), tmp_path / "dumps")


def refresh(profile: Profile, how: How = How()) -> set[str]:  # noqa: B008
    """Run; which tasks ran, as "step" or "step month"."""
    before = {m.run_id for m in manifests(profile)}
    made = run_profile(profile, Reporter(Console(quiet=True)), how)
    return {label(m) for m in made if m.run_id not in before}


def manifests(profile: Profile) -> list[Manifest]:
    return [m for step in FLOW for m in published(Run(root=profile.root), step.name).values()]


def label(manifest: Manifest) -> str:
    return manifest.step if manifest.month == "all" else f"{manifest.step} {manifest.month}"


def planned(profile: Profile) -> dict[str, tuple[str, str]]:
    dumps = discover(profile.ingest.inputs)
    found = plan(profile, Run(root=profile.root), dumps)
    return {p.task.label: told(p, profile.keep) for p in found}


def sure(profile: Profile) -> dict[str, str]:
    """Tasks that would run in any case, and why."""
    return {name: why for name, (would, why) in planned(profile).items() if would == "yes"}


def evidence_rows(profile: Profile) -> dict[str, UserEvidence]:
    evidence = EVIDENCE.read(Run(root=profile.root))
    return {user.user_id: user for user in group_users(evidence)}


def data_of(profile: Profile) -> dict[str, set[tuple[object, ...]]]:
    """What each user did, wrote and posted, row by row."""
    found: dict[str, set[tuple[object, ...]]] = {}
    for table in (INTERACTIONS, SNIPPETS, USER_IMAGES):
        for row in table.read(Run(root=profile.root)).to_pylist():
            found.setdefault(row["user_id"], set()).add((table.name, *row.values()))
    return found


def differing(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {user for user in before | after if before.get(user) != after.get(user)}


def hashes(profile: Profile) -> dict[str, str]:
    return {name: user.hash for name, user in evidence_rows(profile).items()}


def rewrite(path: Path, keep_lines: slice) -> None:
    """Write some lines of a dump again, compressed otherwise."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    with zstandard.open(path, "rb", dctx=unpacker) as file:
        lines = file.read().splitlines(keepends=True)
    path.write_bytes(zstandard.compress(b"".join(lines[keep_lines]), 1))


def test_nothing_would_run_again(base: Profile) -> None:
    assert set(planned(base).values()) == {("no", "done")}


@pytest.mark.parametrize(
    ("word", "steps", "why"),
    [
        ("ingest.over_18=keep", ["ingest"], 'ingest.over_18 ("drop" -> "keep")'),
        ("interactions.max_snippets=1", ["interactions"], "interactions.max_snippets (3 -> 1)"),
        ("embed.max_pixels=9", ["embed_images"], "embed.max_pixels (100000000 -> 9)"),
        (
            "products.seed=4",
            ["visual_targets", "subreddit_features"],
            "products.seed (0 -> 4)",
        ),
        ("graph.half_life_days=9", ["build_graph"], "graph.half_life_days (90.0 -> 9.0)"),
        ("train.encoder.dim=32", ["train_gat"], "train.encoder.dim (64 -> 32)"),
        ("infer.max_salient=9", ["infer_users"], "infer.max_salient (20 -> 9)"),
        ("evidence.max_images=1", ["build_evidence"], "evidence.max_images (4 -> 1)"),
        ("verbalize.seed=4", ["verbalize"], "verbalize.seed (0 -> 4)"),
        ("store.index_rows=9", ["index_personas"], "store.index_rows (50000 -> 9)"),
        ("evaluate.seed=4", ["evaluate"], "evaluate.seed (0 -> 4)"),
    ],
)
def test_a_changed_setting_is_named_and_stales_its_step(
    base: Profile, word: str, steps: list[str], why: str
) -> None:
    reasons = sure(profiles.override(base, [word]))
    assert {name.partition(" ")[0] for name in reasons} == set(steps)
    told = {reason.partition("; all users anew")[0] for reason in reasons.values()}
    assert told == {f"changed setting: {why}"}


def test_what_follows_a_stale_step_may_change_and_the_rest_will_not(base: Profile) -> None:
    found = planned(profiles.override(base, ["evidence.max_images=1"]))
    assert found["build_evidence"][0] == "yes"
    assert found["verbalize"] == ("if changed", "reads evidence")
    assert found["infer_users"] == ("no", "done")


def test_resources_change_nothing(base: Profile) -> None:
    assert sure(profiles.override(base, ["embedding.actors=2", "beam.threads=1"])) == {}


def test_other_code_and_a_missing_table_are_reasons(copied: Profile) -> None:
    run, dumps = Run(root=copied.root), discover(copied.ingest.inputs)
    step = next(step for step in FLOW if step.name == "infer_users")
    newer = task_of(replace(step, version=step.version + 1), copied, run, dumps)
    assert newer.reasons == (f"changed code: version {step.version} -> {step.version + 1}",)
    shutil.rmtree(run.root / "tables" / "salient_subreddits")
    shutil.rmtree(run.root / "tables" / "media" / f"month={FIRST}")
    assert sure(copied) == {
        "infer_users": "missing: salient_subreddits",
        f"ingest {FIRST}": "missing: media",
    }


def test_a_dump_that_came_again_with_the_same_lines_stales_nothing_else(copied: Profile) -> None:
    rewrite(Path(copied.ingest.inputs[0]) / f"RC_{SECOND}.zst", slice(None))
    assert sure(copied) == {f"ingest {SECOND}": f"changed dump RC_{SECOND}.zst"}
    assert refresh(copied) == {f"ingest {SECOND}"}


def test_corrected_comments_reach_what_reads_comments_alone(copied: Profile) -> None:
    rewrite(Path(copied.ingest.inputs[0]) / f"RC_{FIRST}.zst", slice(None, -40))
    ran = refresh(copied)
    assert {f"ingest {FIRST}", f"interactions {FIRST}", "build_graph", "train_gat"} <= ran
    untouched = {f"ingest {SECOND}", f"interactions {SECOND}", "embed_images", "visual_targets"}
    assert not ran & (untouched | {"subreddit_features"})


def test_a_new_month_costs_that_month_and_changed_users(base: Profile, copied: Profile) -> None:
    """The encoder is kept; whose evidence changed is verbalized again, and nobody else."""
    for kind in ("RS", "RC"):
        name = f"{kind}_{NEW}.zst"
        shutil.copy(base.root.with_name("world") / "dumps" / name, copied.ingest.inputs[0])
    kept = profiles.kept(copied, keep_encoder=True)
    assert sure(kept) == {f"ingest {NEW}": "not made yet", f"interactions {NEW}": "not made yet"}
    assert planned(kept)["build_evidence"][1].endswith("; idle users keep theirs")
    assert planned(copied)["build_evidence"][1].endswith("; all users anew: another encoder")
    would, why = planned(kept)["train_gat"]
    assert (would, why.partition(":")[0]) == ("no", "kept by policy, though the data changed")

    before = hashes(copied)
    before_rows, data = evidence_rows(copied), data_of(copied)
    last = PersonaStore.open(PERSONA_STORE.path(Run(root=copied.root)).resolve())
    ran = refresh(kept)
    assert "train_gat" not in ran
    assert {name for name in ran if " " in name} == {f"ingest {NEW}", f"interactions {NEW}"}
    after = hashes(copied)
    changed = [user for user in after if before.get(user) != after[user]]
    made = published(Run(root=copied.root), "verbalize")["all"].counts.metrics
    assert made["verbalized"] == len(changed) > 0
    touched = differing(data, data_of(copied))
    assert (
        set(INTERACTIONS.read(Run(root=copied.root, month=NEW))["user_id"].to_pylist()) <= touched
    )
    evidence = published(Run(root=copied.root), "build_evidence")["all"].counts.metrics
    idle = set(after) - touched
    assert (evidence["kept"], evidence["renewed"]) == (len(idle), len(after) - len(idle))
    assert len(idle) > 10 and set(changed) <= touched
    after_rows = evidence_rows(copied)
    assert {user: after_rows[user] for user in idle} == {user: before_rows[user] for user in idle}
    assert made.get("kept", 0) == len(after) - len(changed)
    embedded = published(Run(root=copied.root), "embed_images")["all"].counts.metrics
    assert embedded["num_kept"] > 0

    store = PersonaStore.open(PERSONA_STORE.path(Run(root=copied.root)).resolve())
    assert store.count() == PERSONAS.read(Run(root=copied.root)).num_rows
    assert len(store.runs()) == 2
    assert last.count() == len(before) and len(last.runs()) == 1  # stays readable
    assert len(PERSONA_STORE.folders(Run(root=copied.root))) == 2


def test_evidence_of_idle_users_is_renewed_where_so_told(base: Profile, copied: Profile) -> None:
    """Setting the policy makes the evidence of all anew; setting it back changes nothing more."""
    run = Run(root=copied.root)
    kept = profiles.kept(copied, keep_encoder=True)
    renewing = profiles.override(kept, ["evidence.idle_users=renew"])
    because = planned(renewing)["build_evidence"][1]
    assert because.startswith('changed setting: evidence.idle_users ("keep" -> "renew")')
    assert because.endswith("; all users anew: evidence.idle_users is renew")
    before = hashes(copied)
    assert refresh(renewing) == {"build_evidence"}
    assert published(run, "build_evidence")["all"].counts.metrics["kept"] == 0
    assert refresh(kept) == {"build_evidence"}
    assert published(run, "build_evidence")["all"].counts.metrics["renewed"] == 0
    assert hashes(copied) == before
    assert planned(profiles.override(kept, ["infer.seed=3"]))["build_evidence"][1].endswith(
        "; all users anew: other rules or another encoder"
    )


def test_a_month_that_was_corrected_renews_those_who_were_in_it(copied: Profile) -> None:
    """In its old or in its new version."""
    before, data = evidence_rows(copied), data_of(copied)
    rewrite(Path(copied.ingest.inputs[0]) / f"RC_{FIRST}.zst", slice(None, -40))
    kept = profiles.kept(copied, keep_encoder=True)
    assert "train_gat" not in refresh(kept)
    touched = differing(data, data_of(copied))
    counts = published(Run(root=copied.root), "build_evidence")["all"].counts
    after = evidence_rows(copied)
    idle = set(after) - touched
    assert (counts.metrics["kept"], counts.metrics["renewed"]) == (
        len(idle),
        len(after) - len(idle),
    )
    assert len(touched) > 0 and len(idle) > 0
    assert {user: after[user] for user in idle} == {user: before[user] for user in idle}


def test_a_kept_encoder_is_trained_again_for_other_settings(copied: Profile) -> None:
    kept = profiles.kept(copied, keep_encoder=True)
    assert sure(profiles.override(kept, ["train.epochs=3"])).keys() == {"train_gat"}


def test_failures_are_retried_though_all_is_done_and_what_is_the_same_moves_nothing(
    copied: Profile,
) -> None:
    retrying = profiles.retrying(copied, ["not_found"])
    assert refresh(retrying) == set()
    assert refresh(retrying, How(again=("embed_images",))) == {"embed_images"}
    assert refresh(copied) == set()


def test_parallel_months_make_the_same_tables(base: Profile, tmp_path: Path) -> None:
    other = replace(base, root=tmp_path / "run")
    steps = ("ingest", "interactions")
    ran = refresh(other, How(only=steps, parallel=2))
    assert ran == {f"{step} {month}" for step in steps for month in (FIRST, SECOND)}
    for step in steps:
        sequential, parallel = (published(Run(root=p.root), step) for p in (base, other))
        assert {m: v.outputs for m, v in sequential.items()} == {
            m: v.outputs for m, v in parallel.items()
        }
        assert {m: v.counts for m, v in sequential.items()} == {
            m: v.counts for m, v in parallel.items()
        }


def test_parallel_months_that_fail_are_each_named_and_the_others_go_on(
    base: Profile, tmp_path: Path
) -> None:
    shutil.copytree(base.root.with_name("world") / "dumps", tmp_path / "dumps")
    for month in (FIRST, NEW):
        cut = tmp_path / "dumps" / f"RC_{month}.zst"
        cut.write_bytes(cut.read_bytes()[:-9])
    damaged = with_dumps(replace(base, root=tmp_path / "run"), tmp_path / "dumps")
    shown, run = io.StringIO(), Run(root=damaged.root)
    with pytest.raises(CorruptDumpError):
        run_profile(
            damaged,
            Reporter(Console(file=shown, width=200)),
            How(only=("ingest",), parallel=2),
        )
    notes = [line for line in shown.getvalue().splitlines() if "failed" in line]
    assert sorted(month for line in notes for month in WORLD.months if f" {month}: " in line) == [
        FIRST,
        NEW,
    ]
    assert list(published(run, "ingest")) == [SECOND]
    (run_id,) = runlog.run_ids(run.root)
    outcome = runlog.outcome(runlog.events(run.root, run_id))
    assert outcome.startswith(f"failed in ingest {FIRST}, ingest {NEW}: CorruptDumpError")


def test_months_alone_run_no_other_step(base: Profile, tmp_path: Path) -> None:
    other = replace(base, root=tmp_path / "run")
    assert refresh(other, How(months=(SECOND,))) == {f"ingest {SECOND}", f"interactions {SECOND}"}
