from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from pipelines.config import BeamResources, IngestConfig, InteractionsConfig
from pipelines.contract import ConfigError, MissingInputError, Run, Table
from pipelines.ingest import TABLES, ingest
from pipelines.interactions import interactions, user_shard
from pipelines.tables import COMMENTS, INTERACTIONS, SNIPPETS, SUBMISSIONS
from tests.pipelines.test_activity import comments, submissions

CONFIG = InteractionsConfig()
ONE = BeamResources()
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

pytestmark = pytest.mark.engine


def publish(table: Table, frame: pl.DataFrame, run: Run, row_group: int = 50) -> None:
    folder = table.path(run)
    folder.mkdir(parents=True)
    half = frame.height // 2
    for number, part in enumerate((frame[:half], frame[half:])):
        rows = part.to_arrow().cast(table.schema)
        pq.write_table(rows, folder / f"part-{number}.parquet", row_group_size=row_group)


def random_month(run: Run, seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A published month of 300 submissions and 900 comments of 40 users in 6 subreddits."""
    rng = random.Random(seed)
    users = ["".join(rng.choices(BASE32, k=16)) for _ in range(40)]

    def shared() -> dict[str, Any]:
        return {
            "user_id": rng.choice(users),
            "subreddit": rng.choice("abcdef"),
            "created_utc": 1_569_888_000 + rng.randrange(40 * 86_400),
            "score": rng.choice([None, *range(-3, 9)]),
        }

    def text() -> str:
        return " ".join(rng.choices(["cat", "sky", "lens", "\n", "größe"], k=rng.randrange(9)))

    posts = [
        {"submission_id": n, "title": text(), "selftext": text()} | shared() for n in range(300)
    ]
    said = [{"comment_id": n, "body": text()} | shared() for n in range(900)]
    publish(SUBMISSIONS, submissions(*posts), run)
    publish(COMMENTS, comments(*said), run)
    return posts, said


def run_for(tmp_path: Path, month: str | None = "2019-10") -> Run:
    return Run(root=tmp_path, month=month, staging=tmp_path / "staging")


def staged(table: Table, run: Run) -> list[dict[str, Any]]:
    files = sorted(run.staged(table).iterdir())
    return [row for file in files for row in pl.read_parquet(file).to_dicts()]


def naive_interactions(
    posts: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in [*posts, *said]:
        month = datetime.fromtimestamp(row["created_utc"], UTC).strftime("%Y-%m")
        groups[row["user_id"], row["subreddit"], month].append(row)
    return [
        {
            "user_id": user,
            "subreddit": subreddit,
            "active_month": month,
            "num_submissions": sum("title" in row for row in rows),
            "num_comments": sum("body" in row for row in rows),
            "score": sum(row["score"] or 0 for row in rows),
            "first_utc": min(row["created_utc"] for row in rows),
            "last_utc": max(row["created_utc"] for row in rows),
        }
        for (user, subreddit, month), rows in sorted(groups.items())
    ]


def naive_snippets(
    posts: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]
) -> dict[tuple[str, str], list[tuple[str, int | None]]]:
    """Texts and scores by user and subreddit, best first."""
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = defaultdict(list)
    for row in [*posts, *said]:
        is_comment = "body" in row
        text = row["body"] if is_comment else f"{row['title']} {row['selftext']}"
        text = " ".join(text.split())[:280]
        if len(text) >= 12:
            score = row["score"]
            number = row["comment_id"] if is_comment else row["submission_id"]
            rank = (score is None, -(score or 0), row["created_utc"], not is_comment, number)
            groups[row["user_id"], row["subreddit"]].append((rank, text, score))
    best = {}
    for pair, found in groups.items():
        once: dict[str, int | None] = {}
        for _, text, score in sorted(found):
            once.setdefault(text, score)
        best[pair] = list(once.items())[:3]
    return best


def test_a_month_is_what_plain_loops_make_of_it(tmp_path: Path) -> None:
    run = run_for(tmp_path)
    posts, said = random_month(run)
    counts = interactions(CONFIG, ONE, run)
    assert (counts.rows_in, counts.rows_out) == (1200, 1200)
    found = staged(INTERACTIONS, run)
    assert found == naive_interactions(posts, said)
    assert sum(row["num_submissions"] + row["num_comments"] for row in found) == 1200
    texts: dict[tuple[str, str], list[tuple[str, int | None]]] = defaultdict(list)
    for row in staged(SNIPPETS, run):
        texts[row["user_id"], row["subreddit"]].append((row["text"], row["score"]))
    assert texts == naive_snippets(posts, said)
    assert counts.written == {"interactions": len(found), "snippets": sum(map(len, texts.values()))}


def test_many_shards_follow_each_other_in_the_order_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_for(tmp_path)
    random_month(run)
    interactions(CONFIG, ONE, run)
    many = Run(root=tmp_path, month=run.month, staging=tmp_path / "many")
    monkeypatch.setattr("pipelines.interactions.SHARD_ROWS", 100)
    monkeypatch.setattr("pipelines.interactions.SPILL_BYTES", 10_000)
    interactions(CONFIG, ONE, many)
    assert len(list(many.staged(INTERACTIONS).iterdir())) > 5
    for table in (INTERACTIONS, SNIPPETS):
        assert staged(table, many) == staged(table, run)


@pytest.mark.parametrize("shard_rows", [100, 10_000])
def test_users_who_did_too_little_are_dropped_and_counted(
    shard_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_for(tmp_path)
    posts, said = random_month(run)
    monkeypatch.setattr("pipelines.interactions.SHARD_ROWS", shard_rows)
    done = Counter(row["user_id"] for row in [*posts, *said])
    limit = sorted(done.values())[20]
    counts = interactions(InteractionsConfig(min_actions=limit), ONE, run)
    dropped = sum(n for n in done.values() if n < limit)
    assert 0 < dropped < 1200
    assert (counts.rows_out, counts.dropped) == (1200 - dropped, {"minimum_activity": dropped})
    kept = [[row for row in rows if done[row["user_id"]] >= limit] for rows in (posts, said)]
    assert staged(INTERACTIONS, run) == naive_interactions(*kept)
    assert {row["user_id"] for row in staged(SNIPPETS, run)} == {
        user for user, _ in naive_snippets(*kept)
    }


@pytest.mark.slow
def test_files_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    run = run_for(tmp_path)
    random_month(run)
    two = Run(root=tmp_path, month=run.month, staging=tmp_path / "two")
    assert interactions(CONFIG, ONE, run) == interactions(CONFIG, BeamResources(workers=2), two)
    for table in (INTERACTIONS, SNIPPETS):
        files = [next(iter(r.staged(table).iterdir())).read_bytes() for r in (run, two)]
        assert files[0] == files[1]


def test_progress_counts_rows(tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str]] = []
    run = Run(
        root=tmp_path,
        month="2019-10",
        staging=tmp_path / "staging",
        on_progress=lambda *report: told.append(report),
    )
    random_month(run)
    interactions(CONFIG, ONE, run)
    assert told[-1] == (1200, 1200, "rows")
    assert {path.name for path in (tmp_path / "staging").iterdir()} == {"interactions", "snippets"}


def test_a_month_without_rows_gives_empty_tables(tmp_path: Path) -> None:
    run = run_for(tmp_path)
    for table in (SUBMISSIONS, COMMENTS):
        table.path(run).mkdir(parents=True)
        table.write(table.path(run), table.empty())
    counts = interactions(CONFIG, ONE, run)
    assert (counts.rows_in, counts.written) == (0, {"interactions": 0, "snippets": 0})
    assert staged(INTERACTIONS, run) == staged(SNIPPETS, run) == []


def test_a_month_that_was_not_ingested_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"'submissions'.*month=2019-10.*ingest"):
        interactions(CONFIG, ONE, run_for(tmp_path))
    with pytest.raises(ConfigError, match=r"run\.month=None"):
        interactions(CONFIG, ONE, run_for(tmp_path, None))


def test_shards_are_ranges_of_users_of_about_one_size() -> None:
    rng = random.Random(0)
    users = sorted("".join(rng.choices(BASE32, k=16)) for _ in range(5000))
    frame = pl.DataFrame({"user_id": users}).with_columns(n=user_shard(pl.col("user_id"), 7))
    assert frame["n"].is_sorted()
    sizes = frame["n"].value_counts()["count"]
    assert len(sizes) == 7 and sizes.min() > 600  # type: ignore[operator]


def test_real_dumps_go_through_both_steps(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"a key for the tests alone")
    config = IngestConfig(inputs=(str(shared_data / "reddit"),), key_file=str(tmp_path / "key"))
    run = run_for(tmp_path, "undated")
    ingested = ingest(config, ONE, run)
    for table in TABLES:
        table.path(run).parent.mkdir(parents=True, exist_ok=True)
        run.staged(table).rename(table.path(run))
    counts = interactions(CONFIG, ONE, run)
    assert counts.rows_out == ingested.rows_out
    posts, said = (table.read(run).to_pylist() for table in (SUBMISSIONS, COMMENTS))
    assert staged(INTERACTIONS, run) == naive_interactions(posts, said)
