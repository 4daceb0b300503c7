"""One shard of images -> rows of IMAGE_EMBEDDINGS: read or fetch, decode, encode. Knows no Ray."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from embed.answers import Fetched
from embed.bodies import Answer, Sources, bodies
from embed.clip import Clip, Preprocess
from embed.decode import decode
from embed.once import fill_shared
from embed.outcomes import Outcome
from embed.shards import ShardManifest
from embed.tables import IMAGE_EMBEDDINGS

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker is told beside its model.

    Args:
        sources: Where images are taken from.
        max_pixels: Larger pictures are refused before they are decoded.
        batch_images: Images encoded at once.
        threads: Pictures decoded at once, and Torch threads on the CPU.
        encode_once: Pictures that look the same to the model are encoded once a shard.
    """

    sources: Sources
    max_pixels: int
    batch_images: int
    threads: int
    encode_once: bool = True


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One image ready to encode, or why it is not.

    Args:
        outcome: `OK` with all that follows, else the error class with none of it.
        width, height: Pixels of the upright original.
        phash, colours: What tells it from others (`embed.phash`).
        shared_with: Earlier image of the shard with the same pixels; it has none itself then.
        pixels: What the model takes, uint8 [height, width, 3].
    """

    outcome: Outcome
    width: int | None = None
    height: int | None = None
    phash: int | None = None
    colours: int | None = None
    shared_with: str | None = None
    pixels: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images prepared together, to be encoded at once.

    Args:
        image_ids: Of all.
        prepared: Of all; `pixels` of none.
        pixels: Of those that are to be encoded, stacked; None if none is.
    """

    image_ids: list[str]
    prepared: list[Prepared]
    pixels: Tensor | None

    def has_own_vector(self) -> NDArray[np.bool_]:
        """Which images have a vector of their own."""
        own = (item.outcome is Outcome.OK and not item.shared_with for item in self.prepared)
        return np.fromiter(own, dtype=np.bool_)


@dataclass(frozen=True)
class Turns:
    """Locks that let one shard's bytes be fetched while another's are decoded and encoded."""

    fetch: Lock = field(default_factory=Lock)
    embed: Lock = field(default_factory=Lock)


class EmbedShards:
    """Loads the model once, then turns each planned shard into a file; what a Ray actor runs.

    Calls may come from two threads at once: one fetches ahead, so that at most two shards' bodies
    lie on disk. A batch has the columns part, plan (file of the planned rows), folder (where the
    shard goes) and made_from; the answer has part, num_images.
    """

    def __init__(
        self, load: Callable[[], Clip], settings: WorkerSettings, metadata: Mapping[str, str]
    ) -> None:
        torch.set_num_threads(settings.threads)
        self._clip = load()
        self._settings = settings
        self._metadata = metadata
        self._turns = Turns()

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = []
        for job in batch.to_pylist():
            rows = pl.read_parquet(job["plan"])
            table = embed_rows(rows, self._clip, self._settings, self._turns)
            folder = Path(job["folder"])
            IMAGE_EMBEDDINGS.write(folder, table, job["part"], self._metadata)
            manifest = ShardManifest(
                part=job["part"],
                made_from=job["made_from"],
                num_images=table.num_rows,
                num_by_status=dict(Counter(table["status"].to_pylist())),
            )
            manifest.write(folder)
            done.append({"part": job["part"], "num_images": table.num_rows})
        return pa.Table.from_pylist(done)


def embed_rows(
    rows: pl.DataFrame, clip: Clip, settings: WorkerSettings, turns: Turns | None = None
) -> pa.Table:
    """Rows of IMAGE_EMBEDDINGS for planned `rows`, in their order.

    Args:
        rows: Columns image_id, and those of `bodies`; kept_file, kept_row (null: not embedded
            before).
        clip: The model.
        settings: Sources, limits, threads.
        turns: Shared by all who do this at the same time; nobody else if None.
    """
    turns = turns or Turns()
    kept = rows.filter(pl.col("kept_file").is_not_null())
    new = rows.filter(pl.col("kept_file").is_null())
    with ExitStack() as stack:
        with turns.fetch:
            answer = stack.enter_context(bodies(new, settings.sources))
        stack.enter_context(turns.embed)
        tables = [kept_rows(kept)] if kept.height else []
        pool = stack.enter_context(ThreadPoolExecutor(settings.threads))
        tables += encoded(ahead(_batches(new, answer, clip, settings, pool)), clip)
    if not tables:
        return IMAGE_EMBEDDINGS.empty(clip.dim)
    table = pa.concat_tables(IMAGE_EMBEDDINGS.check(part) for part in tables)
    position_of = {image_id: i for i, image_id in enumerate(table["image_id"].to_pylist())}
    ordered = table.take([position_of[image_id] for image_id in rows["image_id"]])
    # In one chunk: the bytes of a file are by its rows alone, not by how they came together.
    return fill_shared(ordered).combine_chunks()


def kept_rows(rows: pl.DataFrame) -> pa.Table:
    """Rows of a table made before, at (kept_file, kept_row)."""
    return pa.concat_tables(
        pq.read_table(str(file)).take(group["kept_row"].to_list()).replace_schema_metadata()
        for (file,), group in rows.group_by("kept_file", maintain_order=True)
    )


def encoded(batches: Iterable[Batch], clip: Clip) -> Iterator[pa.Table]:
    """Rows of IMAGE_EMBEDDINGS of each batch; a GPU is given the next before one is waited for."""
    waiting: tuple[Batch, Tensor | None] | None = None
    for batch in batches:
        launched = None if batch.pixels is None else clip.launch(batch.pixels)
        if waiting:
            yield embedded(*waiting, clip.dim)
        waiting = (replace(batch, pixels=None), launched)
    if waiting:
        yield embedded(*waiting, clip.dim)


def embedded(batch: Batch, usable_ND: Tensor | None, dim: int) -> pa.Table:
    """Rows of IMAGE_EMBEDDINGS; images without a picture have a status and zeros, and for the
    time being those that share a vector have zeros, too.

    Args:
        batch: The images.
        usable_ND: Unit vectors of those that were encoded.
        dim: Length of a vector.
    """
    x_ND: NDArray[np.float16] = np.zeros((len(batch.prepared), dim), dtype=np.float16)
    if usable_ND is not None:
        x_ND[batch.has_own_vector()] = usable_ND.cpu().numpy()
    columns = {
        "image_id": pa.array(batch.image_ids, pa.string()),
        "status": pa.array([str(item.outcome) for item in batch.prepared], pa.string()),
        "phash": pa.array([item.phash for item in batch.prepared], pa.uint64()),
        "colours": pa.array([item.colours for item in batch.prepared], pa.uint64()),
        "width": pa.array([item.width for item in batch.prepared], pa.int32()),
        "height": pa.array([item.height for item in batch.prepared], pa.int32()),
        "shared_with": pa.array([item.shared_with for item in batch.prepared], pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), dim),
    }
    return pa.table(columns)


def prepare(fetched: Fetched, preprocess: Preprocess, image_px: int, max_pixels: int) -> Prepared:
    """The preprocessed picture of an answer, or its error class."""
    if fetched.outcome is not Outcome.OK:
        return Prepared(outcome=fetched.outcome)
    found = decode(fetched.content, max_pixels, image_px)
    if isinstance(found, Outcome):
        return Prepared(outcome=found)
    return Prepared(
        outcome=Outcome.OK,
        width=found.width,
        height=found.height,
        phash=found.phash,
        colours=found.colours,
        pixels=preprocess(found.picture),
    )


def shared(item: Prepared, image_id: str, seen: dict[bytes, str]) -> Prepared:
    """The image, without pixels if one with the same was seen before.

    Which of near-duplicates leads is decided when all shards are made (`embed.once`): here it would
    depend on which images a shard happens to hold.
    """
    if item.pixels is None:
        return item
    digest = blake2b(item.pixels.numpy().tobytes(), digest_size=16).digest()
    leader = seen.setdefault(digest, image_id)
    return item if leader == image_id else replace(item, shared_with=leader, pixels=None)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S], num_ahead: int
) -> Iterator[T]:
    """`work` of each item, in order; no more than `num_ahead` items are taken ahead."""
    under_way: deque[Future[T]] = deque()
    for item in items:
        if len(under_way) >= num_ahead:
            yield under_way.popleft().result()
        under_way.append(pool.submit(work, item))
    while under_way:
        yield under_way.popleft().result()


def ahead(batches: Generator[T]) -> Generator[T]:
    """The same batches, each made in another thread while the one before is being used."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        try:
            pending = thread.submit(next, batches, end)
            while (batch := pending.result()) is not end:
                pending = thread.submit(next, batches, end)
                yield batch  # type: ignore[misc]
        finally:
            thread.submit(batches.close).result()


def _batches(
    rows: pl.DataFrame,
    answer: Answer,
    clip: Clip,
    settings: WorkerSettings,
    pool: ThreadPoolExecutor,
) -> Generator[Batch]:
    def ready(fetched: Fetched) -> Prepared:
        return prepare(fetched, clip.preprocess, clip.image_px, settings.max_pixels)

    seen: dict[bytes, str] = {}
    for part in rows.iter_slices(settings.batch_images):
        answers = map(answer, part.iter_rows(named=True))
        items = in_order(pool, ready, answers, 2 * settings.threads)
        prepared = [
            shared(item, image_id, seen) if settings.encode_once else item
            for item, image_id in zip(items, part["image_id"], strict=True)
        ]
        pixels = [item.pixels for item in prepared if item.pixels is not None]
        yield Batch(
            image_ids=part["image_id"].to_list(),
            prepared=[replace(item, pixels=None) for item in prepared],
            pixels=clip.stack(pixels) if pixels else None,
        )
