"""A small root that has everything the API reads: store, evidence, vocabulary, encoder, archive.

The encoder is a real one with random weights; pictures and words are seen by the shipped tiny CLIP.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import torch
import uvicorn

from embed.clip import Clip, load_clip
from embed.tables import IMAGE_ARCHIVE, IMAGE_EMBEDDINGS, TAG_EMBEDDINGS, USER_IMAGES
from embed.tiny_clip.pictures import FACETS, Picture, draw
from graph.checkpoint import STATES_FILE, TrainedEncoder, save_encoder, save_states
from graph.config import EncoderConfig
from graph.encode import SubredditStates
from graph.model import NUM_STATS, SubredditInputs, TasteEncoder
from graph.new_user import NewUserEncoder
from graph.store import Clock
from graph.tables import CHECKPOINT, SALIENT_SUBREDDITS, USER_EMBEDDINGS
from persona.config import EvidenceConfig, PersonaResources, StoreConfig
from persona.evidence import build_evidence
from persona.grounded import GroundedVerbalizer, verbalize_user
from persona.indexing import index_personas
from persona.items import group_users
from persona.newcomers import Newcomers, Visit
from persona.tables import EVIDENCE, PERSONA_STORE, PERSONAS, USER_DATA
from persona.taste import Populations, TagPopulation, TagVocabulary
from persona.verbalizer import outcome_tables
from persona.web.app import build_app
from persona.web.config import ApiConfig
from persona.web.service import PersonaService
from pipelines.contract import Run, Table
from pipelines.tables import INTERACTIONS, MEDIA, SNIPPETS
from tests.persona.synthetic import make_run, publish_staged, user_id

NOW_UTC = 1_570_000_000
SUBREDDITS = ("neonnights", "analogcats", "pastelpeaks", "foggyforests", "campfirecooks")
LIKES = ("a cat in neon colours", "snowy peaks in pastel colours", "a foggy forest")
TAGS = {"palette": ("neon", "pastel"), "subject": ("cat", "mountains", "forest")}
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
NUM_USERS = 12


def jpeg(place: int) -> bytes:
    """A picture of the sample's grammar."""
    chosen = Picture(**{facet: values[place % len(values)] for facet, values in FACETS.items()})
    buffer = io.BytesIO()
    draw(chosen, np.random.default_rng(place), 96).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_root(folder: Path) -> Run:
    """Publish a whole small run under `folder`."""
    run, clip = make_run(folder), load_clip("tiny")
    encoder = save_random_encoder(run, clip)
    _publish(run, TAG_EMBEDDINGS, _tags(clip))
    _publish_users(run, clip, encoder)
    _publish_images(run, clip, folder / "archive")
    _publish(run, INTERACTIONS, _interactions())
    build_evidence(EvidenceConfig(), PersonaResources(), run)
    publish_staged(run, EVIDENCE, USER_DATA)
    note_evidence_config(run, EvidenceConfig())
    note_encoders(run, embedded="one", now="one")
    users = list(group_users(EVIDENCE.read(run)))
    personas, _ = outcome_tables(users, [verbalize_user(u, 0) for u in users], "grounded")
    PERSONAS.write(run.staged(PERSONAS), personas)
    publish_staged(run, PERSONAS)
    index_personas(StoreConfig(), PersonaResources(), run)
    publish_staged(run, PERSONA_STORE)
    return run


def _interactions() -> pa.Table:
    """Everybody in jazz, and in one of three more."""
    activity = [(user_id(i), s) for i in range(NUM_USERS) for s in ("jazz", f"s{i % 3}")]
    columns = {
        "user_id": [user for user, _ in activity],
        "subreddit": [subreddit for _, subreddit in activity],
        "active_month": ["2019-10"] * len(activity),
        "num_submissions": pa.array([1] * len(activity), pa.int32()),
        "num_comments": pa.array([2] * len(activity), pa.int32()),
        "score": [3] * len(activity),
        "first_utc": [NOW_UTC] * len(activity),
        "last_utc": [NOW_UTC] * len(activity),
    }
    return pa.table(columns)


def note_evidence_config(run: Run, config: EvidenceConfig) -> None:
    """As the runner's manifest of build_evidence tells it."""
    path = run.manifest("build_evidence")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"config": asdict(config)}))


def note_encoders(run: Run, embedded: str, now: str) -> None:
    """As the runner's manifests tell who made the embeddings, and who is there."""
    told = {
        "infer_users": {"depends": {"inputs": {"checkpoint": {"all": embedded}}}},
        "train_gat": {"outputs": {"checkpoint": now}},
    }
    for step, manifest in told.items():
        run.manifest(step).parent.mkdir(parents=True, exist_ok=True)
        run.manifest(step).write_text(json.dumps(manifest))


def save_random_encoder(run: Run, clip: Clip) -> NewUserEncoder:
    """An untrained encoder that knows the subreddits."""
    torch.manual_seed(0)
    size = len(SUBREDDITS)
    model = TasteEncoder(EncoderConfig(dim=16, heads=2), size, clip.dim).eval()
    inputs = SubredditInputs(
        row_M=torch.arange(1, size + 1),
        text_MD=torch.from_numpy(clip.encode_texts([*LIKES, "fog", "food"])),
        image_MD=torch.zeros(size, clip.dim),
        stats_MK=torch.zeros(size, NUM_STATS),
    )
    with torch.inference_mode():
        x_Sd = model.describe(inputs)
        states = SubredditStates(
            inputs=inputs,
            h_Sd=x_Sd,
            item_Sd=model.item_vectors(x_Sd, inputs),
            prior_S=model.item_prior(inputs).clone(),
        )
    trained = TrainedEncoder(
        model=model,
        subreddits=list(SUBREDDITS),
        seen_users=torch.zeros(0, dtype=torch.int64),
        clock=Clock(now_utc=NOW_UTC, half_life_days=90.0),
    )
    save_encoder(CHECKPOINT.path(run), trained)
    save_states(CHECKPOINT.path(run) / STATES_FILE, states)
    return NewUserEncoder.load(CHECKPOINT.path(run))


def _publish_users(run: Run, clip: Clip, encoder: NewUserEncoder) -> None:
    none = TagPopulation(np.zeros(0), np.zeros(0), 0)
    newcomers = Newcomers(
        encoder=encoder,
        vocabulary=TagVocabulary((), (), np.zeros((0, clip.dim))),
        populations=Populations(none, none),
        config=EvidenceConfig(),
    )
    texts = clip.encode_texts([LIKES[i % 3] for i in range(NUM_USERS)])
    embeddings, salient, snippets = [], [], []
    for index in range(NUM_USERS):
        name = user_id(index)
        visited = [SUBREDDITS[(index + step) % 5] for step in (0, 1, 3)]
        visits = [Visit(subreddit=s, submissions=0, comments=3, last_utc=None) for s in visited]
        user = newcomers.embed(visits, None, 0)
        embeddings.append(user.embedding)
        for rank, (subreddit, attention) in enumerate(user.attention.items()):
            salient.append((name, subreddit, rank, attention, 3))
            text = HOSTILE if rank == 0 and index == 0 else f"Thoughts on the lens, part {rank}."
            snippets.append((f"t1_{index}a{rank}", name, subreddit, text, 3, NOW_UTC))
    columns = {
        "user_id": [user_id(i) for i in range(NUM_USERS)],
        "embedding": _vectors(np.stack(embeddings)),
        "clip_embedding": _vectors(texts),
        "num_subreddits": pa.array([3] * NUM_USERS, pa.int32()),
        "has_images": [i % 2 == 0 for i in range(NUM_USERS)],
        "inductive": [False] * NUM_USERS,
    }
    _publish(run, USER_EMBEDDINGS, pa.table(columns))
    _publish(run, SALIENT_SUBREDDITS, _rows(SALIENT_SUBREDDITS, salient))
    _publish(run, SNIPPETS, _rows(SNIPPETS, snippets))


def _publish_images(run: Run, clip: Clip, archive: Path) -> None:
    """Each even user posted two pictures; all are archived but the first user's second."""
    ids = [f"{i:016x}" * 2 for i in range(NUM_USERS)]
    urls = [f"https://i.example.net/{i}.jpg" for i in range(NUM_USERS)]
    owners = [user_id(i - i % 2) for i in range(NUM_USERS)]
    embedded = {
        "image_id": ids,
        "status": ["ok"] * NUM_USERS,
        "phash": pa.array(range(NUM_USERS), pa.uint64()),
        "colours": pa.array([0] * NUM_USERS, pa.uint64()),
        "width": pa.array([96] * NUM_USERS, pa.int32()),
        "height": pa.array([96] * NUM_USERS, pa.int32()),
        "shared_with": pa.nulls(NUM_USERS, pa.string()),
        "embedding": _vectors(clip.encode_texts([LIKES[i % 3] for i in range(12)]), np.float16),
    }
    folder = IMAGE_EMBEDDINGS.path(run)
    folder.mkdir(parents=True)
    IMAGE_EMBEDDINGS.write(folder, pa.table(embedded), metadata=clip.identity.metadata())
    posted = [(owners[i], ids[i], SUBREDDITS[i % 5], False) for i in range(NUM_USERS)]
    _publish(run, USER_IMAGES, _rows(USER_IMAGES, posted))
    media = [
        (i, 0, ids[i], urls[i], "direct", owners[i], SUBREDDITS[i % 5], NOW_UTC)
        for i in range(NUM_USERS)
    ]
    _publish(run, MEDIA, _rows(MEDIA, media))
    archive.mkdir()
    answers = [(urls[i], 200 if i != 1 else 404, jpeg(i)) for i in range(NUM_USERS)]
    IMAGE_ARCHIVE.write(archive, _rows(IMAGE_ARCHIVE, answers))


def _tags(clip: Clip) -> pa.Table:
    pairs = [(facet, tag) for facet, tags in TAGS.items() for tag in tags]
    columns = {
        "facet": [facet for facet, _ in pairs],
        "tag": [tag for _, tag in pairs],
        "embedding": _vectors(clip.encode_texts([tag for _, tag in pairs])),
    }
    return pa.table(columns)


def _rows(table: Table, rows: list[tuple[Any, ...]]) -> pa.Table:
    names = table.schema.names
    return pa.Table.from_pylist([dict(zip(names, r, strict=True)) for r in rows], table.schema)


def _vectors(x_ND: np.ndarray, dtype: type = np.float32) -> pa.Array:
    flat = pa.array(x_ND.astype(dtype).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, x_ND.shape[1])


def _publish(run: Run, table: Table, rows: pa.Table) -> None:
    folder = table.path(run)
    folder.mkdir(parents=True, exist_ok=True)
    table.write(folder, rows)


@dataclass(frozen=True)
class Served:
    """A running server and a client of it."""

    url: str
    client: httpx.Client


@contextmanager
def served(run: Run, **settings: Any) -> Iterator[Served]:
    """The API over a root on a real ASGI server, at a free port of the loopback interface."""
    archive = str(run.root.parent / "archive")
    config = ApiConfig(root=str(run.root), archive=archive, **settings)
    service = PersonaService(run.root, GroundedVerbalizer(0), archive=archive)
    server = uvicorn.Server(
        uvicorn.Config(build_app(config, service), port=0, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Served(str(client.base_url), client)
    finally:
        server.should_exit = True
        thread.join()
