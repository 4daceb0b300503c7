"""Ray Serve edge: a deployment that owns one verbalizer, and a context that runs it locally.

The deployment only converts: Arrow rows of EVIDENCE in, Arrow rows of PERSONAS and QUARANTINE out.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pyarrow as pa
import ray
from ray import serve
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.handle import DeploymentHandle

from persona.config import PATIENCE_S, PersonaResources, VerbalizeConfig
from persona.errors import EndpointError
from persona.grounded import GroundedVerbalizer
from persona.items import group_users
from persona.pictures import Pictures
from persona.rewrite import Rewrite, Rewriter
from persona.schema import Persona
from persona.verbalizer import Failed, Failure, Outcome, Verbalizer, outcome_tables

APP = "personas"

# (PERSONAS rows, QUARANTINE rows, what they cost, why users are missing among them: "" if none are)
Answer = tuple[pa.Table, pa.Table, dict[str, int], str]


class PersonaDeployment:
    """Loads its verbalizer once, then answers batches of evidence."""

    def __init__(self, load: Callable[[], Verbalizer]) -> None:
        self._verbalizer = load()

    async def __call__(self, evidence: pa.Table, pictures: Pictures) -> Answer:
        """What became of whole users, in their order; of a dead endpoint, as far as it came."""
        users = [
            replace(user, pictures=pictures.get(user.user_id, {})) for user in group_users(evidence)
        ]
        outcomes: Sequence[Outcome | None]
        problem = ""
        try:
            outcomes = await self._verbalizer.verbalize(users)
        except EndpointError as error:
            outcomes, problem = error.outcomes, str(error)
        told = [(u, o) for u, o in zip(users, outcomes, strict=True) if o is not None]
        tables = outcome_tables([u for u, _ in told], [o for _, o in told], self._verbalizer.name)
        return (*tables, self._verbalizer.spent(), problem)

    async def rewrite(self, prompt: str, persona: Persona) -> Rewrite | Failed:
        """The prompt in the role of the persona."""
        if isinstance(self._verbalizer, Rewriter):
            return await self._verbalizer.rewrite(prompt, persona)
        return Failed(Failure.REFUSED, f"{self._verbalizer.name} rewrites no prompts")


def load_verbalizer(
    config: VerbalizeConfig, max_in_flight: int, patience_s: float = PATIENCE_S
) -> Verbalizer:
    """The verbalizer that a configuration names."""
    if config.verbalizer == "grounded":
        return GroundedVerbalizer(config.seed)
    if config.verbalizer == "transformers":
        from persona.local_model import LocalVerbalizer  # slow to import, and an extra

        return LocalVerbalizer.load(config)
    from persona.endpoint import EndpointVerbalizer  # its client takes a second to import

    return EndpointVerbalizer.connect(config, max_in_flight, patience_s)


def check_verbalizer(config: VerbalizeConfig) -> None:
    """That a configuration can be served, without loading a model: errors by their own names.

    Raises:
        ConfigError: It cannot.
    """
    if config.verbalizer == "transformers":
        from persona.local_model import check

        check(config)
    else:
        load_verbalizer(config, 1)


def _in_replica(config: VerbalizeConfig, max_in_flight: int, patience_s: float) -> Verbalizer:
    """The verbalizer; what is loaded with it need not be looked through with every batch."""
    verbalizer = load_verbalizer(config, max_in_flight, patience_s)
    gc.freeze()
    return verbalizer


def _serve_is_up() -> bool:
    """Whether somebody else runs Serve in this Ray: then it is not ours to shut down."""
    try:
        ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:
        return False
    return True


@contextmanager
def serving(
    config: VerbalizeConfig, resources: PersonaResources, max_ongoing: int
) -> Iterator[DeploymentHandle]:
    """The persona app in the Ray that runs already, by handle only: no port is opened.

    Serve itself is shut down on the way out, unless it was up before.
    """
    check_verbalizer(config)  # a wrong config fails here by its own name, not inside a replica
    was_up = _serve_is_up()
    if not was_up:
        serve.start(proxy_location="Disabled")
    in_flight = max(1, resources.max_in_flight // resources.replicas)
    load = partial(_in_replica, config, in_flight, resources.patience_s)
    deployment = serve.deployment(
        PersonaDeployment,
        name=APP,
        num_replicas=resources.replicas,
        max_ongoing_requests=max_ongoing,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5,
        ray_actor_options={
            "num_cpus": 0.1 if config.verbalizer == "openai" else 1,
            "num_gpus": resources.gpus_per_replica,
        },
    )
    try:
        yield serve.run(deployment.bind(load), name=APP, route_prefix=None)
    finally:
        serve.delete(APP)
        if not was_up:
            serve.shutdown()
