"""One shard of images -> rows of IMAGE_EMBEDDINGS: read or fetch, decode, encode. Knows no Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from embed.answers import Fetched
from embed.bodies import Sources, bodies
from embed.clip import Clip, Preprocess
from embed.decode import Decoded, decode
from embed.outcomes import Outcome
from embed.shards import ShardManifest
from embed.tables import IMAGE_EMBEDDINGS

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker is told beside its model.

    Args:
        sources: Where images are taken from.
        max_pixels: Larger pictures are refused before they are decoded.
        batch_images: Images encoded at once.
        threads: Pictures decoded at once, and Torch threads on the CPU.
    """

    sources: Sources
    max_pixels: int
    batch_images: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One image ready to encode, or why it is not.

    Args:
        outcome: `OK` with all that follows, else the error class with none of it.
        decoded: Size and hash.
        pixels: What the model takes, float32 [3, image_px, image_px].
    """

    outcome: Outcome
    decoded: Decoded | None = None
    pixels: Tensor | None = None


class EmbedShards:
    """Loads the model once, then turns each planned shard into a file; what a Ray actor runs.

    A batch has the columns part, plan (file of the planned rows), folder (where the shard goes)
    and made_from; the answer has part, num_images.
    """

    def __init__(
        self, load: Callable[[], Clip], settings: WorkerSettings, metadata: Mapping[str, str]
    ) -> None:
        torch.set_num_threads(settings.threads)
        self._clip = load()
        self._settings = settings
        self._metadata = metadata

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = []
        for job in batch.to_pylist():
            table, num_kept = embed_rows(pl.read_parquet(job["plan"]), self._clip, self._settings)
            folder = Path(job["folder"])
            IMAGE_EMBEDDINGS.write(folder, table, job["part"], self._metadata)
            manifest = ShardManifest(
                part=job["part"],
                made_from=job["made_from"],
                num_images=table.num_rows,
                num_by_status=dict(Counter(table["status"].to_pylist())),
                num_kept=num_kept,
            )
            manifest.write(folder)
            done.append({"part": job["part"], "num_images": table.num_rows})
        return pa.Table.from_pylist(done)


def embed_rows(rows: pl.DataFrame, clip: Clip, settings: WorkerSettings) -> tuple[pa.Table, int]:
    """Rows of IMAGE_EMBEDDINGS for planned `rows`, in their order, and how many were kept.

    Args:
        rows: Columns image_id, and those of `bodies`; kept_file, kept_row (null: not embedded
            before).
    """
    kept = rows.filter(pl.col("kept_file").is_not_null())
    new = rows.filter(pl.col("kept_file").is_null())
    tables = [kept_rows(kept)] if kept.height else []
    with ThreadPoolExecutor(settings.threads) as pool:
        for part, prepared in ahead(_prepared(new, clip, settings, pool)):
            tables.append(encode(part["image_id"].to_list(), prepared, clip))
    if not tables:
        return IMAGE_EMBEDDINGS.empty(clip.dim), 0
    table = pa.concat_tables(IMAGE_EMBEDDINGS.check(part) for part in tables)
    position_of = {image_id: i for i, image_id in enumerate(table["image_id"].to_pylist())}
    return table.take([position_of[image_id] for image_id in rows["image_id"]]), kept.height


def kept_rows(rows: pl.DataFrame) -> pa.Table:
    """Rows of a table made before, at (kept_file, kept_row)."""
    return pa.concat_tables(
        pq.read_table(str(file)).take(group["kept_row"].to_list()).replace_schema_metadata()
        for (file,), group in rows.group_by("kept_file", maintain_order=True)
    )


def encode(image_ids: list[str], prepared: list[Prepared], clip: Clip) -> pa.Table:
    """Rows of IMAGE_EMBEDDINGS; images without a picture have a status and zeros."""
    usable = [item.pixels for item in prepared if item.pixels is not None]
    x_ND: NDArray[np.float16] = np.zeros((len(prepared), clip.dim), dtype=np.float16)
    has_N = np.array([item.pixels is not None for item in prepared], dtype=np.bool_)
    if usable:
        x_ND[has_N] = clip.encode_pixels(torch.stack(usable)).astype(np.float16)
    decoded = [item.decoded for item in prepared]
    columns = {
        "image_id": pa.array(image_ids, pa.string()),
        "status": pa.array([str(item.outcome) for item in prepared], pa.string()),
        "phash": pa.array([d.phash if d else None for d in decoded], pa.uint64()),
        "width": pa.array([d.width if d else None for d in decoded], pa.int32()),
        "height": pa.array([d.height if d else None for d in decoded], pa.int32()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), clip.dim),
    }
    return pa.table(columns)


def prepare(fetched: Fetched, preprocess: Preprocess, image_px: int, max_pixels: int) -> Prepared:
    """The preprocessed picture of an answer, or its error class."""
    if fetched.outcome is not Outcome.OK:
        return Prepared(outcome=fetched.outcome)
    decoded = decode(fetched.content, max_pixels, image_px)
    if isinstance(decoded, Outcome):
        return Prepared(outcome=decoded)
    return Prepared(outcome=Outcome.OK, decoded=decoded, pixels=preprocess(decoded.picture))


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
            # In its own thread: the generator may hold an event loop.
            thread.submit(batches.close).result()


def _prepared(
    rows: pl.DataFrame, clip: Clip, settings: WorkerSettings, pool: ThreadPoolExecutor
) -> Generator[tuple[pl.DataFrame, list[Prepared]]]:
    def ready(fetched: Fetched) -> Prepared:
        return prepare(fetched, clip.preprocess, clip.image_px, settings.max_pixels)

    with bodies(rows, settings.sources) as answer:
        for part in rows.iter_slices(settings.batch_images):
            answers = map(answer, part.iter_rows(named=True))
            yield part, list(pool.map(ready, answers))
