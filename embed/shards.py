"""Shards of images: what each is to hold, and the manifest that says it is done.

The unit of resume. A shard is planned from its rows alone, is written whole or not at all, and its
manifest names a hash of all it was made from; so a rerun after a kill keeps exactly the shards that
it would have made again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from embed.outcomes import LIMITED, TRANSIENT

MANIFESTS = "_shards"
ROW_COLUMNS = ("image_id", "url", "file", "row_group", "row")
# As their archive lies; what it lacks comes last.
ORDER = ("file", "row_group", "row", "image_id")


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
    """What one shard is to hold.

    Args:
        path: Parquet file of its rows.
        num_images: Rows.
        num_kept: Rows that were embedded before.
        made_from: Hash of the rows and of all else that the shard is made from.
    """

    path: Path
    num_images: int
    num_kept: int
    made_from: str


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
    rows: Iterable[pl.DataFrame], num_images: int, made_with: Mapping[str, str], folder: Path
) -> dict[str, Plan]:
    """Shards by part name: consecutive rows, `num_images` each, the last maybe fewer.

    Args:
        rows: Columns `ROW_COLUMNS`, kept_file and whatever else a worker wants; in the order
            `ORDER`, so that each shard reads few row groups.
        num_images: Rows a shard.
        made_with: All else that decides what a shard holds.
        folder: Of the files of rows.
    """
    told = json.dumps(dict(made_with), sort_keys=True).encode()
    plans = {}
    for index, shard in enumerate(_slices(rows, num_images)):
        digest = hashlib.sha256(told)
        for column in ROW_COLUMNS:
            digest.update(json.dumps(shard[column].to_list()).encode())
        part = f"part-{index:06d}"
        shard.write_parquet(folder / f"{part}.parquet")
        plans[part] = Plan(
            path=folder / f"{part}.parquet",
            num_images=shard.height,
            num_kept=shard["kept_file"].count(),
            made_from=digest.hexdigest(),
        )
    return plans


def _slices(frames: Iterable[pl.DataFrame], num_rows: int) -> Iterator[pl.DataFrame]:
    """The same rows, `num_rows` at a time."""
    left: list[pl.DataFrame] = []
    for frame in frames:
        rows = pl.concat([*left, frame])
        whole = rows.height - rows.height % num_rows
        yield from rows.head(whole).iter_slices(num_rows)
        left = [rows.tail(rows.height - whole)]
    yield from (rows for rows in left if rows.height)


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
