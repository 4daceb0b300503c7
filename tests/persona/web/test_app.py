"""The API over a real server: what it answers, and how it says no."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from persona.config import EvidenceConfig
from persona.erasure import erase_user
from persona.errors import EndpointError
from persona.grounded import GroundedVerbalizer
from persona.items import SUBREDDIT, UserEvidence
from persona.newcomers import Visit
from persona.schema import Persona
from persona.store import PersonaStore
from persona.tables import PERSONA_STORE
from persona.verbalizer import Outcome
from persona.web.app import build_app
from persona.web.config import ApiConfig
from persona.web.service import PersonaService, UnavailableError
from pipelines.contract import Run
from tests.persona.synthetic import user_id
from tests.persona.web.served import (
    NUM_USERS,
    jpeg,
    note_encoders,
    note_evidence_config,
    served,
)

pytestmark = pytest.mark.engine


def problem(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def test_a_persona_comes_with_the_evidence_it_cites(client: httpx.Client, root: Run) -> None:
    answer = client.get(f"/personas/{user_id(2)}").raise_for_status().json()
    row = PersonaStore.open(PERSONA_STORE.path(root)).get(user_id(2))
    assert row is not None
    assert answer["persona"] == json.loads(row["persona"])
    assert answer["evidence"] == json.loads(row["evidence"])
    known = {item["evidence_id"] for item in answer["evidence"]}
    claims = Persona.model_validate_json(row["persona"]).claims()
    assert all(known.issuperset(claim.evidence) for claim in claims)
    assert (answer["verbalizer"], answer["run_version"]) == ("grounded", row["run_version"])


def test_history_and_point_in_time(client: httpx.Client) -> None:
    (past,) = client.get(f"/personas/{user_id(1)}/history").json()["history"]
    for as_of in (past["run_version"], past["made_utc"]):
        then = client.get(f"/personas/{user_id(1)}", params={"as_of": as_of}).json()
        assert then["persona"]["summary"] == past["summary"]
        assert then["evidence"] == []
    before = client.get(f"/personas/{user_id(1)}", params={"as_of": 1})
    assert problem(before)[:2] == (404, "unknown_user")
    odd = client.get(f"/personas/{user_id(1)}", params={"as_of": "0123456789abcdef"})
    assert problem(odd)[:2] == (422, "invalid")


def test_similar_users_are_others(client: httpx.Client) -> None:
    found = client.get(f"/personas/{user_id(0)}/similar", params={"k": 3}).json()["results"]
    assert len(found) == 3
    assert user_id(0) not in {hit["user_id"] for hit in found}
    assert found[0]["user_id"] in {user_id(5), user_id(10)}  # the same subreddits


def test_words_looks_vectors_and_filters(client: httpx.Client) -> None:
    def found(**request: Any) -> list[str]:
        answer = client.post("/search", json={"k": 4, **request}).raise_for_status().json()
        return [hit["user_id"] for hit in answer["results"]]

    cats = {user_id(i) for i in range(0, NUM_USERS, 3)}
    assert set(found(text="a cat in neon colours", by="vector")) == cats
    assert found(text="zzzz", by="text") == []
    both = found(text="a cat in neon colours", by="both")
    assert both[0] in cats
    z_u = [1.0] + [0.0] * 15
    assert len(found(vector=z_u, by="vector", space="users")) == 4
    facets = found(text="the", by="text", filters={"facets": {"palette": "nothing"}})
    assert facets == []
    assert found(text="a cat", by="vector", filters={"verbalizer": "other"}) == []


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/search", {}, "body.text: expected words, or a vector"),
        ("/search", {"text": "a", "vektor": [1]}, "body.vektor: no such field"),
        ("/search", {"text": "a", "k": 1000}, "body.k: Input should be less than or equal to 100"),
        ("/search", {"vector": [1.0], "by": "vector"}, "shape (1,): clip_embedding holds 64"),
        ("/search", {"vector": [0.0] * 64, "by": "vector"}, "finite numbers that are not all zero"),
        ("/search", {"text": "a", "space": "users"}, "`users` needs a vector"),
        ("/search", {"text": "a", "filters": {"facets": {"A B": "c"}}}, "String should match"),
        ("/users", {"subreddits": []}, "body.subreddits: List should have at least 1 item"),
        ("/users", {"subreddits": [{"name": "u_somebody"}]}, "not the name of a community"),
        ("/users", {"subreddits": [{"name": "a"}, {"name": "r/A"}]}, "a subreddit is named twice"),
        ("/users", {"subreddits": [{"name": "nowhere"}]}, "none of the 1 subreddits"),
        ("/users", {"subreddits": [{"name": "a", "comments": 0}]}, "at least one submission"),
        ("/users", {"subreddits": [{"name": "a"}], "images": ["?"]}, "images.0: not base64"),
        (
            "/users",
            {"subreddits": [{"name": "neonnights"}], "images": ["aGVsbG8="]},
            "images.0: not_image; expected a JPEG, PNG or WebP",
        ),
        ("/rewrite", {"prompt": "a"}, "expected either user_id or persona"),
        ("/rewrite", {"prompt": "", "user_id": "a"}, "body.prompt: String should have at least"),
    ],
)
def test_bad_requests_say_what_is_wrong(
    client: httpx.Client, path: str, body: dict[str, Any], message: str
) -> None:
    status, code, told = problem(client.post(path, json=body))
    assert (status, code) == (422, "invalid")
    assert message in told


def test_what_is_no_json_unknown_or_elsewhere(client: httpx.Client) -> None:
    broken = client.post("/search", content=b"{", headers={"content-type": "application/json"})
    assert problem(broken) == (400, "not_json", "the body is not JSON")
    assert problem(client.get("/personas/nobody"))[:2] == (404, "unknown_user")
    assert problem(client.get("/personas/a'b"))[:2] == (422, "invalid")
    assert problem(client.get("/nothing/here"))[:2] == (404, "http")
    assert problem(client.get("/search"))[:2] == (405, "http")
    unknown = client.post("/rewrite", json={"prompt": "a", "user_id": "nobody"})
    assert problem(unknown)[:2] == (404, "unknown_user")


def test_a_new_user_is_described_and_not_kept(client: httpx.Client, root: Run) -> None:
    picture = base64.b64encode(jpeg(3)).decode()
    body = {"subreddits": [{"name": "r/NeonNights"}, {"name": "nowhere"}], "images": [picture]}
    made = client.post("/users", json=body).raise_for_status().json()
    persona = Persona.model_validate(made["persona"])
    known = {item["evidence_id"] for item in made["evidence"]}
    assert all(known.issuperset(claim.evidence) for claim in persona.claims())
    assert made["attention"] == {"neonnights": pytest.approx(1.0)}
    assert made["unknown_subreddits"] == ["nowhere"]
    assert len(made["similar"]) == 5
    without = client.post("/users", json={**body, "images": []}).raise_for_status().json()
    assert without != made
    assert PersonaStore.open(PERSONA_STORE.path(root)).count() == NUM_USERS


def test_a_new_user_is_described_as_the_run_was_told_to(root: Run, tmp_path: Path) -> None:
    own = Run(root=tmp_path / "run")
    shutil.copytree(root.root, own.root)
    note_evidence_config(own, EvidenceConfig(max_subreddits=1))
    visits = [
        Visit(subreddit=name, submissions=0, comments=3, last_utc=None)
        for name in ("neonnights", "analogcats", "pastelpeaks")
    ]

    def shown(run: Run) -> int:
        newcomers = PersonaService(run.root, GroundedVerbalizer(0)).newcomers
        evidence = newcomers.evidence(newcomers.embed(visits, None, 0), has_images=False)
        return len(evidence.of(SUBREDDIT))

    assert (shown(root), shown(own)) == (3, 1)


def test_nobody_is_similar_in_the_space_of_another_encoder(root: Run, tmp_path: Path) -> None:
    own = Run(root=tmp_path / "run")
    shutil.copytree(root.root, own.root)
    visits = [Visit(subreddit="neonnights", submissions=0, comments=3, last_utc=None)]

    def similar(service: PersonaService) -> int:
        made = asyncio.run(service.newcomer(visits, [], 5))
        assert isinstance(made.outcome, Persona)
        return len(made.similar)

    loaded = PersonaService(own.root, GroundedVerbalizer(0))
    assert similar(loaded) == 5
    note_encoders(own, embedded="two", now="two")  # trained again; what it made is not published
    assert similar(PersonaService(own.root, GroundedVerbalizer(0))) == 0
    assert similar(loaded) == 5  # it has the one before still


def test_prompts_are_rewritten_in_the_role_of_a_persona(client: httpx.Client) -> None:
    row = client.get(f"/personas/{user_id(0)}").json()
    body = {"prompt": "a lighthouse at dusk", "user_id": user_id(0)}
    answer = client.post("/rewrite", json=body).raise_for_status().json()
    assert answer["prompt"].startswith("a lighthouse at dusk")
    assert {item["evidence_id"] for item in row["evidence"]}.issuperset(answer["evidence"])
    sent = {"prompt": "a lighthouse at dusk", "persona": row["persona"]}
    assert client.post("/rewrite", json=sent).json() == answer
    by_model = client.post("/rewrite", json={**body, "rewriter": "model"})
    assert problem(by_model)[:2] == (503, "unavailable")


def test_exemplar_images_are_small_and_clean(client: httpx.Client) -> None:
    row = client.get(f"/personas/{user_id(0)}").json()
    ids = [item["evidence_id"] for item in row["evidence"] if item["kind"] == "image"]
    answers = [client.get(f"/personas/{user_id(0)}/images/{id_}") for id_ in ids]
    assert sorted(answer.status_code for answer in answers) == [200, 404]  # one is not archived
    shown = next(answer for answer in answers if answer.status_code == 200)
    assert shown.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(shown.content)).size == (96, 96)
    assert client.get(f"/personas/{user_id(2)}/images/{ids[0]}").status_code == 404


def test_health_metrics_and_openapi(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "personas": NUM_USERS}
    client.get(f"/personas/{user_id(0)}")
    metrics = client.get("/metrics").text
    assert 'tastegraph_requests_total{route="/personas/{user}",status="200"}' in metrics
    assert f"tastegraph_personas {NUM_USERS}.0" in metrics
    assert user_id(0) not in metrics
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/personas/{user}", "/search", "/users", "/rewrite", "/healthz", "/metrics"} <= set(
        paths
    )


def test_keys_and_rates_are_kept(root: Run, tmp_path: Any) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of the team\nan-api-key-of-the-team\nanother-key-of-them\n")
    with served(root, keys_file=str(keys), requests_per_s=0.001, burst=5) as running:
        path = f"/personas/{user_id(0)}"

        def ask(key: str) -> int:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            return running.client.get(path, headers=headers).status_code

        assert [ask("an-api-key-of-the-team") for _ in range(7)] == [200] * 5 + [429] * 2
        assert ask("another-key-of-them") == 200
        assert [ask(""), ask("a-wrong-key-a-wrong-key")] == [401, 401]
        assert [ask(f"guess-number-{i:05d}") for i in range(5)] == [401] * 3 + [429] * 2
        refused = running.client.get(
            path, headers={"authorization": "Bearer an-api-key-of-the-team"}
        )
        assert problem(refused)[1] == "too_many_requests"
        assert int(refused.headers["retry-after"]) >= 1
        assert running.client.get("/healthz").status_code == 200
        assert running.client.get("/").status_code in (200, 429)


def test_long_bodies_are_refused(root: Run) -> None:
    with served(root, max_body_bytes=1000) as running:
        long = {"text": "a" * 2000}
        assert problem(running.client.post("/search", json=long))[:2] == (413, "too_long")

        def chunks() -> Any:
            for _ in range(30):
                yield b"a" * 100

        assert problem(running.client.post("/search", content=chunks()))[:2] == (413, "too_long")


def test_bodies_that_do_not_end_are_refused(root: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persona.web.guards.BODY_S", 0.3)
    with served(root) as running:
        address = (running.client.base_url.host, running.client.base_url.port)
        with socket.create_connection(address, timeout=10) as slow:
            slow.sendall(b"POST /search HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{")
            assert b" 408 " in slow.recv(4096).partition(b"\r\n")[0]
        assert running.client.get("/healthz").status_code == 200


def test_a_store_published_anew_is_read_at_once(root: Run, tmp_path: Any) -> None:
    own = Run(root=tmp_path / "run")
    shutil.copytree(root.root, own.root)
    (tmp_path / "archive").mkdir()
    with served(own) as running:
        assert running.client.get(f"/personas/{user_id(0)}").status_code == 200
        path = PERSONA_STORE.path(own)
        PersonaStore.open(path).without([user_id(0)], path.with_name("next"), index_rows=1000)
        path.rename(path.with_name("old"))
        path.with_name("next").rename(path)
        assert running.client.get(f"/personas/{user_id(0)}").status_code == 404
        assert running.client.get(f"/personas/{user_id(1)}").status_code == 200


def test_what_was_loaded_of_a_run_goes_with_its_store(root: Run, tmp_path: Path) -> None:
    own = Run(root=tmp_path / "run")
    shutil.copytree(root.root, own.root)
    service = PersonaService(own.root, GroundedVerbalizer(0))
    loaded = service.newcomers
    assert service.newcomers is loaded
    path = PERSONA_STORE.path(own)
    PersonaStore.open(path).without([user_id(0)], path.with_name("next"), index_rows=1000)
    path.rename(path.with_name("old"))
    path.with_name("next").rename(path)
    assert service.rows([user_id(0)]) == {}
    assert service.newcomers is not loaded


def test_after_an_erasure_everybody_has_their_own_pictures_still(root: Run, tmp_path: Path) -> None:
    shutil.copytree(root.root, tmp_path / "run")
    shutil.copytree(root.root.parent / "archive", tmp_path / "archive")
    service = PersonaService(
        tmp_path / "run", GroundedVerbalizer(0), archive=str(tmp_path / "archive")
    )

    def pictures() -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for index in range(1, NUM_USERS):
            row = service.persona(user_id(index)) or {"evidence": []}
            ids = [i["evidence_id"] for i in row["evidence"] if i["kind"] == "image"]
            found |= {id_: service.picture(user_id(index), id_) for id_ in ids}
        return found

    before = pictures()
    assert len(set(before.values())) > 2
    erase_user(tmp_path / "run", user_id(0), [tmp_path / "archive"])
    assert pictures() == before


def test_pictures_are_found_without_the_evidence_of_all_users(
    root: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PersonaStore, "batches", lambda *_: pytest.fail("all users were read"))
    service = PersonaService(
        root.root, GroundedVerbalizer(0), archive=str(root.root.parent / "archive")
    )
    assert service.picture(user_id(2), image_of(service, user_id(2))) is not None


def test_nobody_waits_long_for_an_archive_that_is_being_read(
    root: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = threading.Event()
    monkeypatch.setattr("persona.web.service.ARCHIVE_WAIT_S", 0.05)
    monkeypatch.setattr("persona.web.service._index", lambda _: read.wait(10) and None)
    service = PersonaService(root.root, GroundedVerbalizer(0), archive=str(tmp_path))
    with pytest.raises(UnavailableError, match="the archive of images is being read"):
        service.picture(user_id(2), image_of(service, user_id(2)))
    read.set()


def test_without_the_archive_there_is_no_picture_until_it_is_there(
    root: Run, tmp_path: Path
) -> None:
    service = PersonaService(root.root, GroundedVerbalizer(0), archive=str(tmp_path / "archive"))
    wanted = image_of(service, user_id(2))
    assert service.picture(user_id(2), wanted) is None
    shutil.copytree(root.root.parent / "archive", tmp_path / "archive")
    assert service.picture(user_id(2), wanted) is not None


def image_of(service: PersonaService, user: str) -> str:
    row = service.persona(user) or {"evidence": []}
    return next(i["evidence_id"] for i in row["evidence"] if i["kind"] == "image")


class Dead(GroundedVerbalizer):
    """A verbalizer whose endpoint does not serve."""

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        raise EndpointError("base_url='http://10.0.0.7:8000/v1' after 3 retries")


def test_a_dead_model_is_told_without_saying_where_it_is(root: Run) -> None:
    app: Any = build_app(ApiConfig(root=str(root.root)), PersonaService(root.root, Dead(0)))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.post("/users", json={"subreddits": [{"name": "neonnights"}]})

    told = problem(asyncio.run(ask()))
    assert told == (503, "model_unavailable", "the model does not answer; try again later")
