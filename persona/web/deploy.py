"""Ray Serve edge of the API: one graph of three deployments, configured by one file.

`api` answers HTTP and scales with the requests; `personas` owns the verbalizer, which new users and
rewritten prompts go through; `limits` counts what each caller asks of all replicas. `build` is an
application builder: the same settings work under `args` of a Serve config file, with
`import_path: persona.web.deploy:build`.
"""

from __future__ import annotations

import time
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from persona.config import VerbalizeConfig
from persona.errors import EndpointError
from persona.items import UserEvidence, evidence_table
from persona.rewrite import Rewrite
from persona.schema import Persona
from persona.serve import APP, PersonaDeployment, check_verbalizer, load_verbalizer
from persona.verbalizer import Failed, Failure, Outcome
from persona.web.app import build_app
from persona.web.config import ApiConfig
from persona.web.guards import MAX_REMEMBERED, Guard, RateLimit
from persona.web.service import PersonaService
from pipelines.contract import ConfigError

API, LIMITS = "api", "limits"
MAX_COUNTED = 10_000  # requests that wait for their count at once
VERBALIZER_REQUESTS = 64
LEASE_S = 0.2
SECTIONS = {"api": ApiConfig, "verbalize": VerbalizeConfig}


class HandleVerbalizer:
    """`Verbalizer` and `Rewriter` that send to the verbalizer's deployment."""

    def __init__(self, handle: DeploymentHandle, name: str) -> None:
        self._handle, self.name = handle, name

    async def verbalize(self, users: Sequence[UserEvidence]) -> list[Outcome]:
        """One outcome for each user, in order.

        Raises:
            EndpointError: The verbalizer's endpoint does not serve.
        """
        told = [user for user in users if user.items]
        if not told:
            return [Failed(Failure.NOTHING_TO_SAY, "no evidence")] * len(users)
        personas, quarantine, _, problem = await self._handle.remote(evidence_table(told), {})
        if problem:
            raise EndpointError(problem)
        found: dict[str, Outcome] = {
            row["user_id"]: Persona.model_validate_json(row["persona"])
            for row in personas.to_pylist()
        }
        for row in quarantine.to_pylist():
            found[row["user_id"]] = Failed(Failure(row["reason"]), row["detail"])
        nothing = Failed(Failure.NOTHING_TO_SAY, "no evidence")
        return [found.get(user.user_id, nothing) for user in users]

    def spent(self) -> dict[str, int]:
        """Nothing: the deployment keeps the accounts."""
        return {}

    async def rewrite(self, prompt: str, persona: Persona) -> Rewrite | Failed:
        """The prompt in the role of the persona."""
        rewritten: Rewrite | Failed = await self._handle.rewrite.remote(prompt, persona)
        return rewritten


class LimitsDeployment:
    """Counts what callers ask of all replicas."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._limit = RateLimit(per_s, burst)

    async def __call__(self, caller: str, most: int) -> tuple[int, float]:
        """See `RateLimit.take`."""
        return self._limit.take(caller, most)


class SharedLimit:
    """`Rate` that takes tokens of the deployment, and counts by itself while that is away.

    A busy caller's tokens are taken for LEASE_S ahead, so that one deployment serves many replicas;
    what is not used by then is lost.

    Args:
        handle: Of `LimitsDeployment`.
        own: Counts while that is away.
        per_s: Requests a second of one caller.
        now: Clock in seconds; never goes back.
    """

    def __init__(
        self,
        handle: DeploymentHandle,
        own: RateLimit,
        per_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle, self._own, self._now = handle, own, now
        self._most = max(1, int(per_s * LEASE_S))
        self._leases: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def __call__(self, caller: str) -> float:
        left, until = self._leases.pop(caller, (0, 0.0))
        is_busy = self._now() < until
        if not is_busy or not left:
            try:
                # Who comes for the first time in a while takes one: the rest might be lost.
                left, wait_s = await self._handle.remote(caller, self._most if is_busy else 1)
            except (RayError, RayServeException):
                return self._own.wait_s(caller)
            if not left:
                return wait_s
        others, _ = self._leases.pop(caller, (0, 0.0))  # taken while this one waited
        self._leases[caller] = (others + left - 1, self._now() + LEASE_S)
        if len(self._leases) > MAX_REMEMBERED:
            self._leases.popitem(last=False)
        return 0.0


@serve.ingress()
class ApiDeployment:
    """Builds its app when its replica starts; the app alone knows the routes."""

    def __init__(
        self,
        config: ApiConfig,
        verbalize: VerbalizeConfig,
        verbalizer: DeploymentHandle,
        limits: DeploymentHandle,
    ) -> None:
        sender = HandleVerbalizer(verbalizer, verbalize.model or "grounded")
        rewriter = sender if verbalize.verbalizer == "openai" else None
        service = PersonaService(Path(config.root), sender, rewriter, config.archive)
        own = RateLimit(config.requests_per_s, config.burst)
        replica = serve.get_replica_context().replica_tag
        self._app = build_app(
            config, service, SharedLimit(limits, own, config.requests_per_s), replica
        )

    def __serve_build_asgi_app__(self) -> Guard:
        return self._app


def build(args: Mapping[str, Mapping[str, Any]]) -> Application:
    """The graph, from the sections of a settings file.

    Raises:
        ConfigError: A section, setting or value is wrong.
    """
    api, verbalize = read_settings(args)
    check_verbalizer(verbalize)  # a wrong config fails here, not inside a replica
    verbalizer = serve.deployment(
        PersonaDeployment,
        name=APP,
        max_ongoing_requests=VERBALIZER_REQUESTS,
        max_queued_requests=4 * VERBALIZER_REQUESTS,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5,
        ray_actor_options={"num_cpus": 0.1, "num_gpus": api.verbalizer_gpus},
    ).bind(partial(load_verbalizer, verbalize, VERBALIZER_REQUESTS))
    limits = serve.deployment(
        LimitsDeployment,
        name=LIMITS,
        max_ongoing_requests=MAX_COUNTED,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5,
        ray_actor_options={"num_cpus": 0},
    ).bind(api.requests_per_s, api.burst)
    deployment: Any = serve.deployment(
        ApiDeployment,
        name=API,
        max_ongoing_requests=api.max_in_flight,
        max_queued_requests=api.max_in_flight,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5,
        autoscaling_config={
            "min_replicas": api.replicas,
            "max_replicas": api.max_replicas,
            "target_ongoing_requests": max(1, api.max_in_flight // 8),
        },
        ray_actor_options={"num_cpus": 1},
    )
    graph: Application = deployment.bind(api, verbalize, verbalizer, limits)
    return graph


def read_settings(args: Mapping[str, Mapping[str, Any]]) -> tuple[ApiConfig, VerbalizeConfig]:
    """The settings of a file's sections `api` and `verbalize`.

    Raises:
        ConfigError: A section, setting or value is wrong.
    """
    _expect("settings", args, SECTIONS)
    made = {}
    for name, kind in SECTIONS.items():
        given = dict(args.get(name) or {})
        known = {entry.name: entry for entry in fields(kind)}
        _expect(name, given, known)
        for key, value in given.items():
            wanted = str(known[key].type)
            if type(value).__name__ != wanted and not (wanted == "float" and type(value) is int):
                raise ConfigError(f"{name}.{key}={value!r}: expected {wanted}")
        if name == "api" and "root" not in given:
            raise ConfigError("api.root is missing: name the folder of a run")
        made[name] = kind(**given)
    return made["api"], made["verbalize"]


def read_file(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a settings file in TOML.

    Raises:
        ConfigError: It is not there, or no TOML of sections.
    """
    if not path.is_file():
        raise ConfigError(f"settings {str(path)!r}: no such file")
    try:
        loaded = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"settings {str(path)!r}: not TOML ({error})") from error
    if not all(isinstance(section, dict) for section in loaded.values()):
        raise ConfigError(f"settings {str(path)!r}: expected sections {', '.join(SECTIONS)}")
    return loaded


def _expect(what: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    odd = next((name for name in given if name not in known), None)
    if odd is not None:
        raise ConfigError(f"{what}: no {odd!r} here; there are {', '.join(known)}")
