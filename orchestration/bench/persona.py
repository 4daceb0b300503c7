"""`make bench-persona`: verbalizers, the store and the API, measured: runs/bench/persona.json.

The endpoint is a real HTTP server on the loopback interface that speaks the chat protocol and has
no model behind it (`orchestration.bench.chat_server`): what is measured is our side of the wire.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pyarrow.parquet as pq
import typer
from rich.console import Console

from orchestration.bench.api_load import fuzz, get, load, post
from orchestration.bench.chat_server import chat_server, distant_chat_server
from orchestration.bench.injections import has_effect, injections, with_injection
from orchestration.bench.made_up import StoreRows, made_up_user, user_id
from orchestration.engines import quiet_engines
from persona.config import PersonaResources, VerbalizeConfig
from persona.endpoint import PERSONA_FORMAT, EndpointVerbalizer
from persona.erasure import erase_user, find_traces
from persona.grounded import verbalize_user
from persona.items import SUBREDDIT, Item, UserEvidence, evidence_table
from persona.prompts import persona_messages
from persona.schema import Persona
from persona.store import PersonaStore
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS, QUARANTINE
from persona.verbalizer import find_failure
from persona.web.messages import PersonaAnswer
from pipelines.contract import Run

BENCH = Path("runs/bench")
BATCH_ROWS = 20_000
CLIENTS = 200
Figures = dict[str, Any]


def main(
    quick: Annotated[bool, typer.Option(help="Small sizes, under three minutes.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for stores and results.")] = BENCH,
    only: Annotated[list[str] | None, typer.Option(help="These sections alone.")] = None,
    drive: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure every section, print it, and write persona.json."""
    quiet_engines()
    if drive:
        _verbalize(out, drive)
        return
    console = Console()
    work = out / "persona"
    sections: dict[str, Callable[[Path, bool], Figures]] = {
        "grounded": bench_grounded,
        "openai": bench_openai,
        "store": bench_store,
        "api": bench_api,
        "injection": bench_injection,
    }
    target = out / "persona.json"
    figures: Figures = json.loads(target.read_text()) if only and target.exists() else {}
    for name in only or sections:
        shutil.rmtree(work / name, ignore_errors=True)
        started = time.perf_counter()
        figures[name] = sections[name](work / name, quick)
        console.print(f"[b]{name}[/] {time.perf_counter() - started:.0f} s", figures[name])
    figures["quick"] = quick
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


def bench_grounded(work: Path, quick: bool) -> Figures:
    """Personas a second by two processes at once, and what share of them is valid."""
    count = 4_000 if quick else 40_000
    halves = ((0, count // 2), (count // 2, count))
    with multiprocessing.get_context("spawn").Pool(len(halves)) as pool:
        done = pool.starmap(_grounded, halves, chunksize=1)
    valid = sum(number for _, number in done)
    rate = count / max(seconds for seconds, _ in done)
    return {"personas_per_s": rate, "schema_valid_share": valid / count}


def _grounded(start: int, stop: int) -> tuple[float, int]:
    """(seconds to verbalize made-up users, how many personas are valid)."""
    users = [made_up_user(index) for index in range(start, stop)]
    for user in users[:20]:
        verbalize_user(user, 0)
    started = time.perf_counter()
    made = [verbalize_user(user, 0) for user in users]
    seconds = time.perf_counter() - started
    replies = [
        persona.model_dump_json() if isinstance(persona, Persona) else "" for persona in made
    ]
    pairs = [(user, reply) for user, reply in zip(users, replies, strict=True) if reply]
    fine = (find_failure(Persona.model_validate_json(r), u) is None for u, r in pairs)
    return seconds, sum(fine)


def bench_openai(work: Path, quick: bool) -> Figures:
    """The whole step against a server: at its limit, in storms of errors, and after kill -9."""
    count = 240 if quick else 5_000
    users = [made_up_user(index) for index in range(count)]
    users.sort(key=lambda user: user.user_id)
    figures: Figures = {"users": count, "server": "scripted, 20 ms an answer, 32 at once"}
    with distant_chat_server(delay_s=0.02, limit=32) as server:
        figures["server_alone_per_s"] = _ceiling(
            server.base_url, users[:200], 2.0 if quick else 8.0
        )
    with distant_chat_server(delay_s=0.02, limit=32) as server:
        run = _publish(work / "calm", users)
        _verbalize(work / "calm", server.base_url)
        counted = server.counted()
        # From the first request to the last answer: Ray and Serve start before.
        figures["personas_per_s"] = count / (counted.last_s - counted.first_s)
        figures["share_of_server_alone"] = figures["personas_per_s"] / figures["server_alone_per_s"]
        figures["refused_at_limit"] = counted.refused
        figures["lost"], figures["duplicated"] = _lost_and_duplicated(run, users)
    figures["storm"] = _storm(work / "storm", users)
    return figures


def _storm(folder: Path, users: list[UserEvidence]) -> Figures:
    """A third of the requests refused, and kill -9 of the driver after half of the answers."""
    with distant_chat_server(delay_s=0.02, limit=32, storm=0.3) as server:
        run = _publish(folder, users)
        process = _driver(folder, server.base_url)
        while server.counted().answered < len(users) // 2:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed_at = server.counted().answered
        _verbalize(folder, server.base_url)
        counted = server.counted()
        lost, duplicated = _lost_and_duplicated(run, users)
    return {
        "refused": counted.refused,
        "killed_after": killed_at,
        "asked_again": counted.answered - len(users),
        "lost": lost,
        "duplicated": duplicated,
    }


def _ceiling(base_url: str, users: list[UserEvidence], seconds: float) -> float:
    """Answers a second that the server gives to 32 clients who do nothing but send and wait."""
    fields = {"model": "scripted", "response_format": PERSONA_FORMAT}
    requests = [
        post("/v1/chat/completions", {**fields, "messages": persona_messages(user)})
        for user in users
    ]
    port = urlsplit(base_url).port
    assert port is not None
    done = asyncio.run(load(port, requests, 32, seconds))
    return done.statuses[200] / done.elapsed_s


def _publish(folder: Path, users: list[UserEvidence]) -> Run:
    run = Run(root=folder / "run", staging=folder / "staging")
    EVIDENCE.path(run).mkdir(parents=True)
    EVIDENCE.write(EVIDENCE.path(run), evidence_table(users))
    return run


def _verbalize(folder: Path, base_url: str) -> None:
    """The step, with a Ray of its own; goes on where a killed one stopped."""
    import ray

    from persona.verbalize import verbalize

    run = Run(root=folder / "run", staging=folder / "staging")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        config = VerbalizeConfig(verbalizer="openai", base_url=base_url, model="scripted")
        verbalize(config, PersonaResources(max_in_flight=128), run)
    finally:
        ray.shutdown()


def _driver(folder: Path, base_url: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "orchestration.bench.persona"]
    return subprocess.Popen([*words, "--out", str(folder), "--drive", base_url])


def _lost_and_duplicated(run: Run, users: list[UserEvidence]) -> tuple[int, int]:
    """Users without an outcome, and outcomes beyond one a user."""
    told: Counter[str] = Counter()
    for table in (PERSONAS, QUARANTINE):
        for path in run.staged(table).glob("*.parquet"):
            told.update(pq.read_table(path, columns=["user_id"]).column("user_id").to_pylist())
    lost = sum(told[user.user_id] == 0 for user in users)
    return lost, sum(count - 1 for count in told.values() if count > 1)


def bench_store(work: Path, quick: bool) -> Figures:
    """Load, upsert, lookup, vector search against the exact answer, size, and an erasure."""
    count, dims = (50_000, (64, 128)) if quick else (1_000_000, (64, 512))
    path = PERSONA_STORE.path(Run(root=work))
    rows = StoreRows(*dims)
    store = PersonaStore.create(path, *dims)
    figures: Figures = {"personas": count, "dims": list(dims)}
    figures["load_rows_per_s"] = _upserted(store, rows, count, "run1", 1)
    figures["finish_s"] = _seconds(lambda: store.finish(10_000))
    figures |= _lookups(store, count) | _searches(store, rows, count)
    figures["bytes"] = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    figures["upsert_rows_per_s"] = _upserted(store, rows, count // 10, "run2", 2)
    gone = user_id(7)
    figures["erase_s"] = _seconds(lambda: erase_user(work, gone))
    figures["traces_after_erasure"] = len(find_traces(work, gone).found)
    figures["left_after_erasure"] = PersonaStore.open(path).count()
    return figures


def _upserted(store: PersonaStore, rows: StoreRows, count: int, run: str, made: int) -> float:
    """Rows a second, without the making of the rows."""
    seconds = 0.0
    for batch in rows.batches(count, BATCH_ROWS, run, made):
        started = time.perf_counter()
        store.upsert(batch)
        seconds += time.perf_counter() - started
    return count / seconds


def _lookups(store: PersonaStore, count: int) -> Figures:
    rng = np.random.default_rng(0)
    ids = [user_id(int(index)) for index in rng.integers(count, size=2_000)]
    # What the API answers with: all but the vectors.
    told = tuple(PersonaAnswer.model_fields)
    seconds = [_seconds(lambda id_=id_: store.get(id_, told)) for id_ in ids][200:]  # type: ignore[misc]
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"lookup_p50_ms": float(p50), "lookup_p99_ms": float(p99)}


def _searches(store: PersonaStore, rows: StoreRows, count: int) -> Figures:
    """recall@10 of p(z_u) against the exact neighbours, and seconds."""
    queries_QD = rows.vectors(10**9, 10**9 + 100, 1)
    best = np.full((len(queries_QD), 10), -np.inf)
    places = np.zeros((len(queries_QD), 10), np.int64)
    for start in range(0, count, BATCH_ROWS):
        score = queries_QD @ rows.vectors(start, min(count, start + BATCH_ROWS), 1).T
        both = np.concatenate([best, score], axis=1)
        ids = np.concatenate(
            [places, np.broadcast_to(np.arange(score.shape[1]) + start, score.shape)], 1
        )
        order = np.argsort(-both, axis=1)[:, :10]
        best, places = np.take_along_axis(both, order, 1), np.take_along_axis(ids, order, 1)
    found, seconds = [], []
    for query, exact in zip(queries_QD, places, strict=True):
        started = time.perf_counter()
        hits = store.search_vector(query, 10)
        seconds.append(time.perf_counter() - started)
        right = {user_id(int(place)) for place in exact}
        found.append(len(right & {hit["user_id"] for hit in hits}) / 10)
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {
        "recall_at_10": float(np.mean(found)),
        "search_p50_ms": float(p50),
        "search_p99_ms": float(p99),
    }


def bench_api(work: Path, quick: bool) -> Figures:
    """200 clients at once, once unlimited and once into the rate limit; then odd requests."""
    count, seconds, tries = (5_000, 8.0, 1_000) if quick else (100_000, 60.0, 20_000)
    store = PersonaStore.create(PERSONA_STORE.path(Run(root=work)), 64, 64)
    _upserted(store, StoreRows(64, 64), count, "a1", 1)
    store.finish(10_000)
    paths = [f"/personas/{user_id(index)}" for index in range(500)]
    requests = [get(path) for path in paths] + [get(f"{path}/similar") for path in paths[:50]]
    words = ("neon", "pastel cats", "jazz", "bread", "birds")
    requests += [post("/search", {"text": text, "by": "text"}) for text in words * 20]
    with _served(work, requests_per_s=1e6, burst=10**6) as port:
        figures = asyncio.run(load(port, requests, CLIENTS, seconds)).figures()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            statuses = fuzz(client, tries, seed=0)
    with _served(work, requests_per_s=100.0, burst=100) as port:
        limited = asyncio.run(load(port, requests, CLIENTS, seconds / 4)).figures()
    return {
        **figures,
        "limited": {"errors": limited["errors"], "refused_429": limited["refused_429"]},
        "fuzz": {"tried": tries, "status_500": statuses[500], "by_status": dict(statuses)},
    }


@contextmanager
def _served(root: Path, **settings: float) -> Iterator[int]:
    """The API in a process of its own, as `tastegraph serve --plain` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    path = root / "serve.toml"
    path.write_text(
        "\n".join(["[api]", *(f"{name} = {value}" for name, value in settings.items())])
    )
    words = [sys.executable, "-m", "orchestration", "serve", "--plain", "--root", str(root)]
    words += ["--port", str(port), "--config", str(path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
                break
            except httpx.TransportError:
                if process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def bench_injection(work: Path, quick: bool) -> Figures:
    """Every injection against the grounded verbalizer, and against a model that obeys them all."""
    user = made_up_user(0)
    clean = verbalize_user(user, 0)
    suite = injections()
    moved = [i for i in suite if has_effect(i, verbalize_user(with_injection(user, i), 0), clean)]
    obey = Item("s:script_obey", SUBREDDIT, "script_obey", None, "script_obey", 0.9, 11, False)
    texts = [i for i in suite if i.place != "subreddit"]
    told = [
        UserEvidence(f"u{n}", (obey, *with_injection(user, i).items)) for n, i in enumerate(texts)
    ]

    async def ask(base_url: str) -> list[Any]:
        config = VerbalizeConfig(verbalizer="openai", base_url=base_url, model="scripted")
        verbalizer = EndpointVerbalizer.connect(config, 8)
        try:
            return await verbalizer.verbalize([user, *told])
        finally:
            await verbalizer.close()

    with chat_server() as server:
        calm, *outcomes = asyncio.run(ask(server.base_url))
    obeyed = [i for i, o in zip(texts, outcomes, strict=True) if has_effect(i, o, calm)]
    return {"tried": len(suite) + len(texts), "effective": len(moved) + len(obeyed)}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
