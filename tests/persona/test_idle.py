"""Users in whose own data nothing changed keep their evidence, and nobody else does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from persona import evidence, idle
from persona.config import EvidenceConfig, PersonaResources
from persona.evidence import build_evidence
from persona.idle import data_hashes
from persona.items import UserEvidence, group_users
from persona.tables import EVIDENCE, USER_DATA
from pipelines.contract import ConfigError, Counts, Run
from tests.persona.synthetic import User, make_run, publish_world, user_id, world

Built = dict[str, UserEvidence]


def build(
    root: Path,
    users: list[User],
    config: EvidenceConfig = EvidenceConfig(),  # noqa: B008
    shard_users: int = 3,
    rules: str = "r",
) -> tuple[Counts, Built]:
    """Evidence of a world, made on top of what was published under the root before."""
    run = replace(make_run(root), rules=rules)
    shutil.rmtree(run.staging or root, ignore_errors=True)
    publish_world(run, users)
    counts = build_evidence(config, PersonaResources(shard_users=shard_users), run)
    for table in (EVIDENCE, USER_DATA):
        shutil.rmtree(table.path(run), ignore_errors=True)
        run.staged(table).rename(table.path(run))
    return counts, read(run)


def read(run: Run) -> Built:
    return {user.user_id: user for user in group_users(EVIDENCE.read(run))}


def moved(users: list[User]) -> list[User]:
    """The same users when others' activity has moved everybody's attention a little."""
    return [
        replace(u, attention={n: a - 0.01 * i for i, (n, a) in enumerate(u.attention.items())})
        for u in users
    ]


def told(counts: Counts) -> tuple[float, float]:
    return counts.metrics["kept"], counts.metrics["renewed"]


def differing(before: Built, after: Built) -> list[str]:
    return [user for user in after if before.get(user) != after[user]]


@pytest.mark.parametrize("shard_users", [1, 3, 100])
def test_who_did_nothing_keeps_evidence_and_who_did_gets_what_a_rebuild_gives(
    tmp_path: Path, shard_users: int
) -> None:
    first, before = build(tmp_path / "a", world(8))
    later = moved(world(9))  # one is new
    later[2].comments = 6  # though attention is what it is
    later[3].snippets["pastelpeaks"] = ("Another view of the same lake, at dusk.",)
    later[4].heldout = ("img4a",)
    counts, after = build(tmp_path / "a", later, shard_users=shard_users)
    _, full = build(tmp_path / "b", later)
    active = {user_id(index) for index in (2, 3, 4, 8)}
    assert told(first) == (0, 8)
    assert told(counts) == (5, 4)
    assert set(differing(before, after)) == active
    assert {user: after[user] for user in active} == {user: full[user] for user in active}
    assert list(after) == list(full)  # the same users, in the same order
    assert len(differing(after, full)) == 5  # the drift that the others are spared


def test_the_same_again_is_the_same_table(tmp_path: Path) -> None:
    _, before = build(tmp_path, world(8))
    counts, after = build(tmp_path, world(8))
    assert told(counts) == (8, 0)
    assert list(before.items()) == list(after.items())


@pytest.mark.parametrize("changed", ["rules", "config", "list", "encoder"])
def test_other_rules_renew_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    build(tmp_path, world(8))
    if changed == "list":
        monkeypatch.setattr(idle, "_LISTS", idle._LISTS[1:])
    if changed == "encoder":
        monkeypatch.setattr(evidence, "encoder_of", lambda run: "another")
    config = EvidenceConfig(idle_users="renew" if changed == "config" else "keep")
    rules = "others" if changed == "rules" else "r"
    counts, after = build(tmp_path, moved(world(8)), config, rules=rules)
    _, full = build(tmp_path / "full", moved(world(8)))
    assert told(counts) == (0, 8)
    assert after == full


def test_who_is_gone_has_no_evidence_and_who_has_less_data_is_renewed(tmp_path: Path) -> None:
    build(tmp_path, world(8))
    later = moved(world(8))
    del later[1]
    later[0].snippets.pop("askeveryone")  # a corrected month without it
    counts, after = build(tmp_path, later)
    assert told(counts) == (6, 1)
    assert user_id(1) not in after
    assert "askeveryone" not in {item.subreddit for item in after[user_id(0)].of("snippet")}


def test_a_pair_that_became_rare_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of neon and cats and two of neon and a hub: when one leaves, the rest hide it."""
    monkeypatch.setattr(evidence, "MIN_HIDING", 4)
    pairs = [("neonnights", "analogcats")] * 3 + [("neonnights", "askeveryone")] * 4
    pairs += [("analogcats", "pastelpeaks")] * 3
    users = [
        User(user_id(i), attention={first: 0.6, second: 0.4})
        for i, (first, second) in enumerate(pairs)
    ]
    config = EvidenceConfig(min_users=3)
    _, before = build(tmp_path, users, config)
    assert {i.subreddit for i in before[user_id(1)].of("subreddit")} == {"neonnights", "analogcats"}
    counts, after = build(tmp_path, moved(users[1:]), config)
    assert told(counts) == (7, 2)
    assert set(differing(before, after)) == {user_id(1), user_id(2)}
    assert {i.subreddit for i in after[user_id(1)].of("subreddit")} == {"neonnights"}


def test_the_policy_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match="idle_users='drop': expected keep or renew"):
        EvidenceConfig(idle_users="drop")


def test_a_kill_between_the_two_tables_changes_nothing(tmp_path: Path) -> None:
    """EVIDENCE is published, USER_DATA not yet; the step runs again."""
    build(tmp_path / "a", world(8))
    later = moved(world(8))
    later[2].comments = 6
    run = make_run(tmp_path / "a")
    shutil.copytree(USER_DATA.path(run), tmp_path / "data")
    _, whole = build(tmp_path / "a", later)
    shutil.rmtree(USER_DATA.path(run))
    shutil.copytree(tmp_path / "data", USER_DATA.path(run))
    _, again = build(tmp_path / "a", later)
    assert list(again.items()) == list(whole.items())


def test_hashes_do_not_depend_on_the_order_of_rows_and_tell_tables_apart() -> None:
    rows = pl.DataFrame({"user_id": ["b", "a", "a"], "n": [None, 1, 2]})
    hashes = data_hashes({"x": rows})
    assert hashes["user_id"].to_list() == ["a", "b"]
    assert data_hashes({"x": rows.reverse()}).equals(hashes)
    assert not data_hashes({"y": rows})["data_hash"].is_in(hashes["data_hash"].to_list()).any()
    assert hashes["data_hash"].str.len_chars().unique().to_list() == [32]


def test_data_is_hashed_for_users_with_embeddings_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    _, built = build(tmp_path, world(5))
    ids = pa.table(USER_DATA.read(run)).column("user_id").to_pylist()
    assert ids == list(built)
