"""Decoding goes on while a batch is encoded, and no further ahead than one batch."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from embed.bodies import Sources
from embed.clip import Clip, load_clip
from embed.fetch import FetchLimits
from embed.hosts import HostLimits, Hosts
from embed.worker import EmbedShards, ahead, embed_rows, in_order
from tests.embed.loopback import reply, serve
from tests.embed.samples import jpeg, url_of, write_archive
from tests.embed.test_worker import SETTINGS, rows_for

NUM = 32
BATCH = SETTINGS.batch_images


@pytest.fixture
def clip() -> Clip:
    return load_clip("tiny")


def test_items_are_taken_no_further_ahead_than_told() -> None:
    taken: list[int] = []

    def items() -> Generator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda item: item * item, items(), 3)
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        assert len(taken) <= 5 + 3
        assert list(results) == [item * item for item in range(5, 100)]


def test_a_slow_encoder_holds_decoding_back(tmp_path: Path, clip: Clip, monkeypatch: Any) -> None:
    write_archive(tmp_path, {url_of(i): (200, jpeg(i)) for i in range(NUM)})
    decoded, encoded, most = 0, 0, 0
    preprocess, launch = clip.preprocess, clip.launch
    lock = threading.Lock()

    def counting(picture: Any) -> Tensor:
        nonlocal decoded, most
        with lock:
            decoded += 1
            most = max(most, decoded - encoded)
        return preprocess(picture)

    def slow(pixels: Tensor) -> Tensor:
        nonlocal encoded
        threading.Event().wait(0.1)
        with lock:
            encoded += len(pixels)
        return launch(pixels)

    monkeypatch.setattr(clip, "preprocess", counting)
    monkeypatch.setattr(clip, "launch", slow)
    table = embed_rows(rows_for([url_of(i) for i in range(NUM)], tmp_path), clip, SETTINGS)
    assert table.num_rows == decoded == encoded == NUM
    assert most <= 2 * BATCH


def test_the_next_batch_is_decoded_while_one_is_encoded(
    tmp_path: Path, clip: Clip, monkeypatch: Any
) -> None:
    write_archive(tmp_path, {url_of(i): (200, jpeg(i)) for i in range(NUM)})
    decoded = [threading.Event() for _ in range(NUM)]
    order = iter(decoded)
    preprocess, launch, seen = clip.preprocess, clip.launch, [0]

    def telling(picture: Any) -> Tensor:
        pixels = preprocess(picture)
        next(order).set()
        return pixels

    def waiting(pixels: Tensor) -> Tensor:
        seen[0] += len(pixels)
        if seen[0] < NUM:
            assert decoded[seen[0]].wait(30), "nothing is decoded while a batch is encoded"
        return launch(pixels)

    monkeypatch.setattr(clip, "preprocess", telling)
    monkeypatch.setattr(clip, "launch", waiting)
    table = embed_rows(rows_for([url_of(i) for i in range(NUM)], tmp_path), clip, SETTINGS)
    assert table["status"].to_pylist() == ["ok"] * NUM


def test_the_next_shard_is_fetched_while_one_is_embedded_and_not_the_one_after(
    tmp_path: Path, clip: Clip, monkeypatch: Any
) -> None:
    launch, may_embed, embedding = clip.launch, threading.Event(), threading.Event()

    def waiting(pixels: Tensor) -> Tensor:
        embedding.set()
        assert may_embed.wait(30)
        return launch(pixels)

    monkeypatch.setattr(clip, "launch", waiting)
    with serve() as server:
        server.answers |= {f"/{i}.jpg": reply(content=jpeg(i)) for i in range(3 * BATCH)}
        limits = FetchLimits(allowed_private=frozenset({server.host}))
        hosts = Hosts(others=HostLimits(at_once=4, per_s=1_000))
        sources = Sources(fetch=True, limits=limits, hosts=hosts)
        actor = EmbedShards(lambda: clip, replace(SETTINGS, sources=sources), {})
        jobs = shards([f"http://{server.host}/{i}.jpg" for i in range(3 * BATCH)], tmp_path)
        with ThreadPoolExecutor(2) as threads:  # As many as an actor has.
            done = [threads.submit(actor, job) for job in jobs]
            assert embedding.wait(30)
            deadline = time.monotonic() + 30
            while len(server.seen) < 2 * BATCH and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)
            assert len(server.seen) == 2 * BATCH, "the next shard is fetched, and no other"
            may_embed.set()
            assert [future.result()["num_images"].to_pylist() for future in done] == 3 * [[BATCH]]
    statuses = pq.read_table(tmp_path / "out", columns=["status"])["status"].to_pylist()
    assert statuses == ["ok"] * 3 * BATCH


def shards(urls: list[str], folder: Path) -> list[pa.Table]:
    """A job for each `BATCH` of urls."""
    (folder / "out").mkdir()
    jobs = []
    for number, rows in enumerate(rows_for(urls, None).iter_slices(BATCH)):
        rows.write_parquet(folder / f"{number}.parquet")
        told = {"plan": str(folder / f"{number}.parquet"), "folder": str(folder / "out")}
        jobs.append(pa.Table.from_pylist([{"part": f"part-{number}", **told, "made_from": "it"}]))
    return jobs


def test_a_batch_is_made_ahead_and_not_two() -> None:
    made: list[int] = []
    more = threading.Event()

    def source() -> Generator[int]:
        for item in range(10):
            made.append(item)
            if len(made) > 2:
                more.set()
            yield item

    batches = ahead(source())
    assert next(batches) == 0
    assert not more.wait(0.3)
    assert len(made) <= 2
    batches.close()


@pytest.mark.slow
def test_a_compiled_encoder_gives_the_same_vectors_whatever_the_batch(clip: Clip) -> None:
    compiled = load_clip("tiny", compile_batch=4)
    pixels = torch.randint(0, 256, (7, 64, 64, 3), dtype=torch.uint8)
    here = clip.encode_pixels(pixels)
    parts = [compiled.encode_pixels(pixels[:4]), compiled.encode_pixels(pixels[4:])]
    there = torch.cat([torch.from_numpy(part) for part in parts]).numpy()
    assert (here * there).sum(axis=1).min() > 0.9999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pictures_for_a_gpu_are_pinned_and_its_compiled_vectors_the_same(clip: Clip) -> None:
    there = load_clip("tiny", device="cuda", precision="bf16", compile_batch=8)
    pixels = list(torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8))
    assert there.stack(pixels).is_pinned()
    here = clip.encode_pixels(clip.stack(pixels))
    assert (here * there.encode_pixels(there.stack(pixels))).sum(axis=1).min() > 0.995
