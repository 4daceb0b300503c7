"""One user erased from everything under a root, and the proof: a search of every byte.

Tables are rewritten without the user's rows, the persona store and the graph are written anew
without the user, pictures that nobody else posted go with them. What is compressed is searched
decoded, for a plain search of its bytes would find nothing there before the erasure, either.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lancedb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard

from embed.tars import DamagedShardError, drop_samples
from graph.erasure import erase_from_graph, erase_from_seen, user_key
from graph.tables import CHECKPOINT, GRAPH_STORE
from persona.config import StoreConfig
from persona.errors import ErasureError
from persona.store import PersonaStore
from persona.store_tables import PACKED, unpack
from persona.tables import PERSONA_STORE
from pipelines.contract import Run
from pipelines.tables import MEDIA

CHUNK_BYTES = 1 << 22
ERASED = "erased"
UNREADABLE = "what lies behind cannot be searched: delete or mend it"
PAGES = (".html",)  # made from tables, and made again by the next run


@dataclass(frozen=True)
class Erased:
    """What was removed (by path under the root), and what was searched afterwards."""

    removed: Mapping[str, int]
    files: int
    bytes: int


@dataclass
class Search:
    """What a search went through, and where it found something."""

    files: int = 0
    bytes: int = 0
    found: list[str] = field(default_factory=list)


def erase_user(root: Path, user_id: str, archives: Sequence[Path] = ()) -> Erased:
    """Erase a user from everything under `root` and from image archives; prove that it is gone.

    Safe to run again: a killed erasure is finished by the next. Nothing else may run in `root`.

    Args:
        root: Folder of a run.
        user_id: Pseudonym.
        archives: Folders of image shards elsewhere, Parquet or tar, whose pictures of the user go,
            too.

    Raises:
        ErasureError: The search found the user all the same, or a shard cannot be read.
    """
    removed: dict[str, int] = {}
    run = Run(root=root)
    shutil.rmtree(root / ".staging", ignore_errors=True)  # unfinished work, and what was retired
    _undo_swaps(root / "artifacts")
    own = own_images(run, user_id)
    # Before the tables beside them, which name the urls of their keys.
    for path in sorted(path for folder in archives for path in folder.rglob("*.tar")):
        try:
            samples = drop_samples(path, set(own["url"]))
        except DamagedShardError as error:
            raise ErasureError(f"{path}: {error}; {UNREADABLE}") from error
        if samples:
            removed[_told(path, root)] = samples
    files = [path for folder in (root, *archives) for path in sorted(folder.rglob("*.parquet"))]
    # MEDIA last: it says which pictures are theirs, to an erasure that goes on after a kill, too.
    for path in sorted(files, key=lambda path: _is_in(path, MEDIA.path(run))):
        graph_files = _is_in(path, GRAPH_STORE.path(run))
        try:
            rows = 0 if graph_files else drop_rows(path, {"user_id": [user_id], **own})
        except (pa.ArrowException, OSError) as error:
            raise ErasureError(f"{path}: {error}; {UNREADABLE}") from error
        if rows:
            removed[_told(path, root)] = rows
        if user_id in path.name:  # a shard is named for its first user
            path.rename(path.with_name(path.name.replace(user_id, ERASED)))
    removed |= {name: count for name, count in _artifacts(run, user_id).items() if count}
    for path in sorted(p for p in root.rglob("*") if p.suffix in PAGES and p.is_file()):
        if user_id.encode() in path.read_bytes():
            path.unlink()
            removed[_told(path, root)] = 1
    search = find_traces(root, user_id)
    if search.found:
        raise ErasureError(
            f"user {user_id} is still in {', '.join(search.found[:5])}; erase these by hand, or "
            "run again if another program wrote meanwhile"
        )
    return Erased(removed, search.files, search.bytes)


def own_images(run: Run, user_id: str) -> dict[str, list[str]]:
    """image_id and url of the pictures that this user posted and nobody else did."""
    files = MEDIA.files(run)
    if not files:
        return {"image_id": [], "url": []}
    media = pl.scan_parquet(files, hive_partitioning=False).select("user_id", "image_id", "url")
    is_theirs = pl.col("user_id") == user_id
    own = media.filter(is_theirs).collect()
    others = media.filter(
        ~is_theirs & pl.col("image_id").is_in(own["image_id"].implode())
    ).collect()
    alone = own.join(others, on="image_id", how="anti")
    return {name: alone[name].unique().sort().to_list() for name in ("image_id", "url")}


def drop_rows(path: Path, gone: Mapping[str, Sequence[str]]) -> int:
    """Rewrite a Parquet file without rows of the first column in `gone` that it has.

    Returns:
        Rows dropped; the file stays untouched where there are none.
    """
    with pq.ParquetFile(path) as source:
        schema = source.schema_arrow
        column = next((name for name in gone if name in schema.names), None)
        if column is None or not gone[column] or not _is_text(schema.field(column).type):
            return 0
        # As text, however it is held: tables of others may have it as a dictionary.
        values = pa.array(gone[column], pa.large_string())
        groups = range(source.num_row_groups)
        dropped = sum(_matches(source, group, column, values) for group in groups)
        if not dropped:
            return 0
        temporary = path.with_name(path.name + ".tmp")
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for group in groups:
                rows = source.read_row_group(group)
                is_gone = pc.is_in(_texts(rows.column(column)), values)
                writer.write_table(rows.filter(pc.invert(is_gone)))
    temporary.rename(path)
    return dropped


def _matches(source: pq.ParquetFile, group: int, column: str, values: pa.Array) -> int:
    texts = _texts(source.read_row_group(group, columns=[column]).column(column))
    found = pc.is_in(texts, values)
    return int(pc.sum(found).as_py() or 0)


def _artifacts(run: Run, user_id: str) -> dict[str, int]:
    """Rows that went out of the persona store, the graph store and the checkpoint."""
    removed: dict[str, int] = {}
    graph = GRAPH_STORE.path(run)
    for store in PERSONA_STORE.folders(run):
        rows = _erase_from_store(store, user_id)
        removed["persona_store"] = removed.get("persona_store", 0) + rows
    if graph.is_dir():
        removed["graph_store"] = erase_from_graph(graph, _beside(graph), [user_id])
        _swap(graph)
    if CHECKPOINT.path(run).is_dir():
        removed["checkpoint"] = erase_from_seen(CHECKPOINT.path(run), [user_id])
    return removed


def _erase_from_store(folder: Path, user_id: str) -> int:
    """Every user who was ever in the store is in its history."""
    store = PersonaStore.open(folder)
    rows = len(store.history(user_id)) + (store.get(user_id) is not None)
    if rows:
        made = _beside(folder)
        store.without([user_id], made, StoreConfig().index_rows)
        for other in (p for p in folder.iterdir() if p.is_dir() and p.suffix != ".lance"):
            shutil.copytree(other, made / other.name)
        _swap(folder)
    return rows


def _beside(folder: Path) -> Path:
    target = folder.with_name(f"{folder.name}.next")
    shutil.rmtree(target, ignore_errors=True)
    return target


def _swap(folder: Path) -> None:
    """Put what was made beside a folder in its place, if anything was."""
    made, old = folder.with_name(f"{folder.name}.next"), folder.with_name(f"{folder.name}.old")
    if made.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        made.rename(folder)
        shutil.rmtree(old)


def _undo_swaps(artifacts: Path) -> None:
    """Put back what a killed erasure had moved aside, and remove what it left."""
    for place in ("*", "*/*"):  # folders, and versions of folders
        for old in artifacts.glob(f"{place}.old"):
            if old.with_suffix("").exists():
                shutil.rmtree(old)
            else:
                old.rename(old.with_suffix(""))
        for made in artifacts.glob(f"{place}.next"):
            shutil.rmtree(made)


def find_traces(root: Path, user_id: str) -> Search:
    """Search every file under `root` for a user: raw bytes, and decoded where they are compressed.

    Parquet is searched in every column of text, LanceDB in every version of every table; .zst and
    .gz are unpacked; arrays of stage 3 are searched for the hash that names the user there.
    """
    needles = (user_id.encode(), user_key(user_id))
    search = Search()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        search.files += 1
        where = _told(path, root)
        size, is_found = _search_bytes(_chunks(path), needles)
        search.bytes += size
        decoded = path.suffix == ".parquet" and _in_parquet(path, user_id)
        if is_found or decoded or user_id in where:
            search.found.append(where)
    for versions in sorted(root.rglob("*.lance/_versions")):
        if _in_lance(versions.parent, user_id):
            search.found.append(_told(versions.parent, root))
    return search


def _search_bytes(chunks: Iterable[bytes], needles: Sequence[bytes]) -> tuple[int, bool]:
    """(bytes read, whether any needle is among them), also across the ends of chunks."""
    size, tail = 0, b""
    overlap = max(map(len, needles)) - 1
    is_found = False
    for chunk in chunks:
        size += len(chunk)
        window = tail + chunk
        is_found = is_found or any(needle in window for needle in needles)
        tail = window[-overlap:]
    return size, is_found


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file; those of a compressed one unpacked, after its own."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    if path.suffix not in (".zst", ".gz"):
        return
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)  # 2 GiB, as real dumps have
    with path.open("rb") as file:
        unpacked: Any
        with gzip.open(file) if path.suffix == ".gz" else unpacker.stream_reader(file) as unpacked:
            while chunk := unpacked.read(CHUNK_BYTES):
                yield chunk


def _in_parquet(path: Path, user_id: str) -> bool:
    with pq.ParquetFile(path) as source:
        texts = [f.name for f in source.schema_arrow if _holds_text(f.type)]
        return any(
            _mentions(column, user_id)
            for batch in source.iter_batches(columns=texts)
            for column in batch.columns
        )


def _in_lance(folder: Path, user_id: str) -> bool:
    """Whether any version of a LanceDB table has the user in a column of text."""
    table = lancedb.connect(str(folder.parent)).open_table(folder.stem)
    for version in table.list_versions():
        table.checkout(version["version"])
        texts = [f.name for f in table.schema if _holds_text(f.type) or f.name in PACKED]
        for batch in table.search().select(texts).to_batches(batch_size=8192):
            told = unpack(pa.Table.from_batches([batch])).combine_chunks()
            if any(_mentions(chunk, user_id) for column in told.columns for chunk in column.chunks):
                return True
    return False


def _holds_text(type_: pa.DataType) -> bool:
    inner = (type_.field(i).type for i in range(type_.num_fields))
    return _is_text(type_) or any(map(_holds_text, inner))


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(type_) for is_kind in kinds)


def _texts(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return column.cast(pa.large_string())


def _mentions(column: pa.Array, text: str) -> bool:
    if pa.types.is_map(column.type):
        return _mentions(column.keys, text) or _mentions(column.items, text)
    if pa.types.is_struct(column.type):
        return any(_mentions(inner, text) for inner in column.flatten())
    if column.type.num_fields:
        return _mentions(column.flatten(), text)
    if not _is_text(column.type):
        return False
    return bool(pc.any(pc.match_substring(_texts(column), text)).as_py())


def _is_in(path: Path, folder: Path) -> bool:
    return folder in path.parents


def _told(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if root in path.parents else path)
