import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from embed.archive import archive_files
from embed.clip import Clip, load_clip
from embed.config import EmbedConfig, EmbedResources
from embed.images import (
    embed_images,
    published_rows,
    threads_beside_gpus,
    worker_settings,
)
from embed.shards import MANIFESTS
from embed.tables import IMAGE_EMBEDDINGS
from embed.worker import embed_rows
from pipelines.contract import MissingInputError, Run
from pipelines.tables import MEDIA
from tests.embed.interrupted import CONFIG, resources
from tests.embed.loopback import Loopback, reply, serve
from tests.embed.samples import (
    as_img2dataset,
    id_of,
    jpeg,
    planned_rows,
    publish,
    url_of,
    write_archive,
    write_embeddings,
    write_media,
    write_tar,
)

NUM = 24
NUM_SLOW = 48


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the actors: another number of threads sums in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serve() as running:
        running.answers |= {f"/{i}.jpg": slowly(jpeg(i)) for i in range(NUM_SLOW)}
        yield running


def slowly(content: bytes) -> Callable[[BaseHTTPRequestHandler, int], None]:
    def answer(handler: BaseHTTPRequestHandler, before: int) -> None:
        time.sleep(0.15)
        reply(content=content)(handler, before)

    return answer


def at(server: Loopback) -> Callable[[int], str]:
    return lambda image: f"http://{server.host}/{image}.jpg"


def posts(*images: int) -> list[tuple[str, str, int]]:
    return [("user", "pics", image) for image in images]


def new_run(root: Path) -> Run:
    return Run(root=root, staging=root / "staging")


def staged(run: Run) -> list[Any]:
    """Rows that the step wrote, by image_id."""
    assert run.staging is not None
    files = sorted((run.staging / IMAGE_EMBEDDINGS.name).glob("*.parquet"))
    rows = pa.concat_tables(pq.read_table(file) for file in files).to_pylist()
    return sorted(rows, key=lambda row: str(row["image_id"]))


def without_ray(config: EmbedConfig, resources: EmbedResources, run: Run) -> list[Any]:
    """The rows that the step should write, from one worker called by hand on every shard."""
    columns = ["image_id", "url", "created_utc"]
    media = pl.read_parquet(MEDIA.dataset(run).files, hive_partitioning=False, columns=columns)
    archived = archive_files(Path(config.archive)) if config.archive else []
    clip, settings = load_clip("tiny"), worker_settings(config, resources)
    found: list[Any] = []
    with TemporaryDirectory() as folder:
        rows = planned_rows(media, archived, Path(folder))
    for shard in rows.iter_slices(config.shard_images):
        found += embed_rows(shard, clip, settings).to_pylist()
    return sorted(found, key=lambda row: str(row["image_id"]))


def test_an_actor_decodes_on_its_share_of_the_smallest_machine_with_gpus() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 64.0}},
        {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 30.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}},
    ]
    assert threads_beside_gpus(nodes, 1.0) == 8
    assert threads_beside_gpus(nodes, 0.5) == 4
    assert threads_beside_gpus(nodes[:1], 1.0) == 1


@pytest.mark.engine
def test_two_actors_write_what_one_worker_would(tmp_path: Path, ray_local: None) -> None:
    answers = {url_of(i): (200, jpeg(i)) for i in range(NUM)}
    write_archive(tmp_path / "archive", {**answers, url_of(3): (404, b""), url_of(5): (200, b"x")})
    config = EmbedConfig(archive=str(tmp_path / "archive"), shard_images=5)
    progress: list[float] = []
    run = replace(new_run(tmp_path), on_progress=lambda done, *_: progress.append(done))
    write_media(run, posts(*range(NUM), 0, 1, 99))
    counts = embed_images(config, EmbedResources(actors=2, batch_images=3), run)

    assert staged(run) == without_ray(config, EmbedResources(batch_images=3), run)
    assert [row["image_id"] for row in staged(run)] == [id_of(i) for i in (*range(NUM), 99)]
    assert (counts.rows_in, counts.rows_out) == (NUM + 3, NUM + 1)
    assert counts.dropped == {"same_image": 2}
    by_status = {name: n for name, n in counts.metrics.items() if name.startswith("num_")}
    assert by_status == {
        "num_ok": NUM - 2,
        "num_not_found": 1,
        "num_not_image": 1,
        "num_not_archived": 1,
        "num_kept": 0,
        "num_shared": 0,
        "num_damaged_shards": 0,
    }
    assert progress == sorted(progress) and progress[-1] == NUM + 1


@pytest.mark.engine
def test_a_killed_run_goes_on_where_it_was_and_gives_the_same_table(
    tmp_path: Path, ray_local: None, server: Loopback
) -> None:
    killed = new_run(tmp_path)
    write_media(killed, posts(*range(NUM_SLOW)), url=at(server))
    command = [sys.executable, "-m", "tests.embed.interrupted", str(killed.root), server.host]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifests = killed.root / "staging" / IMAGE_EMBEDDINGS.name / MANIFESTS
    deadline = time.monotonic() + 120
    while len(list(manifests.glob("*.json"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    process.kill()
    process.wait()
    # Ray ends the actor of a dead driver a moment later; it may finish a shard in that time.
    time.sleep(1.5)
    finished = {file.stem: file.stat().st_mtime_ns for file in manifests.glob("*.json")}
    assert 2 <= len(finished) < NUM_SLOW / 4
    server.seen.clear()

    embed_images(CONFIG, resources(server.host), killed)
    assert len(server.seen) == NUM_SLOW - 4 * len(finished)
    now = {file.stem: file.stat().st_mtime_ns for file in manifests.glob("*.json")}
    assert finished.items() <= now.items()
    assert staged(killed) == without_ray(CONFIG, resources(server.host), killed)


@pytest.mark.engine
def test_a_refresh_asks_for_what_is_new_or_may_have_passed(
    tmp_path: Path, ray_local: None, server: Loopback
) -> None:
    run = new_run(tmp_path)
    server.answers |= {"/2.jpg": reply(404), "/3.jpg": reply(403, headers={})}
    server.answers["/4.jpg"] = reply(429)
    write_media(run, posts(0, 1, 2, 3, 4), url=at(server))
    first = embed_images(CONFIG, resources(server.host), run)
    assert first.metrics["num_ok"] == 2 and first.metrics["num_kept"] == 0
    before = staged(run)
    publish(run)

    server.seen.clear()
    server.answers["/4.jpg"] = reply(content=jpeg(4))
    write_media(run, posts(1, 5, 6), month="2019-02", url=at(server))
    second = embed_images(CONFIG, resources(server.host), run)
    assert sorted(path for path, _ in server.seen) == ["/4.jpg", "/5.jpg", "/6.jpg"]
    assert second.metrics["num_kept"] == 4 and second.metrics["num_ok"] == 5
    rows = {row["image_id"]: row for row in staged(run)}
    kept = [row for row in before if row["status"] != "rate_limited"]
    assert [rows[row["image_id"]] for row in kept] == kept
    assert rows[id_of(4)]["status"] == "ok"


def test_rows_of_other_weights_or_limits_are_not_kept(tmp_path: Path) -> None:
    made = {"clip_weights": "a", "clip_precision": "fp32", "max_pixels": "9", "max_bytes": "9"}
    run = Run(root=tmp_path)
    write_embeddings(run, {0: [1.0], 1: "too_large", 2: "timeout", 3: "removed"}, made)

    def kept(config: EmbedConfig = EmbedConfig(), **changes: str) -> list[int]:  # noqa: B008
        found = published_rows(run, {**made, **changes}, config)
        return sorted(int(image_id, 16) for rows in found for image_id in rows["image_id"])

    assert kept() == [0, 1, 3]
    assert kept(clip_model="another name of it") == [0, 1, 3]
    assert kept(max_bytes="10") == [0, 3]
    assert kept(clip_weights="b") == []
    assert kept(clip_precision="bf16") == []
    assert kept(EmbedConfig(retry_failed=("removed",))) == [0, 1, 2]
    assert kept(EmbedConfig(retry_failed=("removed", "timeout"))) == [0, 1]
    assert kept(EmbedConfig(revalidate=True)) == []


@pytest.mark.engine
def test_only_failures_of_the_class_are_retried(
    tmp_path: Path, ray_local: None, server: Loopback
) -> None:
    run = new_run(tmp_path)
    server.answers |= {"/2.jpg": reply(404), "/3.jpg": reply(403)}
    server.answers["/4.jpg"] = reply(429)
    write_media(run, posts(0, 2, 3, 4), url=at(server))
    embed_images(CONFIG, resources(server.host), run)
    publish(run)
    server.seen.clear()
    server.answers |= {f"/{image}.jpg": reply(content=jpeg(image)) for image in (2, 3, 4)}
    config = replace(CONFIG, retry_failed=("not_found",))
    counts = embed_images(config, resources(server.host), run)
    assert [path for path, _ in server.seen] == ["/2.jpg"]
    assert counts.metrics["num_kept"] == 3
    assert [row["status"] for row in staged(run)] == ["ok", "ok", "forbidden", "rate_limited"]


@pytest.mark.engine
def test_what_is_kept_is_never_downloaded_again_and_gives_the_same_table(
    tmp_path: Path, ray_local: None, server: Loopback
) -> None:
    server.answers |= {"/2.jpg": reply(404), "/3.jpg": reply(content=b"")}
    server.answers["/4.jpg"] = reply(content=jpeg(4), headers={"X-Robots-Tag": "noai"})
    server.answers["/5.jpg"] = reply(500)
    keeping = replace(resources(server.host), keep_archive=str(tmp_path / "kept"))
    tables = []
    for root in (tmp_path / "first", tmp_path / "second"):
        run = new_run(root)
        write_media(run, posts(*range(10)), url=at(server))
        server.seen.clear()
        embed_images(CONFIG, keeping, run)
        tables.append(staged(run))
    assert {path for path, _ in server.seen} == {"/5.jpg"}
    assert tables[0] == tables[1]
    assert [row["status"] for row in tables[0]][:7] == [
        "ok", "ok", "not_found", "empty", "opted_out", "server_error", "ok",
    ]  # fmt: skip

    # The folder serves as an archive, too; what failed for the moment is not in it.
    alone = new_run(tmp_path / "third")
    write_media(alone, posts(*range(10)), url=at(server))
    server.seen.clear()
    embed_images(EmbedConfig(archive=str(tmp_path / "kept")), EmbedResources(), alone)
    assert server.seen == []
    changed = {"not_archived": "server_error"}
    statuses = [row["status"] for row in staged(alone)]
    assert [changed.get(s, s) for s in statuses] == [row["status"] for row in tables[0]]


@pytest.mark.engine
def test_near_duplicates_share_a_vector_whatever_the_workers_and_the_old_stay_as_they_are(
    tmp_path: Path, ray_local: None
) -> None:
    copies = {i: jpeg(i % 5) for i in range(20)}
    archive = tmp_path / "archive"
    write_archive(archive, {url_of(i): (200, content) for i, content in copies.items()})
    config = EmbedConfig(archive=str(archive), shard_images=4)
    tables = []
    for actors in (1, 2):
        run = new_run(tmp_path / str(actors))
        write_media(run, posts(*range(5, 20)))
        counts = embed_images(config, EmbedResources(actors=actors, batch_images=3), run)
        assert counts.metrics["num_shared"] == 10
        tables.append(staged(run))
    assert tables[0] == tables[1]
    own = [row for row in tables[0] if row["shared_with"] is None]
    vectors = {row["image_id"]: row["embedding"] for row in own}
    assert list(vectors) == [id_of(i) for i in range(5, 10)]
    assert all(
        row["embedding"] == vectors[row["shared_with"] or row["image_id"]] for row in tables[0]
    )

    publish(run)
    write_media(run, posts(*range(5)), month="2019-02")
    counts = embed_images(config, EmbedResources(batch_images=3), run)
    assert (counts.metrics["num_kept"], counts.metrics["num_shared"]) == (15, 15)
    assert staged(run)[5:] == tables[0]
    assert [row["shared_with"] for row in staged(run)[:5]] == [id_of(i) for i in range(5, 10)]


@pytest.mark.engine
def test_a_damaged_shard_of_the_archive_is_noted_and_stops_nothing(
    tmp_path: Path, ray_local: None
) -> None:
    archive = tmp_path / "archive"
    write_archive(archive, {url_of(i): (200, jpeg(i)) for i in range(4)})
    write_tar(archive / "z.tar", as_img2dataset(range(4, 8)))
    body = (archive / "z.tar").read_bytes()
    (archive / "z.tar").write_bytes(body[: len(body) // 2])
    run = new_run(tmp_path)
    write_media(run, posts(*range(8)))
    counts = embed_images(EmbedConfig(archive=str(archive)), EmbedResources(), run)
    assert list(counts.notes) == [str(archive / "z.tar")]
    assert counts.metrics["num_damaged_shards"] == 1
    assert 4 <= counts.metrics["num_ok"] < 8
    assert counts.metrics["num_ok"] + counts.metrics["num_not_archived"] == 8


def test_no_images_give_an_empty_table_of_the_models_length(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    write_media(run, [])
    counts = embed_images(EmbedConfig(), EmbedResources(), run)
    assert (counts.rows_in, counts.rows_out) == (0, 0)
    assert run.staging is not None
    (file,) = (run.staging / IMAGE_EMBEDDINGS.name).glob("*.parquet")
    assert pq.read_schema(file).field("embedding").type.list_size == 64


def test_a_missing_archive_or_media_table_is_named(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with pytest.raises(MissingInputError, match="media"):
        embed_images(EmbedConfig(), EmbedResources(), run)
    write_media(run, posts(1))
    with pytest.raises(MissingInputError, match="archive="):
        embed_images(EmbedConfig(archive=str(tmp_path / "none")), EmbedResources(), run)


@pytest.mark.engine
def test_more_actors_than_a_host_may_be_asked_at_once_keep_its_limit(
    tmp_path: Path, ray_local: None, server: Loopback
) -> None:
    run = new_run(tmp_path)
    write_media(run, posts(*range(NUM)), url=at(server))
    alone = replace(resources(server.host, actors=2), per_host=1)
    counts = embed_images(CONFIG, alone, run)
    assert counts.metrics["num_ok"] == NUM
    assert server.most_at_once == 1


@pytest.mark.engine
def test_the_next_shard_is_fetched_while_one_is_embedded(
    tmp_path: Path, ray_local: None, server: Loopback
) -> None:
    run = new_run(tmp_path)
    write_media(run, posts(*range(NUM_SLOW)), url=at(server))
    counts = embed_images(CONFIG, resources(server.host), run, load=partial(load_slow, tmp_path))
    assert counts.metrics["num_ok"] == NUM_SLOW
    assert staged(run) == without_ray(CONFIG, resources(server.host), run)
    encoded = [float(line) for line in (tmp_path / "encoded.txt").read_text().split()]
    asked = server.times
    # Of all shards but the first, some image was asked for before the one ahead was encoded.
    ahead = sum(asked[4 * shard] < encoded[shard - 1] for shard in range(1, NUM_SLOW // 4))
    assert ahead > NUM_SLOW // 4 / 2
    # And of none before the one two ahead was.
    assert all(asked[4 * shard] > encoded[shard - 2] for shard in range(2, NUM_SLOW // 4))


def load_slow(folder: Path, **told: Any) -> Clip:
    """`load_clip`, taking its time over every batch, of which it writes down the end."""
    clip = load_clip(**told)
    launch = clip.launch

    def slow(pixels_NYXC: torch.Tensor) -> torch.Tensor:
        time.sleep(0.3)
        with (folder / "encoded.txt").open("a") as log:
            log.write(f"{time.time()}\n")
        return launch(pixels_NYXC)

    clip.launch = slow  # type: ignore[method-assign]
    return clip


def test_more_actors_ask_a_host_no_more_at_once() -> None:
    for actors, share in ((1, 8), (2, 4), (100, 1)):
        settings = worker_settings(EmbedConfig(), EmbedResources(actors=actors, per_host=8))
        assert settings.sources.hosts["a.example"].limits.at_once == share
        assert settings.sources.hosts["a.example"].limits.per_s == 10 / actors
        assert settings.sources.hosts["i.redd.it"].limits.per_s == 40 / actors


def test_a_host_may_be_given_limits_of_its_own() -> None:
    resources = EmbedResources(actors=2, host_limits=("i.redd.it=4/5", "a.example=2/1.5"))
    known = worker_settings(EmbedConfig(), resources).sources.hosts
    found = [known[name].limits for name in ("i.redd.it", "a.example", "i.imgur.com", "b.example")]
    assert [(limits.at_once, limits.per_s) for limits in found] == [
        (2, 2.5), (1, 0.75), (2, 4), (2, 5),
    ]  # fmt: skip
