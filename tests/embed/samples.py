"""Small media tables and image archives, made of the grammar's own pictures."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from embed.buckets import in_order
from embed.places import place_images
from embed.shards import ORDER
from embed.tables import IMAGE_ARCHIVE, IMAGE_EMBEDDINGS
from embed.tiny_clip.pictures import FACETS, Picture, draw
from pipelines.contract import Run
from pipelines.tables import MEDIA, SUBMISSIONS


def picture_of(index: int) -> Picture:
    """The `index`-th of a fixed walk through the grammar."""
    chosen = {facet: values[index % len(values)] for facet, values in FACETS.items()}
    return Picture(**chosen)


def jpeg(index: int, size: int = 80) -> bytes:
    """The picture `picture_of(index)` as JPEG."""
    buffer = io.BytesIO()
    draw(picture_of(index), np.random.default_rng(index), size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def url_of(index: int) -> str:
    """Canonical url of image `index`."""
    return f"https://i.example/{index}.jpg"


def id_of(index: int) -> str:
    """Image id of image `index`."""
    return f"{index:032x}"


def write_archive(
    folder: Path, answers: Mapping[str, tuple[int, bytes]], rows_a_group: int = 8, shards: int = 2
) -> None:
    """Write url -> (status, content) as an image archive of several shards."""
    folder.mkdir(parents=True, exist_ok=True)
    urls = list(answers)
    for shard in range(shards):
        part = urls[shard::shards]
        columns = {
            "url": pa.array(part, pa.string()),
            "http_status": pa.array([answers[url][0] for url in part], pa.int16()),
            "content": pa.array([answers[url][1] for url in part], pa.binary()),
        }
        table = IMAGE_ARCHIVE.check(pa.table(columns))
        pq.write_table(table, folder / f"shard-{shard}.parquet", row_group_size=rows_a_group)


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write a tar of members by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def as_img2dataset(images: range) -> dict[str, bytes]:
    """Members in the order in which img2dataset writes them."""
    members = {}
    for image in images:
        described = {"url": url_of(image), "key": f"{image:09}", "status": "success"}
        members[f"{image:09}.jpg"] = jpeg(image)
        members[f"{image:09}.txt"] = b"a caption"
        members[f"{image:09}.json"] = json.dumps(described).encode()
    return members


def write_media(
    run: Run,
    posts: Sequence[tuple[str, str, int]],
    month: str = "2019-01",
    url: Callable[[int], str] = url_of,
) -> None:
    """Publish MEDIA: one row for each (user, subreddit, image index), a second apart."""
    count = len(posts)
    columns = {
        "submission_id": pa.array(range(1, count + 1), pa.uint64()),
        "position": pa.array([0] * count, pa.int16()),
        "image_id": pa.array([id_of(image) for _, _, image in posts], pa.string()),
        "url": pa.array([url(image) for _, _, image in posts], pa.string()),
        "source": pa.array(["direct"] * count, pa.string()),
        "user_id": pa.array([user for user, _, _ in posts], pa.string()),
        "subreddit": pa.array([subreddit for _, subreddit, _ in posts], pa.string()),
        "created_utc": pa.array(range(1_000, 1_000 + count), pa.int64()),
    }
    folder = run.root / "tables" / MEDIA.name / f"month={month}"
    folder.mkdir(parents=True, exist_ok=True)
    MEDIA.write(folder, pa.table(columns))


def write_submissions(
    run: Run, titles: Sequence[tuple[int, str, str]], month: str = "2019-01"
) -> None:
    """Publish SUBMISSIONS: one row for each (id, subreddit, title)."""
    count = len(titles)
    columns = {
        "submission_id": pa.array([number for number, _, _ in titles], pa.uint64()),
        "user_id": pa.array(["someone"] * count, pa.string()),
        "subreddit": pa.array([subreddit for _, subreddit, _ in titles], pa.string()),
        "created_utc": pa.array([1_000] * count, pa.int64()),
        "retrieved_utc": pa.nulls(count, pa.int64()),
        "edited_utc": pa.nulls(count, pa.int64()),
        "title": pa.array([title for _, _, title in titles], pa.string()),
        "selftext": pa.array([""] * count, pa.string()),
        "url": pa.nulls(count, pa.string()),
        "score": pa.nulls(count, pa.int32()),
        "num_comments": pa.nulls(count, pa.int32()),
        "over_18": pa.array([False] * count, pa.bool_()),
        "crosspost_parent": pa.nulls(count, pa.uint64()),
    }
    folder = run.root / "tables" / SUBMISSIONS.name / f"month={month}"
    folder.mkdir(parents=True, exist_ok=True)
    SUBMISSIONS.write(folder, pa.table(columns))


def planned_rows(
    media: pl.DataFrame, archived: Sequence[Path], folder: Path, published: Sequence[Path] = ()
) -> pl.DataFrame:
    """The rows of all shards that would be planned, in their order, from the columns image_id, url,
    created_utc of MEDIA; `folder` takes what lies on disk meanwhile."""
    media.write_parquet(folder / "media.parquet")
    table = ds.dataset(folder / "media.parquet")
    placed = place_images(table, (), archived, published, folder / "places")
    return pl.concat(in_order(placed.rows, ORDER, folder / "ordered"))


def write_embeddings(
    run: Run, vectors: Mapping[int, Sequence[float] | str], metadata: Mapping[str, str]
) -> None:
    """Publish IMAGE_EMBEDDINGS in two files: image index -> vector, or the status that it lacks."""
    dim = max(len(v) for v in vectors.values() if not isinstance(v, str))
    folder = IMAGE_EMBEDDINGS.path(run)
    folder.mkdir(parents=True, exist_ok=True)
    statuses = {image: v if isinstance(v, str) else "ok" for image, v in vectors.items()}
    images = list(vectors)
    for part, held in enumerate((images[0::2], images[1::2])):
        x_ND = np.zeros((len(held), dim), np.float16)
        for row, image in enumerate(held):
            if statuses[image] == "ok":
                x_ND[row] = vectors[image]
        columns = {
            "image_id": pa.array([id_of(image) for image in held], pa.string()),
            "status": pa.array([statuses[image] for image in held], pa.string()),
            "phash": pa.nulls(len(held), pa.uint64()),
            "colours": pa.nulls(len(held), pa.uint64()),
            "width": pa.nulls(len(held), pa.int32()),
            "height": pa.nulls(len(held), pa.int32()),
            "shared_with": pa.nulls(len(held), pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), dim),
        }
        IMAGE_EMBEDDINGS.write(folder, pa.table(columns), f"part-{part}", metadata)


def embedding_rows(
    images: list[int], phash: dict[int, int], shared: dict[int, int] | None = None
) -> pa.Table:
    """Rows whose vectors hold the number of their image."""
    with_ = shared or {}
    x_ND = np.repeat(np.array(images, np.float16)[:, None], 3, axis=1)
    columns = {
        "image_id": pa.array([id_of(image) for image in images], pa.string()),
        "status": pa.array(["ok" if image in phash else "timeout" for image in images]),
        "phash": pa.array([phash.get(image) for image in images], pa.uint64()),
        "colours": pa.array([0 if image in phash else None for image in images], pa.uint64()),
        "width": pa.array([9 if image in phash else None for image in images], pa.int32()),
        "height": pa.array([9 if image in phash else None for image in images], pa.int32()),
        "shared_with": pa.array(
            [id_of(with_[image]) if image in with_ else None for image in images], pa.string()
        ),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x_ND.ravel()), 3),
    }
    return IMAGE_EMBEDDINGS.check(pa.table(columns))


def publish(run: Run) -> None:
    """Move the tables that a step staged into place, over those of the run before."""
    assert run.staging is not None
    for staged in (folder for folder in run.staging.iterdir() if folder.name != "plans"):
        target = run.root / "tables" / staged.name
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)
