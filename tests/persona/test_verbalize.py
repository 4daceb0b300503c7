"""The step through a real Ray Serve: complete, ordered, and able to go on after any end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray import serve

import embed.archive
from orchestration.bench.chat_server import ChatServer, chat_server, evidence_lines
from persona import verbalize as step
from persona.config import PersonaResources, VerbalizeConfig
from persona.errors import EndpointError
from persona.grounded import verbalize_user
from persona.items import UserEvidence, evidence_table, group_users
from persona.serve import _serve_is_up
from persona.tables import EVIDENCE, PERSONAS, QUARANTINE
from persona.verbalize import num_replicas, user_batches, verbalize
from persona.verbalizer import Failed, Failure, outcome_tables
from pipelines.contract import ConfigError, Counts, MissingInputError, Run, Table
from tests.persona.examples import image, rich_user, subreddit, thin_user
from tests.persona.synthetic import make_run, publish_staged
from tests.persona.test_pictures import archive, jpeg

NUM_USERS = 23


def many_users(number: int = NUM_USERS) -> list[UserEvidence]:
    """Users of two kinds, and one who gives nothing to say."""
    users = [(rich_user if i % 3 else thin_user)(f"user{i:04d}") for i in range(number)]
    users[5] = UserEvidence(users[5].user_id, (image("a"),))
    return users


def distinct(number: int) -> list[UserEvidence]:
    """Users without texts, each with evidence of their own: none is answered by another's."""
    users = [thin_user(f"user{i:04d}") for i in range(number)]
    return [
        UserEvidence(user.user_id, (*user.items, subreddit(f"own{i}", 0.1)))
        for i, user in enumerate(users)
    ]


def publish(run: Run, users: list[UserEvidence], parts: int = 2) -> list[UserEvidence]:
    folder = EVIDENCE.path(run)
    folder.mkdir(parents=True)
    size = -(-len(users) // parts)
    for part in range(parts):
        chunk = evidence_table(users[part * size : (part + 1) * size])
        EVIDENCE.write(folder, chunk, f"part-{part:05d}")
    return users


def republish(run: Run, users: list[UserEvidence]) -> None:
    shutil.rmtree(EVIDENCE.path(run))
    publish(run, users)


def publish_staged_again(run: Run, *tables: Table) -> None:
    for table in tables:
        shutil.rmtree(table.path(run))
    publish_staged(run, *tables)


def staged(run: Run) -> tuple[pa.Table, pa.Table]:
    tables = []
    for table in (PERSONAS, QUARANTINE):
        files = sorted(run.staged(table).glob("*.parquet"))
        tables.append(pa.concat_tables(pq.read_table(file) for file in files))
    return tables[0], tables[1]


def expected(users: list[UserEvidence], seed: int = 0) -> tuple[pa.Table, pa.Table]:
    return outcome_tables(users, [verbalize_user(user, seed) for user in users], "grounded")


def name_of(request: dict[str, Any]) -> str:
    """The last subreddit of a request: every user's own."""
    return str(evidence_lines(request)[-1]["text"])


def endpoint_config(server: ChatServer) -> VerbalizeConfig:
    return VerbalizeConfig(verbalizer="openai", base_url=server.base_url, model="scripted")


@pytest.mark.parametrize("batch_users", [1, 2, 5, 100])
def test_batches_hold_whole_users(batch_users: int) -> None:
    users = many_users(7)
    batches = list(user_batches(evidence_table(users), batch_users))
    read = [[user.user_id for user in group_users(batch)] for batch in batches]
    ids = [user.user_id for user in users]
    assert read == [ids[start : start + batch_users] for start in range(0, 7, batch_users)]
    assert list(user_batches(evidence_table([]), batch_users)) == []


class Scripted:
    """A handle, and the response to every call: each user of a call is dealt with alike."""

    def __init__(self, *steps: str) -> None:
        self._steps = iter(steps)

    def remote(self, evidence: pa.Table, pictures: object) -> Scripted:
        self._users = list(group_users(evidence))
        return self

    def result(
        self, timeout_s: float | None = None
    ) -> tuple[pa.Table, pa.Table, dict[str, int], str]:
        told = next(self._steps)
        failed = Failed(Failure.REFUSED, "the server refused the request (HTTP 400)")
        outcomes = {"ok": verbalize_user(thin_user(), 0), "refused": failed}
        users = [] if told == "dead" else self._users
        tables = outcome_tables(users, [outcomes[told] for _ in users], "scripted")
        return (*tables, {}, "refuses everybody" if told == "dead" else "")


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        (("refused", "refused", "dead"), []),
        (("refused", "ok", "dead"), ["user0000", "user0001", "user0002", "user0003"]),
    ],
)
def test_an_endpoint_that_refuses_everybody_marks_nobody_done(
    tmp_path: Path, steps: tuple[str, ...], kept: list[str]
) -> None:
    work = step._Work(make_run(tmp_path), "mark")
    evidence = user_batches(evidence_table(distinct(6)), 2)
    batches = (step._Batch("part", i, rows, {}) for i, rows in enumerate(evidence))
    handle: Any = Scripted(*steps)
    with pytest.raises(EndpointError, match="refuses everybody"):
        step._stream(handle, batches, 1, work)
    assert sorted(set(work.users("part").to_pylist())) == kept


@pytest.mark.engine
class TestThroughServe:
    """Serve is up for all tests; each step brings its app and takes it away."""

    @pytest.fixture(scope="class", autouse=True)
    def serve_is_up(self, ray_local: None) -> Iterator[None]:
        serve.start(proxy_location="Disabled")
        yield
        assert _serve_is_up()
        serve.shutdown()

    @pytest.fixture(autouse=True)
    def no_app_is_left(self) -> Iterator[None]:
        yield
        assert serve.status().applications == {}

    def test_replicas_and_small_batches_change_nothing(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        users = publish(run, many_users())
        resources = PersonaResources(replicas=2, batch_users=3, max_in_flight=6)
        counts = verbalize(VerbalizeConfig(), resources, run)
        assert staged(run) == expected(users)
        assert counts == Counts(
            rows_in=NUM_USERS,
            rows_out=NUM_USERS - 1,
            rejected={"nothing_to_say": 1},
            metrics={"verbalized": float(NUM_USERS)},
        )
        assert sorted(path.name for path in (tmp_path / "staging").iterdir()) == [
            "personas",
            "quarantine",
        ]

    def test_replicas_are_as_many_as_pay(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = make_run(tmp_path)
        publish(run, many_users())
        files, told = EVIDENCE.files(run), PersonaResources()
        assert num_replicas(VerbalizeConfig(), told, files) == 1
        monkeypatch.setattr(step, "ROWS_A_REPLICA", 1)
        cpus = int(ray.cluster_resources()["CPU"])
        assert num_replicas(VerbalizeConfig(), told, files) == cpus > 1
        one_row = 1 / EVIDENCE.dataset(run).count_rows()
        assert num_replicas(VerbalizeConfig(), told, files, share=one_row) == 1
        assert num_replicas(VerbalizeConfig(), PersonaResources(replicas=7), files) == 7
        endpoint = VerbalizeConfig(verbalizer="openai", base_url="http://x", model="m")
        assert num_replicas(endpoint, told, files) == 1

    def test_a_dead_endpoint_loses_nothing(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        users = distinct(12)
        users[7] = UserEvidence(users[7].user_id, (subreddit("script_http401_ok", 1.0),))
        publish(run, users, parts=1)
        with chat_server() as server:
            resources = PersonaResources(max_in_flight=2)
            with pytest.raises(EndpointError, match="HTTP 401"):
                verbalize(endpoint_config(server), resources, run)
            before = len(server.requests)
            counts = verbalize(endpoint_config(server), resources, run)
            # User 7 asks again; of the users before, none does.
            assert len(server.requests) - before <= 12 - 6
        assert counts.rows_out == 12
        assert staged(run)[0].column("user_id").to_pylist() == [u.user_id for u in users]

    def test_a_dead_endpoint_keeps_what_the_same_call_was_answered(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        users = distinct(8)
        users[5] = UserEvidence(users[5].user_id, (subreddit("script_http500", 1.0),))
        publish(run, users, parts=1)
        with chat_server() as server:
            resources = PersonaResources(patience_s=5.0)  # calls of four users
            with pytest.raises(EndpointError, match="HTTP 500"):
                verbalize(endpoint_config(server), resources, run)
            before = Counter(name_of(request) for request in server.requests)
            users[5] = UserEvidence(users[5].user_id, (subreddit("own5", 1.0),))
            shutil.rmtree(EVIDENCE.path(run))
            publish(run, users, parts=1)
            counts = verbalize(endpoint_config(server), resources, run)
            after = Counter(name_of(request) for request in server.requests)
        assert counts.rows_out == 8
        assert len(before) == 8
        assert {name: after[name] for name in before} == dict(before)  # no one is asked again
        assert after - before == Counter({"own5": 1})

    def test_archived_exemplars_are_shown_and_the_archive_is_read_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[Path] = []
        answers = embed.archive._parquet_answers

        def counted(file: Path) -> Iterator[pl.DataFrame]:
            read.append(file)
            return answers(file)

        monkeypatch.setattr(embed.archive, "_parquet_answers", counted)
        run = make_run(tmp_path)
        seen = UserEvidence("ann", (subreddit("jazz", 1.0), image("good"), image("gone")))
        publish(run, [seen, thin_user("bob")], parts=2)
        shards = archive(tmp_path / "archive", {"good": (200, jpeg(40, 30)), "gone": (404, b"")})
        with chat_server() as server:
            config = replace(endpoint_config(server), archive=str(shards))
            counts = verbalize(config, PersonaResources(), run)
            contents = [request["messages"][1]["content"] for request in server.requests]
        assert (counts.rows_out, len(read)) == (2, 1)
        (shown,) = (content for content in contents if isinstance(content, list))
        assert [part["type"] for part in shown] == ["text", "text", "image_url"]
        assert shown[1]["text"] == "Image i:good:"
        assert shown[2]["image_url"]["url"].startswith("data:image/jpeg;base64,")

    def test_unchanged_evidence_is_never_sent_again(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        users = publish(run, distinct(6))
        with chat_server() as server:
            config = replace(endpoint_config(server), model="one")
            counts = verbalize(config, PersonaResources(usd_per_m_input=2.0), run)
            assert (len(server.requests), counts.metrics["input_tokens"]) == (6, 600.0)
            assert counts.metrics["usd"] == pytest.approx(600 * 2.0 / 1e6)
            publish_staged(run, PERSONAS, QUARANTINE)
            changed = UserEvidence(users[4].user_id, (*users[4].items, subreddit("more", 0.05)))
            republish(run, [*users[:4], changed, users[5]])
            again = verbalize(config, PersonaResources(), run)
            assert len(server.requests) == 7
            assert (again.metrics["kept"], again.rows_out) == (5.0, 6)
            before = PERSONAS.read(run).to_pylist()
            after = staged(run)[0].to_pylist()
            assert [row["user_id"] for row in after] == [user.user_id for user in users]
            assert [a == b for a, b in zip(after, before, strict=True)] == [True] * 4 + [
                False,
                True,
            ]
            publish_staged_again(run, PERSONAS, QUARANTINE)
            verbalize(replace(config, temperature=0.5), PersonaResources(), run)
            assert len(server.requests) == 7 + 6  # made otherwise, so all are made again

    def test_the_same_evidence_is_asked_about_once(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        bad = UserEvidence("user0009", (subreddit("script_broken", 1.0),))
        users = [*(thin_user(f"user{i:04d}") for i in range(5)), bad]
        users.append(UserEvidence("user0010", bad.items))
        publish(run, users, parts=1)
        with chat_server() as server:
            counts = verbalize(endpoint_config(server), PersonaResources(), run)
            assert len(server.requests) == 1 + 2
        assert (counts.rows_out, counts.rejected) == (5, {"invalid_json": 2})
        assert counts.metrics["shared"] == 5.0
        personas, quarantine = staged(run)
        assert personas.column("user_id").to_pylist() == [f"user{i:04d}" for i in range(5)]
        assert len(set(personas.column("persona").to_pylist())) == 1
        assert quarantine.column("user_id").to_pylist() == ["user0009", "user0010"]

    def test_bad_replies_are_quarantined_and_counted(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        users = [thin_user(f"user{i:04d}") for i in range(6)]
        for place, script in ((1, "broken"), (2, "ghost"), (4, "http429_schema_ok")):
            items = (subreddit(f"script_{script}", 1.0),)
            users[place] = UserEvidence(users[place].user_id, items)
        publish(run, users)
        with chat_server() as server:
            counts = verbalize(endpoint_config(server), PersonaResources(), run)
        assert counts.rejected == {"invalid_json": 1, "unknown_evidence": 1}
        assert staged(run)[1].column("user_id").to_pylist() == ["user0001", "user0002"]
        assert set(staged(run)[0].column("verbalizer").to_pylist()) == {"scripted"}

    def test_a_replica_that_dies_is_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = make_run(tmp_path)
        users = publish(run, many_users(40))
        keep = step._Work.keep
        killed: list[int] = []

        def kill_then_keep(work: step._Work, *args: object) -> None:
            if not killed:
                killed.append(kill_replica())
            keep(work, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(step._Work, "keep", kill_then_keep)
        verbalize(VerbalizeConfig(), PersonaResources(batch_users=2, max_in_flight=8), run)
        assert killed
        assert staged(run) == expected(users)

    def test_a_wrong_config_fails_by_its_own_name(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        publish(run, many_users())
        config = VerbalizeConfig(
            verbalizer="openai", base_url="http://localhost", model="m", api_key_file="/no/such"
        )
        with pytest.raises(ConfigError, match="api_key_file='/no/such'"):
            verbalize(config, PersonaResources(), run)

    def test_missing_evidence_is_a_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(MissingInputError, match="run build_evidence first"):
            verbalize(VerbalizeConfig(), PersonaResources(), make_run(tmp_path))


@pytest.mark.engine
def test_serve_is_shut_down_if_the_step_started_it(tmp_path: Path, ray_local: None) -> None:
    run = make_run(tmp_path)
    publish(run, many_users(6))
    assert not _serve_is_up()
    verbalize(VerbalizeConfig(), PersonaResources(), run)
    assert not _serve_is_up()
    assert staged(run) == expected(many_users(6))


@pytest.mark.engine
def test_a_killed_driver_is_gone_on_from(tmp_path: Path, ray_local: None) -> None:
    """The cluster outlives the driver, and so does the app that the driver left behind."""
    run = make_run(tmp_path)
    users = publish(run, distinct(30), parts=3)
    address = ray.get_runtime_context().gcs_address
    with chat_server(delay_s=0.05) as server:
        words = ["-m", "tests.persona.run_verbalize", str(tmp_path), server.base_url, address]
        driver = subprocess.Popen([sys.executable, *words])
        deadline = time.monotonic() + 90
        while len(server.requests) < 14 and time.monotonic() < deadline:
            time.sleep(0.05)
        driver.kill()
        assert driver.wait() == -signal.SIGKILL
        before = len(server.requests)
        assert 14 <= before < 30
        verbalize(endpoint_config(server), PersonaResources(max_in_flight=2), run)
        # Two were under way, two more may have come back unseen: all others are asked once.
        assert len(server.requests) <= 30 + 4
    serve.shutdown()
    assert staged(run)[0].column("user_id").to_pylist() == [user.user_id for user in users]
    assert staged(run)[1].num_rows == 0


def kill_replica() -> int:
    """Kill -9 the process of one persona replica."""
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if line.startswith("ray::ServeReplica:personas"):
            os.kill(process.pid, signal.SIGKILL)
            return process.pid
    raise AssertionError("no replica of the persona app is running")
