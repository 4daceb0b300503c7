"""What fewer than k users share is not stated, one subreddit or two; counted, and in any shards."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from persona import evidence
from persona.anonymity import COMBINATION, RARE, Crowd, attended
from persona.assemble import ShardInputs
from persona.config import EvidenceConfig, PersonaResources
from persona.demographics import BANDS
from persona.evidence import build_evidence
from persona.items import UserEvidence, group_users
from persona.neighbours import Anchors
from persona.tables import EVIDENCE
from pipelines.contract import ConfigError, Counts
from pipelines.tables import SNIPPETS
from tests.persona.synthetic import (
    User,
    make_run,
    publish_staged,
    publish_world,
    user_id,
)

NO_BANDS = pl.DataFrame(schema=BANDS)


def frame(users: dict[str, list[str]]) -> pl.DataFrame:
    """Attended subreddits, in order of attention."""
    rows = [(user, name, rank) for user, names in users.items() for rank, name in enumerate(names)]
    return attended(
        pl.DataFrame(rows, schema=["user_id", "subreddit", "rank"], orient="row"), NO_BANDS
    )


def crowd(users: dict[str, list[str]], min_users: int, root: Path) -> Crowd:
    rows = frame(users)
    made = Crowd(dict(Counter(rows["subreddit"].to_list())), min_users, root / "pairs")
    for user in users:  # any split of the users counts alike
        made.add(rows.filter(pl.col("user_id") == user))
    return made


def hidden(users: dict[str, list[str]], min_users: int, root: Path) -> set[tuple[str, str, str]]:
    return set(crowd(users, min_users, root).hidden(frame(users)).iter_rows())


def test_the_less_attended_half_of_a_rare_pair_is_hidden(tmp_path: Path) -> None:
    users = {
        "ann": ["jazz", "woodworking", "baking"],
        "bob": ["jazz", "baking"],
        "cat": ["woodworking", "birding"],
        "dan": ["woodworking", "jazz"],
    }
    # Jazz goes with baking twice, and with woodworking twice; baking with woodworking once.
    assert hidden(users, 2, tmp_path) == {
        ("ann", "baking", COMBINATION),
        ("cat", "birding", RARE),
    }


def test_what_is_hidden_already_hides_nothing_else(tmp_path: Path) -> None:
    common = {f"u{i}": ["jazz", "chess"] for i in range(2)} | {
        f"v{i}": ["baking", "chess"] for i in range(2)
    }
    # Baking is hidden beside jazz; chess may stay, for with jazz it is common.
    users = common | {"ann": ["jazz", "baking", "chess"]}
    assert hidden(users, 2, tmp_path) == {("ann", "baking", COMBINATION)}


def test_sensitive_subreddits_are_none_of_the_pairs(tmp_path: Path) -> None:
    users = {"ann": ["depression", "jazz"], "bob": ["jazz"], "cat": ["depression"]}
    assert hidden(users, 2, tmp_path) == set()


@pytest.mark.parametrize("seed", range(3))
def test_every_pair_that_is_left_has_k_users(seed: int, tmp_path: Path) -> None:
    """Against a count of all pairs of a random population."""
    rng = np.random.default_rng(seed)
    names = ["jazz", "chess", "baking", "birding", "woodworking", "cycling", "pottery", "sailing"]
    users = {f"u{i:03d}": rng.permutation(names)[: rng.integers(1, 6)].tolist() for i in range(120)}
    k = 14
    gone = {(user, name) for user, name, _ in hidden(users, k, tmp_path)}
    shared = Counter(
        pair for told in users.values() for pair in itertools.combinations(sorted(told), 2)
    )
    assert min(shared.values()) < k < max(shared.values())
    for user, told in users.items():
        left = sorted(name for name in told if (user, name) not in gone)
        assert all(shared[pair] >= k for pair in itertools.combinations(left, 2))
        assert left  # nobody is hidden whole


def test_counts_stop_at_a_byte_and_stay_common(tmp_path: Path) -> None:
    users = {f"u{i:03d}": ["jazz", "chess"] for i in range(300)}
    assert hidden(users, 255, tmp_path) == set()


def test_images_stay_where_enough_users_are(tmp_path: Path) -> None:
    """Not where nobody else is, though the user hardly is; nor where a pair is hidden."""
    common = {f"u{i}": ["jazz", "chess"] for i in range(2)} | {
        f"v{i}": ["baking"] for i in range(2)
    }
    users = common | {"ann": ["jazz", "chess", "baking"]}
    places = ["chess", "sailing", "baking"]
    columns = {"user_id": ["ann"] * 3, "image_id": places, "url": places, "subreddit": places}
    shard = ShardInputs(
        user_ids=["ann"],
        clip=np.zeros((1, 4), np.float32),
        z=np.zeros((1, 3), np.float32),
        has_images=np.array([True]),
        salient=frame({"ann": users["ann"]}),
        snippets=pl.DataFrame(pl.from_arrow(SNIPPETS.empty())),
        images=pl.DataFrame({**columns, "phash": [1, 2, 3]}),
        image_vectors=np.arange(12, dtype=np.float32).reshape(3, 4),
    )
    kept, rules = crowd(users, 2, tmp_path).hide(shard)
    assert rules == {COMBINATION: 1}
    assert kept.images["image_id"].to_list() == ["chess"]
    np.testing.assert_array_equal(kept.image_vectors, [[0, 1, 2, 3]])
    assert kept.salient["subreddit"].to_list() == ["jazz", "chess"]
    assert list(kept.hidden.iter_rows()) == [("ann", "baking")]


def test_an_image_makes_no_rare_pair_with_what_its_user_attends_to(tmp_path: Path) -> None:
    users = {f"u{i}": ["jazz", "chess"] for i in range(2)} | {f"v{i}": ["baking"] for i in range(2)}
    users["ann"] = ["jazz"]
    columns = {"user_id": ["ann"] * 2, "image_id": ["a", "b"], "url": ["a", "b"]}
    shard = ShardInputs(
        user_ids=["ann"],
        clip=np.zeros((1, 4), np.float32),
        z=np.zeros((1, 3), np.float32),
        has_images=np.array([True]),
        salient=frame({"ann": users["ann"]}),
        snippets=pl.DataFrame(pl.from_arrow(SNIPPETS.empty())),
        images=pl.DataFrame({**columns, "phash": [1, 2], "subreddit": ["baking", "chess"]}),
        image_vectors=np.zeros((2, 4), np.float32),
    )
    kept, rules = crowd(users, 2, tmp_path).hide(shard)
    assert kept.images["subreddit"].to_list() == ["chess"]
    assert kept.salient["subreddit"].to_list() == ["jazz"]
    assert rules == {COMBINATION: 1}


@pytest.mark.parametrize("min_users", [-1, 256])
def test_k_fits_a_byte(min_users: int) -> None:
    with pytest.raises(ConfigError, match=f"min_users={min_users}: expected 0 to 255"):
        EvidenceConfig(min_users=min_users)


def population() -> list[User]:
    """Twelve users of jazz and chess, twelve of jazz and baking, one of all three and images."""
    users = [
        User(user_id(i), attention={"jazz": 0.6, name: 0.4}, snippets={name: ("Such a fine day.",)})
        for i, name in enumerate(["chess"] * 12 + ["baking"] * 12)
    ]
    odd = User(
        user_id(24),
        attention={"jazz": 0.5, "chess": 0.3, "baking": 0.2},
        snippets={"baking": ("The crust came out well today.",)},
    )
    return [*users, odd]


def build(
    root: Path, users: list[User], shard_users: int, min_users: int
) -> tuple[Counts, dict[str, UserEvidence]]:
    run = make_run(root)
    publish_world(run, users)
    resources = PersonaResources(shard_users=shard_users)
    counts = build_evidence(EvidenceConfig(min_users=min_users), resources, run)
    assert {path.name for path in run.staged(EVIDENCE).parent.iterdir()} == {
        "evidence",
        "user_data",
    }
    publish_staged(run, EVIDENCE)
    return counts, {user.user_id: user for user in group_users(EVIDENCE.read(run))}


@pytest.mark.parametrize("shard_users", [4, 100])
def test_rare_combinations_are_no_evidence_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_users: int
) -> None:
    monkeypatch.setattr(evidence, "MIN_HIDING", 10)
    counts, users = build(tmp_path, population(), shard_users, min_users=5)
    odd = users[user_id(24)]
    assert {item.subreddit for item in odd.items if item.subreddit} == {"jazz", "chess"}
    assert all({i.text for i in users[user_id(i)].of("subreddit")} >= {"jazz"} for i in range(24))
    assert counts.metrics["rare_combinations"] == 1.0
    assert counts.metrics["rare_subreddits"] == 0.0


def test_a_small_population_hides_nothing(tmp_path: Path) -> None:
    counts, users = build(tmp_path, population(), 100, min_users=5)
    assert {i.text for i in users[user_id(24)].of("subreddit")} == {"jazz", "chess", "baking"}
    assert counts.metrics["rare_combinations"] == 0.0


def neighbours_who_bake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 anchors, 15 bake, and those are the nearest; ten users are a crowd."""
    monkeypatch.setattr(evidence, "MIN_HIDING", 10)
    ids = [f"a{i:03d}" for i in range(60)]
    salient = pl.DataFrame(
        [(user, "baking") for user in ids[:15]], schema=["user_id", "subreddit"], orient="row"
    )
    z_Ad = np.zeros((60, 3), np.float32)
    z_Ad[:, 0], z_Ad[:15, 0], z_Ad[:15, 1] = -1.0, 0.6, 0.8
    monkeypatch.setattr(evidence, "load_anchors", lambda run: Anchors.of(ids, z_Ad, salient))


def test_what_is_hidden_is_not_inferred_from_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baking is hidden of a user of few subreddits, whose neighbours all bake."""
    neighbours_who_bake(monkeypatch)
    users = [user for user in population() if user.user_id != user_id(24)]
    odd = User(user_id(24), attention={"chess": 0.7, "baking": 0.3})
    _, built = build(tmp_path, [*users, odd], 100, min_users=5)
    told = built[user_id(24)]
    assert {item.text for item in told.of("subreddit")} == {"chess"}
    assert all(item.text != "baking" for item in told.of("neighbour"))


def test_what_is_rare_is_not_inferred_of_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Baking has twelve users: few where fewer than 20 are too few."""
    neighbours_who_bake(monkeypatch)
    inferred = {}
    for min_users in (5, 20):
        _, built = build(tmp_path / str(min_users), population(), 100, min_users)
        told = [user.of("neighbour") for user in built.values()]
        inferred[min_users] = {item.text for items in told for item in items}
    assert inferred == {5: {"baking"}, 20: set()}
