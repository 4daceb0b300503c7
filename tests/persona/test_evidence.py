"""Evidence of the small world: the right items, within the budget, the same in any shards."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed.tables import TAG_EMBEDDINGS, USER_IMAGES
from persona import evidence
from persona.config import EvidenceConfig, PersonaResources
from persona.evidence import build_evidence, vectors
from persona.items import Item, UserEvidence, group_users
from persona.tables import EVIDENCE
from pipelines.contract import ContractError, Counts, Run
from tests.persona.synthetic import (
    NEON_CATS,
    User,
    image_id,
    make_run,
    publish_staged,
    publish_world,
    user_id,
    world,
)


def build(
    root: Path,
    users: list[User],
    config: EvidenceConfig | None = None,
    shard_users: int = 100,
) -> tuple[Counts, dict[str, UserEvidence]]:
    run = make_run(root)
    publish_world(run, users)
    resources = PersonaResources(shard_users=shard_users)
    counts = build_evidence(config or EvidenceConfig(), resources, run)
    publish_staged(run, EVIDENCE)
    return counts, {user.user_id: user for user in group_users(EVIDENCE.read(run))}


def test_a_warm_and_a_cold_user(tmp_path: Path) -> None:
    counts, users = build(tmp_path, world(6))
    warm, cold = users[user_id(0)], users[user_id(1)]
    assert [item.evidence_id for item in warm.items] == [
        "s:neonnights",
        "t1_aaaaneon0",
        "t1_aaaaneon1",
        "t1_aaaaneon2",
        "s:analogcats",
        "s:askeveryone",
        "t1_aaaaaske0",
        "g:palette:neon",
        "g:subject:cat",
        "i:696d673061000000",
        "i:696d673062000000",
    ]
    assert warm.items[0] == Item(
        "s:neonnights", "subreddit", "neonnights", None, "neonnights", 0.5, 11, False
    )
    assert [(i.facet, i.text, i.inferred) for i in cold.of("tag")] == [
        ("palette", "pastel", True),
        ("subject", "mountains", True),
    ]
    # Half the users are of each taste, so each is one standard deviation from the mean.
    assert [round(item.weight, 2) for item in warm.of("tag")] == [1.0, 1.0]
    assert warm.of("image")[0].text == "https://i.example.net/img0a.jpg"
    assert counts == Counts(
        rows_in=6,
        rows_out=6,
        dropped={"no_evidence": 0},
        written={"evidence": sum(len(user.items) for user in users.values())},
        metrics={
            "rare_combinations": 0.0,
            "rare_subreddits": 0.0,
            "kept": 0.0,
            "renewed": 6.0,
            "sensitive_snippets": 0.0,
            "sensitive_subreddits": 0.0,
        },
    )


@pytest.mark.parametrize("shard_users", [1, 4])
def test_the_table_does_not_depend_on_shards(tmp_path: Path, shard_users: int) -> None:
    _, whole = build(tmp_path / "whole", world(7))
    _, parts = build(tmp_path / "parts", list(reversed(world(7))), shard_users=shard_users)
    assert list(parts.items()) == list(whole.items())


@pytest.mark.parametrize("budget", [1, 30, 90, 400, 4096])
def test_nobody_overdraws_the_budget(tmp_path: Path, budget: int) -> None:
    counts, users = build(tmp_path, world(6), EvidenceConfig(token_budget=budget))
    assert all(sum(item.tokens for item in user.items) <= budget for user in users.values())
    assert counts.rows_out == len(users)
    assert counts.dropped["no_evidence"] == 6 - len(users)
    assert bool(users) is (budget > 1)


def test_attention_divides_the_budget(tmp_path: Path) -> None:
    texts = tuple(f"Sentence number {index} about this and that, at length." for index in range(9))
    user = User(
        user_id(0),
        attention={"neonnights": 0.75, "analogcats": 0.25},
        snippets={"neonnights": texts, "analogcats": texts},
    )
    _, users = build(tmp_path, [user], EvidenceConfig(token_budget=200))
    told = [item.subreddit for item in users[user.user_id].of("snippet")]
    # 150 and 50 tokens; a snippet costs 21, the names 11.
    assert (told.count("neonnights"), told.count("analogcats")) == (6, 1)


def test_heldout_images_are_no_evidence(tmp_path: Path) -> None:
    users = world(4)
    users[0].heldout = (next(iter(users[0].images)),)
    hidden = image_id(users[0].heldout[0])[:16]
    _, built = build(tmp_path, users)
    told = [item.evidence_id for item in built[users[0].user_id].of("image")]
    assert len(told) == 1
    assert f"i:{hidden}" not in told


def test_sensitive_sources_leave_no_trace(tmp_path: Path) -> None:
    user = User(
        user_id(0),
        attention={"depression": 0.6, "neonnights": 0.3, "u_someone": 0.1},
        snippets={
            "depression": ("A text that is not sensitive by itself.",),
            "neonnights": (
                "My kids love it.",
                "Prints of it: write to ann@example.net",
                "Such a glow over the street.",
            ),
        },
    )
    counts, users = build(tmp_path, [user, *world(5)[1:]])
    items = users[user.user_id].items
    assert {item.subreddit for item in items if item.subreddit} == {"neonnights"}
    assert [i.text for i in items if i.kind == "snippet"] == ["Such a glow over the street."]
    left_out = {n: count for n, count in counts.metrics.items() if n[:5] == "sensi"}
    assert left_out == {"sensitive_subreddits": 2.0, "sensitive_snippets": 2.0}


def test_users_of_sensitive_communities_alone_are_counted(tmp_path: Path) -> None:
    # One user: no population to differ from, so no tags either.
    counts, users = build(tmp_path, [User(user_id(0), attention={"teenagers": 1.0})])
    assert users == {}
    assert counts.dropped == {"no_evidence": 1}


def test_near_duplicates_count_once_and_the_nearest_come_first(tmp_path: Path) -> None:
    vectors_ = {f"shot{i}": (0.6 - 0.1 * i, 0.2, 0.7, 0.2) for i in range(6)}
    user = User(user_id(0), NEON_CATS, {"neonnights": 1.0}, images=vectors_, has_images=True)
    user.copies = {"shot1": "shot0"}
    _, users = build(tmp_path, [user, *world(5)[1:]], EvidenceConfig(max_images=3))
    told = [item.text.rsplit("/", 1)[1] for item in users[user.user_id].of("image")]
    assert told == ["shot0.jpg", "shot2.jpg", "shot3.jpg"]


def test_no_users_make_an_empty_table(tmp_path: Path) -> None:
    counts, users = build(tmp_path, [])
    assert users == {}
    assert counts.rows_in == 0


def test_an_image_in_two_subreddits_is_shown_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    users = world(2)
    publish_world(run, users)
    again = USER_IMAGES.read(run).to_pylist()
    twice = [*again, *({**row, "subreddit": "analogcats"} for row in again)]
    USER_IMAGES.write(USER_IMAGES.path(run), pa.Table.from_pylist(twice, USER_IMAGES.schema))
    build_evidence(EvidenceConfig(), PersonaResources(), run)
    publish_staged(run, EVIDENCE)
    keys = EVIDENCE.read(run, columns=["user_id", "evidence_id"]).to_pylist()
    assert len({tuple(row.values()) for row in keys}) == len(keys)


@pytest.mark.parametrize(("facet", "tag"), [("Palette", "neon"), ("palette", "<neon>")])
def test_odd_vocabularies_are_refused(tmp_path: Path, facet: str, tag: str) -> None:
    run = make_run(tmp_path)
    publish_world(run, world(2))
    odd = {"facet": [facet], "tag": [tag], "embedding": TAG_EMBEDDINGS.read(run)["embedding"][:1]}
    TAG_EMBEDDINGS.write(TAG_EMBEDDINGS.path(run), pa.table(odd))
    with pytest.raises(ContractError, match="does not match"):
        build_evidence(EvidenceConfig(), PersonaResources(), run)


def test_vectors_refuse_nulls() -> None:
    column = pa.chunked_array([pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))])
    with pytest.raises(ContractError, match="1 vectors are null"):
        vectors(column)


def test_evidence_is_sorted_and_unique_by_key(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    publish_world(run, world(9))
    build_evidence(EvidenceConfig(), PersonaResources(shard_users=2), run)
    publish_staged(run, EVIDENCE)
    rows = _frame(run)
    assert rows.select("user_id").equals(rows.select("user_id").sort("user_id"))
    assert rows.select("user_id", "evidence_id").is_unique().all()


def _frame(run: Run) -> pl.DataFrame:
    frame = pl.from_arrow(EVIDENCE.read(run))
    assert isinstance(frame, pl.DataFrame)
    return frame


def test_subreddits_of_few_users_are_no_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that five users share says who somebody is; a name that hundreds share does not."""
    run = make_run(tmp_path)
    publish_world(run, world(12))  # six attend to each of five subreddits
    monkeypatch.setattr(evidence, "MIN_HIDING", 10)
    shown: dict[int, set[str]] = {}
    for min_users in (6, 7):
        counts = build_evidence(EvidenceConfig(min_users=min_users), PersonaResources(), run)
        files = run.staged(EVIDENCE).glob("*.parquet")
        rows = pa.concat_tables(pq.read_table(path) for path in files)
        shown[min_users] = set(rows.column("kind").to_pylist())
    assert shown == {6: {"subreddit", "snippet", "tag", "image"}, 7: {"tag"}}
    assert counts.metrics["rare_subreddits"] == 6 * 5
