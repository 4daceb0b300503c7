"""Shards of images: what each is to hold, and the manifest that says it is done.

The unit of resume. A shard is planned from its rows alone, is written whole or not at all, and its
manifest names a hash of all it was made from; so a rerun after a kill keeps exactly the shards that
it would have made again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from embed.outcomes import LIMITED, TRANSIENT

MANIFESTS = "_shards"
ROW_COLUMNS = ("image_id", "url", "file", "row_group", "row")


@dataclass(frozen=True, kw_only=True)
class ShardManifest:
    """What one finished shard holds.

    Args:
        part: Name of its Parquet file, without suffix.
        made_from: Hash of its rows, the model and the limits.
        num_images: Rows.
        num_by_status: Rows by status.
    """

    part: str
    made_from: str
    num_images: int
    num_by_status: Mapping[str, int]

    def write(self, folder: Path) -> None:
        """Write to `folder/_shards/PART.json`, whole or not at all."""
        (folder / MANIFESTS).mkdir(exist_ok=True)
        target = folder / MANIFESTS / f"{self.part}.json"
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), sort_keys=True) + "\n", encoding="utf-8")
        temporary.rename(target)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one shard is to hold: its rows, and a hash of them and of all else it is made from."""

    rows: pl.DataFrame
    made_from: str


def distinct_images(media: pl.LazyFrame) -> pl.DataFrame:
    """One row an image, sorted: image_id, url (the least, should urls share an id), created_utc
    (of its first posting)."""
    first = media.group_by("image_id").agg(pl.col("url").min(), pl.col("created_utc").min())
    return first.sort("image_id").collect(engine="streaming")


def settled(
    published: pl.DataFrame, same_limits: bool, retried: Collection[str] = ()
) -> pl.DataFrame:
    """Rows (with a status) of a table made before that are not to be asked for again.

    Args:
        published: The table.
        same_limits: It was made under the limits that hold now.
        retried: The only statuses to ask again for; none: all that may have passed.
    """
    passing = set(retried) or set(TRANSIENT)
    if not same_limits:
        passing |= LIMITED
    return published.filter(~pl.col("status").is_in([str(outcome) for outcome in passing]))


def plan_shards(
    rows: pl.DataFrame, num_images: int, made_with: Mapping[str, str]
) -> dict[str, Plan]:
    """Shards by part name: consecutive rows, `num_images` each, the last maybe fewer.

    Rows are taken in the order in which their archive lies, those that it lacks last, so that each
    shard reads few row groups.

    Args:
        rows: Columns `ROW_COLUMNS` and whatever else a worker wants.
        num_images: Rows a shard.
        made_with: All else that decides what a shard holds.
    """
    ordered = rows.sort("file", "row_group", "row", "image_id", nulls_last=True)
    plans = {}
    for index, shard in enumerate(ordered.iter_slices(num_images)):
        digest = hashlib.sha256(json.dumps(dict(made_with), sort_keys=True).encode())
        for column in ROW_COLUMNS:
            digest.update(json.dumps(shard[column].to_list()).encode())
        plans[f"part-{index:06d}"] = Plan(rows=shard, made_from=digest.hexdigest())
    return plans


def finished_shards(folder: Path, plans: Mapping[str, Plan]) -> list[ShardManifest]:
    """Manifests of the planned shards that lie whole in `folder`, made from what is planned."""
    found = (_manifest(folder, part) for part in plans)
    return [m for m in found if m is not None and m.made_from == plans[m.part].made_from]


def clear_unfinished(folder: Path, plans: Mapping[str, Plan]) -> None:
    """Remove from `folder` all that is no finished planned shard."""
    finished = {manifest.part for manifest in finished_shards(folder, plans)}
    for file in (*folder.glob("*.parquet*"), *(folder / MANIFESTS).glob("*")):
        if file.name.partition(".")[0] not in finished or file.suffix == ".tmp":
            file.unlink()


def _manifest(folder: Path, part: str) -> ShardManifest | None:
    path = folder / MANIFESTS / f"{part}.json"
    if not path.is_file() or not (folder / f"{part}.parquet").is_file():
        return None
    return ShardManifest(**json.loads(path.read_text(encoding="utf-8")))


def total_by_status(manifests: Sequence[ShardManifest]) -> dict[str, int]:
    """Images by status over all shards, sorted by status."""
    total: Counter[str] = Counter()
    for manifest in manifests:
        total.update(manifest.num_by_status)
    return dict(sorted(total.items()))
