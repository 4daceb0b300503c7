"""GRAPH_STORE and CHECKPOINT -> USER_EMBEDDINGS and SALIENT_SUBREDDITS of every user. Ray Data.

Layer 1 is computed once on the driver: there are few subreddits. Users are then independent of each
other, and go through layer 2 in shards; a shard is the unit of resume.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
import torch

from embed.tables import VISUAL_TARGETS
from graph.arrays import ArrayWriter
from graph.checkpoint import TrainedEncoder, load_encoder, load_states, save_states
from graph.config import GraphResources, InferConfig
from graph.contents import Centres, Contents, ImageMeans
from graph.csr import map_array
from graph.encode import encode_subreddits
from graph.features import load_subreddit_features, vector_rows, with_user_index
from graph.store import GraphStore
from graph.tables import CHECKPOINT, GRAPH_STORE, SALIENT_SUBREDDITS, USER_EMBEDDINGS
from graph.users import encode_shard
from pipelines.contract import Counts, Run

SHARD_USERS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where an actor reads and writes; paths, for a run stays on the driver."""

    graph: str
    checkpoint: str
    work: str
    embeddings: str
    salient: str


class EncodeShards:
    """Ray Data actor: maps graph and images once, then encodes shards."""

    def __init__(self, folders: Folders, config: InferConfig, threads: int, device: str) -> None:
        torch.set_num_threads(threads)
        self.folders, self.config = folders, config
        self.graph = GraphStore.open(Path(folders.graph))
        self.trained = load_encoder(Path(folders.checkpoint))
        work = Path(folders.work)
        self.trained.model.to(device)
        self.states = load_states(work / "states.safetensors").to(torch.device(device))
        self.contents = load_contents(work, self.graph, self.trained.centres)
        self.unseen = map_array(work / "unseen.npy")
        self.subreddits = pa.array(self.graph.subreddits(), pa.string())
        self.names = pq.read_table(self.graph.folder / "user_index.parquet")["user_id"]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Encode and write each shard of the batch; return what it wrote."""
        return pa.Table.from_pylist([self.encode(start) for start in batch["start"].to_pylist()])

    def encode(self, start: int) -> dict[str, int]:
        """Both tables of the shard that begins at user `start`, whole or not at all."""
        count = min(SHARD_USERS, self.graph.num_users - start)
        users = torch.arange(start, start + count)
        shard = encode_shard(
            self.trained,
            self.states,
            self.graph,
            self.contents,
            users=users,
            names=self.names.slice(start, count).combine_chunks(),
            subreddits=self.subreddits,
            unseen=self.unseen[users],
            max_salient=self.config.max_salient,
            seed=self.config.seed,
        )
        part = part_name(start)
        # The embeddings last: their file says that the shard is done.
        SALIENT_SUBREDDITS.write(Path(self.folders.salient), shard.salient, part)
        USER_EMBEDDINGS.write(Path(self.folders.embeddings), shard.embeddings, part)
        return {"start": start, "users": count, "salient": shard.salient.num_rows}


def infer_users(config: InferConfig, resources: GraphResources, run: Run) -> Counts:
    """Step: GRAPH_STORE, CHECKPOINT, SUBREDDIT_FEATURES, VISUAL_TARGETS -> USER_EMBEDDINGS,
    SALIENT_SUBREDDITS."""
    graph = GraphStore.open(GRAPH_STORE.path(run))
    trained = load_encoder(CHECKPOINT.path(run))
    folders = Folders(
        graph=str(graph.folder.resolve()),
        checkpoint=str(CHECKPOINT.path(run).resolve()),
        work=str((run.staged(USER_EMBEDDINGS).parent / "infer_work").resolve()),
        embeddings=str(run.staged(USER_EMBEDDINGS).resolve()),
        salient=str(run.staged(SALIENT_SUBREDDITS).resolve()),
    )
    prepare(Path(folders.work), run, graph, trained, config.seed)
    starts = range(0, graph.num_users, SHARD_USERS)
    done = [s for s in starts if (Path(folders.embeddings) / f"{part_name(s)}.parquet").is_file()]
    todo = [{"start": start} for start in starts if start not in set(done)]
    finished = graph.num_users if not todo else len(done) * SHARD_USERS
    if todo:
        for batch in _encode(todo, folders, config, resources).iter_batches(batch_format="pyarrow"):
            finished += sum(batch["users"].to_pylist())
            run.progress(min(finished, graph.num_users), graph.num_users, "users")
    rows = {t.name: _num_rows(run.staged(t)) for t in (USER_EMBEDDINGS, SALIENT_SUBREDDITS)}
    return Counts(
        rows_in=graph.num_users,
        rows_out=rows[USER_EMBEDDINGS.name],
        written={SALIENT_SUBREDDITS.name: rows[SALIENT_SUBREDDITS.name]},
    ).assert_balanced()


def part_name(start: int) -> str:
    """File of the shard that begins at user `start`, without its extension."""
    return f"part-{start // SHARD_USERS:05d}"


def prepare(work: Path, run: Run, graph: GraphStore, trained: TrainedEncoder, seed: int) -> None:
    """Write what all shards share: layer 1, the users' images, and who is new to the encoder."""
    work.mkdir(parents=True, exist_ok=True)
    features = load_subreddit_features(run, graph)
    _write_targets(run, graph, work, features.clip_dim)
    contents = load_contents(work, graph, trained.centres)
    rows = trained.rows_of(graph.subreddits())
    states = encode_subreddits(
        trained.model, graph.by_subreddit, features, contents, rows=rows, seed=seed
    )
    save_states(work / "states.safetensors", states)
    np.save(work / "unseen.npy", ~trained.has_seen(graph.user_keys).numpy())


def load_contents(work: Path, graph: GraphStore, centres: Centres) -> Contents:
    """What nodes look like at inference: statistics of the graph, images of VISUAL_TARGETS."""
    return Contents.of(graph, ImageMeans.open(work), centres)


def _write_targets(run: Run, graph: GraphStore, work: Path, clip_dim: int) -> None:
    """VISUAL_TARGETS aligned with the users of the graph, as `ImageMeans`, file by file."""
    row_U, counts = np.full(graph.num_users, -1), [np.zeros(0, np.int64)]
    with ArrayWriter(work / "mean.npy", np.float32, clip_dim) as means:
        for file in VISUAL_TARGETS.dataset(run).files:
            table = with_user_index(pl.read_parquet(file, hive_partitioning=False), graph)
            row_U[table["user_index"].to_numpy()] = means.rows + np.arange(len(table))
            means.append(vector_rows(table["embedding"], np.float32).reshape(-1, clip_dim))
            counts.append(table["num_images"].to_numpy().astype(np.int64))
    np.save(work / "row.npy", row_U)
    np.save(work / "count.npy", np.concatenate(counts))


def _encode(
    todo: list[dict[str, int]], folders: Folders, config: InferConfig, resources: GraphResources
) -> Any:
    return ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
        EncodeShards,
        fn_constructor_kwargs={
            "folders": folders,
            "config": config,
            "threads": resources.threads_per_worker,
            "device": "cuda" if resources.gpus_per_worker else "cpu",
        },
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(resources.workers, len(todo))),
        num_cpus=resources.threads_per_worker,
        num_gpus=resources.gpus_per_worker or None,
    )


def _num_rows(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
