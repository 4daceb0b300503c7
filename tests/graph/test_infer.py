"""Training and inference on a real Ray: tables keep their contracts, workers change nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

from embed.tables import VISUAL_TARGETS
from graph.checkpoint import STATES_FILE
from graph.config import GraphResources, InferConfig
from graph.infer import infer_users
from graph.new_user import Activity, NewUserEncoder, embed_new_user
from graph.prepare import make_splits
from graph.tables import (
    CHECKPOINT,
    LINK_METRICS,
    SALIENT_SUBREDDITS,
    TRAINING_CURVES,
    USER_EMBEDDINGS,
)
from graph.train import train_gat
from graph.variants import Job
from pipelines.contract import ContractError, Counts, Run
from pipelines.tables import INTERACTIONS
from tests.graph.conftest import SMALL, publish
from tests.graph.views import Published

pytestmark = pytest.mark.engine

CONFIG = replace(SMALL, epochs=2, ablations=())
MAX_SALIENT = 5
TABLES = (TRAINING_CURVES, LINK_METRICS, USER_EMBEDDINGS, SALIENT_SUBREDDITS)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A published run of both steps, and what they counted."""

    run: Run
    trained: Counts
    inferred: Counts


def train(small: Published, root: Path, workers: int) -> tuple[Run, Counts]:
    """Train beside links to the small world's tables."""
    for folder in ("tables", "artifacts"):
        (root / folder).mkdir(parents=True)
        for published in (small.run.root / folder).iterdir():
            (root / folder / published.name).symlink_to(published)
    run = Run(root=root, staging=root / ".staging")
    counts = train_gat(CONFIG, GraphResources(workers=workers, threads_per_worker=1), run)
    publish(run, CHECKPOINT, TRAINING_CURVES, LINK_METRICS)
    return run, counts


@pytest.fixture(scope="module")
def alone(ray_local: None, small: Published, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """By one worker."""
    run, trained = train(small, tmp_path_factory.mktemp("one") / "run", workers=1)
    resources = GraphResources(threads_per_worker=1)
    inferred = infer_users(InferConfig(max_salient=MAX_SALIENT), resources, run)
    publish(run, USER_EMBEDDINGS, SALIENT_SUBREDDITS)
    return Finished(run=run, trained=trained, inferred=inferred)


def test_tables_keep_their_contracts_and_rows_are_counted(
    alone: Finished, small: Published
) -> None:
    for table in TABLES:
        rows = table.check(table.read(alone.run))
        assert rows.num_rows > 0
        assert rows.select(list(table.key)).group_by(list(table.key)).aggregate([]).num_rows == (
            rows.num_rows
        )
    inductive = int(make_splits(small.graph, CONFIG).inductive.sum())
    assert alone.trained.dropped == {"inductive": inductive}
    assert alone.inferred.rows_in == alone.inferred.rows_out == small.graph.num_users
    metrics = pl.DataFrame(LINK_METRICS.read(alone.run))
    assert set(metrics["split"]) == {"transductive", "inductive"}
    assert {"gat", "popularity", "mf"} <= set(metrics["model"])
    assert metrics["value"].is_between(0, 1).all()


def test_every_user_has_an_embedding_inductive_ones_included(
    alone: Finished, small: Published
) -> None:
    users = pl.DataFrame(USER_EMBEDDINGS.read(alone.run))
    assert users["user_id"].to_list() == small.graph.user_ids()
    splits = make_splits(small.graph, CONFIG)
    edges = small.graph.by_user.subset(splits.training_edges(small.graph.by_user))
    assert users["inductive"].to_list() == (edges.degrees() == 0).tolist()
    assert 0 < users["inductive"].sum() < len(users)
    assert users["num_subreddits"].to_list() == small.graph.by_user.degrees().tolist()
    posters = set(VISUAL_TARGETS.read(alone.run)["user_id"].to_pylist())
    assert users["has_images"].to_list() == [user in posters for user in users["user_id"]]
    for column in ("embedding", "clip_embedding"):
        vectors = np.stack(users[column].to_list())
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert len(np.unique(vectors.round(5), axis=0)) == len(users)


def test_attention_falls_with_rank_and_sums_to_at_most_one(
    alone: Finished, small: Published
) -> None:
    salient = pl.DataFrame(SALIENT_SUBREDDITS.read(alone.run))
    degrees = dict(zip(small.graph.user_ids(), small.graph.by_user.degrees().tolist(), strict=True))
    seen = set()
    for (user,), rows in salient.group_by("user_id", maintain_order=True):
        assert rows["rank"].to_list() == list(range(min(MAX_SALIENT, degrees[str(user)])))
        attention = rows["attention"].to_numpy()
        assert (np.diff(attention) <= 0).all()
        assert 0 < attention.sum() <= 1 + 1e-5
        if degrees[str(user)] <= MAX_SALIENT:
            assert attention.sum() == pytest.approx(1, abs=1e-5)
        seen.add(user)
    assert seen == set(degrees)


def test_two_workers_give_the_encoder_and_the_tables_of_one(
    alone: Finished, small: Published, tmp_path: Path
) -> None:
    # Inference reads the checkpoint alone, in shards that no number of workers changes.
    run, counts = train(small, tmp_path / "run", workers=2)
    assert counts == alone.trained
    for table in (TRAINING_CURVES, LINK_METRICS):
        assert comparable(table.read(run)).equals(comparable(table.read(alone.run)))
    for name in ("model.safetensors", STATES_FILE, "subreddits.parquet", "seen_users.npy"):
        ours, theirs = (CHECKPOINT.path(r) / name for r in (run, alone.run))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_workers_that_cannot_share_a_step_leave_it_to_those_that_can(
    small: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def fit(job: Job, storage: Path) -> NoReturn:
        asked.append(job.resources.workers)
        raise InterruptedError

    monkeypatch.setattr("graph.train.fit", fit)
    for workers, folder in ((3, "three"), (64, "many")):
        with pytest.raises(InterruptedError):
            train(small, tmp_path / folder, workers)
    chunks = CONFIG.batch_users // CONFIG.chunk_users
    assert asked == [min(chunks, 2), chunks]


def comparable(table: pa.Table) -> pl.DataFrame:
    """Without what depends on the speed of the machine."""
    return pl.DataFrame(table).select(pl.exclude("seeds_per_s"))


def activity_of(run: Run, user_id: str) -> list[Activity]:
    """What INTERACTIONS hold of a user."""
    rows = pl.DataFrame(INTERACTIONS.read(run)).filter(pl.col("user_id") == user_id)
    names = list(Activity.__dataclass_fields__)
    return [Activity(**row) for row in rows.select(names).to_dicts()]


def test_a_user_of_the_graph_is_embedded_the_same_as_a_new_one(alone: Finished) -> None:
    encoder = NewUserEncoder.load(CHECKPOINT.path(alone.run))
    users = pl.DataFrame(USER_EMBEDDINGS.read(alone.run))
    targets = pl.DataFrame(VISUAL_TARGETS.read(alone.run))
    ranked = pl.DataFrame(SALIENT_SUBREDDITS.read(alone.run))
    chosen = pl.concat([part.head(4) for part in users.partition_by("has_images", "inductive")])
    assert len(chosen) == 16
    for row in chosen.to_dicts():
        target = targets.filter(pl.col("user_id") == row["user_id"])
        image = np.array(target["embedding"][0], dtype=np.float32) if len(target) else None
        count = int(target["num_images"][0]) if len(target) else 1
        found = embed_new_user(encoder, activity_of(alone.run, row["user_id"]), image, count)
        assert np.allclose(found.embedding, row["embedding"], atol=1e-5)
        assert np.allclose(found.clip_embedding, row["clip_embedding"], atol=1e-5)
        assert found.unknown == ()
        salient = ranked.filter(pl.col("user_id") == row["user_id"])
        shares = dict(zip(salient["subreddit"], salient["attention"], strict=True))
        assert {name: found.attention[name] for name in shares} == pytest.approx(shares, abs=1e-5)


def test_new_users_without_known_subreddits_are_refused(alone: Finished, small: Published) -> None:
    encoder = NewUserEncoder.load(CHECKPOINT.path(alone.run))
    rows = activity_of(alone.run, small.world.user_ids[0])
    strange = [replace(row, subreddit=f"elsewhere{i}") for i, row in enumerate(rows)]
    with pytest.raises(ContractError, match=r"none of the .* subreddits of the new user is known"):
        embed_new_user(encoder, strange)
    mixed = embed_new_user(encoder, [*rows, strange[0]])
    alike = embed_new_user(encoder, rows)
    assert mixed.unknown == ("elsewhere0",)
    assert np.array_equal(mixed.embedding, alike.embedding)
    assert sum(mixed.attention.values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ContractError, match="without activity"):
        embed_new_user(encoder, [])
    with pytest.raises(ContractError, match=r"shape \(3,\), expected \(24,\)"):
        embed_new_user(encoder, rows, torch.ones(3).numpy())
