"""Routes of the API: a plain ASGI app over `PersonaService`."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from persona.errors import EndpointError, StoreBusyError
from persona.newcomers import Visit
from persona.privacy import is_public_subreddit
from persona.schema import Persona
from persona.verbalizer import Failed
from persona.web import messages as m
from persona.web.config import ApiConfig, read_keys
from persona.web.guards import Guard, Rate, RateLimit, RefusedError
from persona.web.lookups import Lookups
from persona.web.metrics import CONTENT_TYPE, Metrics
from persona.web.service import Newcomer, PersonaService, UnavailableError
from pipelines.contract import ContractError

LOGGER = logging.getLogger(__name__)
SIMILAR_USERS = 5
PAGE = {"page.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}

User = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Pseudonym of a user")]
K = Annotated[int, Query(ge=1, le=m.MAX_RESULTS)]


def build_app(
    config: ApiConfig, service: PersonaService, rate: Rate | None = None, replica: str = ""
) -> Guard:
    """The whole app, guarded.

    Args:
        config: Limits and keys.
        service: Answers.
        rate: Of several replicas together; None: this app alone counts its callers.
        replica: Name of this one of them, in metrics; empty: it is alone.

    Raises:
        ConfigError: The file of keys is not there or holds a bad key.
    """
    metrics = Metrics(replica)
    app = FastAPI(
        title="tastegraph",
        version="1",
        description="Personas that are true, cited and private.",
        docs_url=None,  # the usual pages load scripts from elsewhere; /openapi.json has it all
        redoc_url=None,
        responses=m.ERRORS,
    )
    add_personas(app, service)
    add_search(app, service)
    add_newcomers(app, service, metrics)
    add_rewriting(app, service)
    add_page(app, service, metrics)
    add_errors(app)
    return Guard(
        app,
        keys=read_keys(config.keys_file),
        rate=rate or RateLimit(config.requests_per_s, config.burst),
        max_body_bytes=config.max_body_bytes,
        max_in_flight=config.max_in_flight,
        metrics=metrics,
    )


def add_personas(app: FastAPI, service: PersonaService) -> None:
    """Lookups of one user."""
    lookups = Lookups(service.rows)
    not_found: Any = {404: {"model": m.ErrorAnswer, "description": "No such user"}}

    @app.get("/personas/{user}", responses=not_found, response_model=m.PersonaAnswer)
    async def persona(
        user: User,
        as_of: Annotated[
            str | None,
            Query(
                pattern=r"^[0-9a-f]{1,20}(?:-[0-9]{1,6})?$",
                description="A run_version, or epoch seconds: the persona as it was then",
            ),
        ] = None,
    ) -> Response:
        """One user's persona with the evidence that its claims cite."""
        if as_of is None:
            row = await lookups.row(user)
        else:
            is_time = as_of.isdecimal() and len(as_of) < 12
            when = int(as_of) if is_time else as_of
            row = await to_thread.run_sync(service.row_at, user, when)
        return Response(_answer(_known(row, user)), media_type="application/json")

    @app.get("/personas/{user}/history", responses=not_found)
    def history(user: User) -> m.HistoryAnswer:
        """How one user's persona changed from run to run."""
        rows = _known(service.history(user) or None, user)
        past = [m.PastPersona(**_picked(m.PastPersona, row)) for row in rows]
        return m.HistoryAnswer(user_id=user, history=past)

    @app.get("/personas/{user}/similar", responses=not_found)
    def similar(user: User, k: K = SIMILAR_USERS) -> m.SearchAnswer:
        """Users whose embeddings are nearest."""
        hits = _known(service.similar(user, k), user)
        return m.SearchAnswer(results=[m.FoundUser(**hit) for hit in hits])

    @app.get(
        "/personas/{user}/images/{evidence_id}",
        responses={**not_found, 200: {"content": {"image/jpeg": {}}}},
        response_class=Response,
    )
    def image(
        user: User, evidence_id: Annotated[str, Path(pattern=r"^i:[0-9A-Za-z]{1,32}$")]
    ) -> Response:
        """One exemplar image, small, without metadata."""
        content = service.picture(user, evidence_id)
        if content is None:
            raise RefusedError(404, "unknown_image", "no such image, or it is not in the archive")
        return Response(content, media_type="image/jpeg")


def add_search(app: FastAPI, service: PersonaService) -> None:
    """Search by words, vectors and filters."""

    @app.post("/search")
    def search(request: m.SearchRequest) -> m.SearchAnswer:
        """Users whose personas fit words, or whose vectors are near one."""
        text = request.text.strip() if request.text else None
        if not text and request.vector is None:
            raise RefusedError(422, "invalid", "body.text: expected words, or a vector")
        if request.space == "users" and (request.vector is None or request.by != "vector"):
            raise RefusedError(422, "invalid", "body.space: `users` needs a vector, and by: vector")
        if request.by != "vector" and not text:
            raise RefusedError(422, "invalid", f"body.text: by: {request.by} needs words")
        where = dict(request.filters.facets)
        if request.filters.verbalizer is not None:
            where["verbalizer"] = request.filters.verbalizer
        hits = service.search(
            text,
            request.vector,
            by=request.by,
            column="embedding" if request.space == "users" else "clip_embedding",
            where=where,
            k=request.k,
        )
        return m.SearchAnswer(results=[m.FoundUser(**hit) for hit in hits])


def add_newcomers(app: FastAPI, service: PersonaService, metrics: Metrics) -> None:
    """Personas of users that no run has seen."""

    @app.post("/users")
    async def users(request: m.NewUserRequest) -> m.NewUserAnswer:
        """A persona from a list of subreddits and, if there are any, images. Nothing is stored."""
        visits = [_visit(place, entry) for place, entry in enumerate(request.subreddits)]
        if len({visit.subreddit for visit in visits}) != len(visits):
            raise RefusedError(422, "invalid", "body.subreddits: a subreddit is named twice")
        images = [_image(place, text) for place, text in enumerate(request.images)]
        made = await service.newcomer(visits, images, SIMILAR_USERS)
        outcome = made.outcome
        metrics.verbalized(outcome.reason.value if isinstance(outcome, Failed) else "ok")
        if isinstance(outcome, Failed):
            raise RefusedError(422, outcome.reason.value, f"no persona: {outcome.detail}")
        return _newcomer(made, outcome)


def add_rewriting(app: FastAPI, service: PersonaService) -> None:
    """Prompts in the role of a persona."""

    @app.post(
        "/rewrite",
        responses={
            404: {"model": m.ErrorAnswer, "description": "No such user"},
            502: {"model": m.ErrorAnswer, "description": "The model's reply was refused"},
        },
    )
    async def rewrite(request: m.RewriteRequest) -> m.RewriteAnswer:
        """A prompt of an image generator as the person would have put it."""
        persona = request.persona
        if (persona is None) == (request.user_id is None):
            raise RefusedError(422, "invalid", "body: expected either user_id or persona")
        if persona is None:
            user = str(request.user_id)
            row = await to_thread.run_sync(service.persona, user)
            persona = _known(row, user)["persona"]
        by_model = request.rewriter == "model"
        rewritten = await service.rewrite(request.prompt, persona, by_model)
        if isinstance(rewritten, Failed):
            raise RefusedError(502, rewritten.reason.value, f"reply refused: {rewritten.detail}")
        name = service.rewriter_name if by_model else "grounded"
        return m.RewriteAnswer(
            prompt=rewritten.prompt, evidence=list(rewritten.evidence), rewriter=name
        )


def add_page(app: FastAPI, service: PersonaService, metrics: Metrics) -> None:
    """The page, health and metrics."""

    @app.get("/healthz")
    def health() -> m.Health:
        """Whether the store can be read."""
        return m.Health(status="ok", personas=service.count())

    @app.get("/metrics", response_class=Response)
    def prometheus() -> Response:
        """Metrics in Prometheus' text format."""
        metrics.personas(service.count())
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    for name, media_type in PAGE.items():
        route = "/" if name == "page.html" else f"/{name}"
        app.get(route, include_in_schema=False)(_file(name, media_type))


def add_errors(app: FastAPI) -> None:
    """Every error as `{"error": {"code", "message"}}`; messages never repeat what was sent.

    Nor do they say where the model is, which the endpoint's errors, and traces from Serve, do.
    """
    statuses: dict[type[Exception], tuple[int, str]] = {
        ContractError: (422, "invalid"),
        ValueError: (422, "invalid"),
        UnavailableError: (503, "unavailable"),
        StoreBusyError: (503, "store_busy"),
    }
    for kind, (status, code) in statuses.items():
        app.add_exception_handler(kind, _told(status, code))

    @app.exception_handler(EndpointError)
    async def no_model(_: Request, error: EndpointError) -> JSONResponse:
        LOGGER.warning("%s", error)
        return _problem(503, "model_unavailable", "the model does not answer; try again later")

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return _problem(error.status, error.code, error.message)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _problem(400, "not_json", "the body is not JSON")
        place = ".".join(
            str(part) for part in first["loc"] if str(part).isidentifier() or part == 0
        )
        told = "no such field" if first["type"] == "extra_forbidden" else first["msg"]
        return _problem(422, "invalid", f"{place}: {told}")

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, "http", str(error.detail))


def _told(status: int, code: str) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def handler(_: Request, error: Exception) -> JSONResponse:
        return _problem(status, code, str(error))

    return handler


def _problem(status: int, code: str, message: str) -> JSONResponse:
    headers = {"retry-after": "5"} if status == 503 else None
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def _known(row: Any, user: str) -> Any:
    if row is None:
        raise RefusedError(404, "unknown_user", f"no persona of user {user!r}")
    return row


def _answer(row: dict[str, Any]) -> bytes:
    """`PersonaAnswer` of a row; what the store holds as JSON goes out as it came in."""
    told = _picked(m.PersonaAnswer, row)
    raw = {name: orjson.Fragment(told[name]) for name in ("persona", "evidence")}
    return orjson.dumps(told | raw)


def _picked(message: type[m.Message], row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in message.model_fields}


def _visit(place: int, entry: m.ActiveIn) -> Visit:
    name = entry.name.lower().removeprefix("/").removeprefix("r/")
    where = f"body.subreddits.{place}"
    if not is_public_subreddit(name):
        raise RefusedError(422, "invalid", f"{where}.name: not the name of a community")
    if entry.submissions + entry.comments == 0:
        raise RefusedError(422, "invalid", f"{where}: expected at least one submission or comment")
    return Visit(
        subreddit=name,
        submissions=entry.submissions,
        comments=entry.comments,
        last_utc=entry.last_utc,
    )


def _image(place: int, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(422, "invalid", f"body.images.{place}: not base64") from error


def _newcomer(made: Newcomer, persona: Persona) -> m.NewUserAnswer:
    items = [
        m.EvidenceItem(**{name: getattr(item, name) for name in m.EvidenceItem.model_fields})
        for item in made.evidence.items
    ]
    return m.NewUserAnswer(
        persona=persona,
        evidence=items,
        attention=made.user.attention,
        unknown_subreddits=list(made.user.unknown),
        similar=[m.FoundUser(**hit) for hit in made.similar],
    )


def _file(name: str, media_type: str) -> Callable[[], Response]:
    content = files("persona.web").joinpath("page", name).read_bytes()

    def page() -> Response:
        return Response(content, media_type=f"{media_type}; charset=utf-8")

    return page
