"""Step: MEDIA -> IMAGE_EMBEDDINGS, on Ray Data; a shard is the unit of work and of resume."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from embed.archive import archive_files
from embed.bodies import Sources, kept_files
from embed.buckets import in_order
from embed.clip import Clip, clip_identity, load_clip
from embed.config import EmbedConfig, EmbedResources
from embed.fetch import FetchLimits
from embed.hosts import MAIN_HOSTS, HostLimits, Hosts, parse_host_limits
from embed.outages import outages_told
from embed.outcomes import Outcome
from embed.permits import IDLE_S, Permits
from embed.pixels import VERSION
from embed.places import KEPT_SCHEMA, place_images
from embed.remote import remote_permits
from embed.shards import (
    ORDER,
    Plan,
    clear_unfinished,
    finished_shards,
    plan_shards,
    settled,
    total_by_status,
)
from embed.sharing import share_over_shards
from embed.tables import IMAGE_EMBEDDINGS
from embed.worker import EmbedShards, WorkerSettings
from pipelines.contract import Counts, Run
from pipelines.tables import MEDIA

# A table made under other limits keeps its embeddings, but not the statuses that limits decide.
LIMITS = ("max_pixels", "max_bytes")


def embed_images(
    config: EmbedConfig,
    resources: EmbedResources,
    run: Run,
    load: Callable[..., Clip] = load_clip,
) -> Counts:
    """Step: MEDIA -> IMAGE_EMBEDDINGS, one row a distinct image, had or not.

    Rows of the table published before are kept where the same weights made them and asking again
    would not change them, so a refresh costs what is new and what failed for the moment.

    Args:
        config: Model, archive, limits.
        resources: Actors, threads, precision; more actors give the same table.
        run: Where.
        load: Loads the model in each actor; takes the arguments of `load_clip`.
    """
    if not resources.threads_per_actor:
        threads = threads_beside_gpus(ray.nodes(), resources.gpus_per_actor)
        resources = replace(resources, threads_per_actor=threads)
    load_here = partial(
        load,
        model=config.clip.model,
        pretrained=config.clip.pretrained,
        device="cuda" if resources.gpus_per_actor > 0 else "cpu",
        precision=resources.precision,
        compile_batch=resources.batch_images if resources.compile else 0,
    )
    metadata = file_metadata(config, resources)
    media = MEDIA.dataset(run)
    archived = archive_files(Path(config.archive)) if config.archive else []
    folder = run.staged(IMAGE_EMBEDDINGS)
    work = scratch(folder)
    published, kept = published_rows(run, metadata, config), kept_before(resources)
    placed = place_images(media, published, archived, kept, work / "places")
    made_from = made_with(config, archived, metadata)
    rows = in_order(placed.rows, ORDER, work / "ordered")
    plans = plan_shards(rows, config.shard_images, made_from, work)
    placed.rows.remove()
    clear_unfinished(folder, plans)
    worker = {
        "load": load_here,
        "settings": worker_settings(config, resources, work, permits(config, resources)),
        "metadata": metadata,
    }
    embed_and_tell(plans, folder, resources, worker, run)
    if not plans:
        IMAGE_EMBEDDINGS.write(folder, IMAGE_EMBEDDINGS.empty(load_here().dim), metadata=metadata)
    bits = config.near_duplicate_bits
    num_shared = share_over_shards(folder, bits, placed.posted, work / "sharing")
    return count(folder, plans, media.count_rows(), num_shared, placed.damaged)


def embed_and_tell(
    plans: Mapping[str, Plan],
    folder: Path,
    resources: EmbedResources,
    worker: Mapping[str, Any],
    run: Run,
) -> None:
    """`embed_shards`; tells `run` of its progress, and of hosts that are waited for meanwhile."""
    done = sum(manifest.num_images for manifest in finished_shards(folder, plans))
    total = sum(plan.num_images for plan in plans.values())

    def show(silent: str = "") -> None:
        run.progress(done, total, f"images ({silent})" if silent else "images")

    show()
    with outages_told(Path(worker["settings"].sources.hosts.notes), show, run.note):
        for num_made in embed_shards(plans, folder, resources, worker):
            done += num_made
            show()


def threads_beside_gpus(nodes: Sequence[Mapping[str, Any]], gpus_per_actor: float) -> int:
    """Processors of an actor's share of a machine, of the machine that has the fewest for a GPU.

    Args:
        nodes: As `ray.nodes` tells them. Where none has a GPU yet, one processor is sure to be had.
        gpus_per_actor: Of an actor.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    shares = [r.get("CPU", 0) / r["GPU"] for r in resources if r.get("GPU")]
    return max(1, int(min(shares, default=0) * gpus_per_actor))


def permits(config: EmbedConfig, resources: EmbedResources) -> Permits | None:
    """Permits for hosts that may be asked less at once than there are actors; None if none is."""
    known = hosts(resources)
    limited = any(limits.of_all for limits in (known.others, *known.named.values()))
    if not (config.fetch and limited):
        return None
    return remote_permits(lease_s=config.timeout_s + IDLE_S)


def worker_settings(
    config: EmbedConfig,
    resources: EmbedResources,
    scratch: Path | None = None,
    permits: Permits | None = None,
) -> WorkerSettings:
    """What each worker is told; the bounds on each host are divided over the actors."""
    known = hosts(resources)
    notes = str(scratch / "silent") if scratch else ""
    return WorkerSettings(
        sources=Sources(
            fetch=config.fetch,
            limits=FetchLimits(
                max_bytes=config.max_bytes,
                timeout_s=config.timeout_s,
                connect_s=config.connect_s,
                read_s=config.read_s,
                allowed_private=frozenset(resources.allow_private_hosts),
            ),
            hosts=replace(known, permits=permits, notes=notes),
            keep=resources.keep_archive,
            scratch=str(scratch or ""),
            revalidate=config.revalidate,
        ),
        max_pixels=config.max_pixels,
        batch_images=resources.batch_images,
        threads=resources.threads_per_actor,
        encode_once=config.near_duplicate_bits >= 0,
    )


def hosts(resources: EmbedResources) -> Hosts:
    """What one actor may ask of hosts, so that all together keep the limits."""
    named = parse_host_limits((*MAIN_HOSTS, *resources.host_limits))
    others = HostLimits(at_once=resources.per_host, per_s=resources.per_host_per_s)
    return Hosts(
        named={name: limits.shared_by(resources.actors) for name, limits in named.items()},
        others=others.shared_by(resources.actors),
        patience=resources.host_patience,
        cool_down_s=resources.host_cool_down_s,
        outage_s=resources.host_outage_s,
    )


def file_metadata(config: EmbedConfig, resources: EmbedResources) -> dict[str, str]:
    """What the files say they were made by: model, weights, precision, limits."""
    identity = clip_identity(config.clip.model, config.clip.pretrained)
    limits = {name: str(getattr(config, name)) for name in (*LIMITS, "near_duplicate_bits")}
    made_by = {"clip_precision": resources.precision, "pixels": str(VERSION)}
    return {**identity.metadata(), **made_by, **limits}


def published_rows(
    run: Run, metadata: Mapping[str, str], config: EmbedConfig
) -> Iterator[pl.DataFrame]:
    """Where rows that can be kept lie in the table published before: `KEPT_SCHEMA`, by file."""
    for file in () if config.revalidate else IMAGE_EMBEDDINGS.files(run):
        written = pq.read_schema(file).metadata or {}
        differing = {k for k, v in metadata.items() if written.get(k.encode()) != v.encode()}
        if pq.read_schema(file).names != IMAGE_EMBEDDINGS.schema.names:
            continue  # Of an earlier version.
        # The name is how the weights were asked for; the weights themselves are hashed.
        if differing - {"clip_model", "clip_pretrained", *LIMITS}:
            continue
        frame = pl.read_parquet(file, columns=["image_id", "status"]).with_row_index("kept_row")
        kept = settled(frame, not differing & set(LIMITS), config.retry_failed)
        columns = pl.col("image_id"), pl.lit(str(file)).alias("kept_file"), pl.col("kept_row")
        yield kept.select(*columns).cast(KEPT_SCHEMA)


def kept_before(resources: EmbedResources) -> list[Path]:
    """Shards of answers that earlier runs kept, without what a killed one left."""
    if not resources.keep_archive:
        return []
    folder = Path(resources.keep_archive)
    for unfinished in folder.glob("kept-*.tmp"):
        unfinished.unlink()
    return kept_files(folder)


def scratch(folder: Path) -> Path:
    """The folder of unfinished work beside that of finished shards, empty."""
    path = folder.parent / "plans"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def made_with(
    config: EmbedConfig, archived: list[Path], metadata: Mapping[str, str]
) -> dict[str, str]:
    """All that decides what a shard holds beside its rows."""
    sizes = [(str(file), file.stat().st_size) for file in archived]
    digest = hashlib.sha256(json.dumps(sizes).encode()).hexdigest()
    return {**metadata, "fetch": str(config.fetch), "archive": digest}


def embed_shards(
    plans: Mapping[str, Plan],
    folder: Path,
    resources: EmbedResources,
    worker: Mapping[str, Any],
) -> Iterator[int]:
    """Make the planned shards that `folder` lacks; yield the number of images as each is done.

    Args:
        plans: By part name.
        folder: Where finished shards lie and go.
        resources: Actors, their processors and GPUs.
        worker: Arguments of `EmbedShards`.
    """
    finished = {manifest.part for manifest in finished_shards(folder, plans)}
    missing = {part: plan for part, plan in plans.items() if part not in finished}
    if not missing:
        return
    jobs = []
    for part, plan in missing.items():
        told = {"plan": str(plan.path), "folder": str(folder), "made_from": plan.made_from}
        jobs.append(pa.Table.from_pylist([{"part": part, **told}]))
    # One thread of an actor fetches the next shard while another embeds one.
    at_once = 2 if worker["settings"].sources.fetch else 1
    # The step reports progress itself.
    ray.data.DataContext.get_current().enable_progress_bars = False
    done = ray.data.from_arrow(jobs).map_batches(
        EmbedShards,
        fn_constructor_kwargs=dict(worker),
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            size=min(resources.actors, len(jobs)),
            max_tasks_in_flight_per_actor=2,
            max_concurrent_calls_per_actor=at_once,
            enable_true_multi_threading=at_once > 1,
        ),
        num_cpus=resources.threads_per_actor,
        num_gpus=resources.gpus_per_actor or None,
    )
    for batch in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield sum(batch["num_images"].to_pylist())


def count(
    folder: Path,
    plans: Mapping[str, Plan],
    num_media: int,
    num_shared: int,
    damaged: Mapping[str, str],
) -> Counts:
    """Rows of MEDIA in, distinct images out; images by status, how many were kept or share."""
    manifests = finished_shards(folder, plans)
    num_images = sum(manifest.num_images for manifest in manifests)
    by_status = total_by_status(manifests)
    metrics = {f"num_{status}": float(number) for status, number in by_status.items()}
    metrics["num_kept"] = float(sum(plan.num_kept for plan in plans.values()))
    metrics["num_shared"] = float(num_shared)
    metrics["num_damaged_shards"] = float(len(damaged))
    metrics["share_ok"] = by_status.get(str(Outcome.OK), 0) / max(1, num_images)
    return Counts(
        rows_in=num_media,
        rows_out=num_images,
        dropped={"same_image": num_media - sum(plan.num_images for plan in plans.values())},
        metrics=metrics,
        notes=dict(damaged),
    ).assert_balanced()
