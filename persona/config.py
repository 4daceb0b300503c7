"""What stage 4 is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.contract import ConfigError

IDLE_POLICIES = ("keep", "renew")
VERBALIZERS = ("grounded", "openai", "transformers")
PATIENCE_S = 120.0  # for an endpoint that answers nothing
MAX_MIN_USERS = 255  # users of a pair of subreddits are counted in one byte
MAX_TOKEN_BUDGET = 4096  # ZIPP: gains saturate near 2K tokens, invented details past 8K.


@dataclass(frozen=True, kw_only=True)
class EvidenceConfig:
    """salient_subreddits, snippets, embeddings, tags -> evidence.

    Args:
        token_budget: Tokens of evidence for each user, divided by attention.
        max_subreddits: Subreddits that share the budget.
        tags_per_facet: Visual tags kept for each facet.
        max_images: Exemplar images, those nearest p(z_u).
        min_users: k of k-anonymity, at most 255: what fewer users share is no evidence, be it one
            subreddit or two of them together, for it would say who it is. Holds among at least
            1,000 users.
        cold_subreddits: Users with fewer subreddits get interests inferred from alike users, too.
        demographics: Whether age band and region are evidence, of users who state them.
        idle_users: Users in whose own data nothing changed since the evidence that is published
            `keep` it, where rules and encoder are the same, or it is made anew (`renew`).
    """

    token_budget: int = 2048
    max_subreddits: int = 8
    tags_per_facet: int = 2
    max_images: int = 4
    min_users: int = 5
    cold_subreddits: int = 3
    demographics: bool = False
    idle_users: str = field(default="keep", metadata={"policy": True})

    def __post_init__(self) -> None:
        if self.idle_users not in IDLE_POLICIES:
            expected = " or ".join(IDLE_POLICIES)
            raise ConfigError(f"idle_users={self.idle_users!r}: expected {expected}")
        if not 0 < self.token_budget <= MAX_TOKEN_BUDGET:
            raise ConfigError(f"token_budget={self.token_budget}: expected 1 to {MAX_TOKEN_BUDGET}")
        if not 0 <= self.min_users <= MAX_MIN_USERS:
            raise ConfigError(f"min_users={self.min_users}: expected 0 to {MAX_MIN_USERS}")


@dataclass(frozen=True, kw_only=True)
class VerbalizeConfig:
    """evidence -> personas.

    Args:
        verbalizer: `grounded` (no model), `openai` (any OpenAI-compatible endpoint), or
            `transformers` (a model in the replica's own process; the extra `llm`).
        base_url, model: Of the endpoint; of `transformers` the model's folder or name.
        api_key_file: File with the endpoint's key; empty: none is sent.
        max_output_tokens, temperature: Of the endpoint.
        archive: Folder of `IMAGE_ARCHIVE` shards whose exemplar images the endpoint is shown;
            empty: it sees text alone.
        seed: Varies wording of the grounded verbalizer by user; sent to the endpoint.
    """

    verbalizer: str = "grounded"
    base_url: str = ""
    model: str = ""
    api_key_file: str = field(default="", metadata={"location": "external"})
    max_output_tokens: int = 800
    temperature: float = 0.0
    archive: str = field(default="", metadata={"location": True})
    seed: int = 0

    def __post_init__(self) -> None:
        if self.verbalizer not in VERBALIZERS:
            names = ", ".join(VERBALIZERS)
            raise ConfigError(f"verbalizer={self.verbalizer!r}: expected one of {names}")
        if self.verbalizer == "transformers" and not self.model:
            raise ConfigError("verbalizer='transformers' needs model: a folder, or a name")
        if self.verbalizer == "openai" and not (self.base_url and self.model):
            raise ConfigError("verbalizer='openai' needs base_url and model")


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """personas, embeddings, evidence -> the persona store."""

    index_rows: int = 50_000  # below this a vector index gains nothing over a scan


@dataclass(frozen=True, kw_only=True)
class PersonaResources:
    """How stage 4 runs.

    Args:
        replicas: Of the Ray Serve deployment; 0: as many as pay, where the processors of Ray do
            the work.
        max_in_flight: Users sent to the deployment at once.
        batch_users: Users in one call of the grounded verbalizer.
        shard_users: Users whose evidence is held at once; a shard is the unit of resume.
        patience_s: How long an endpoint may answer nothing before the step pauses.
        gpus_per_replica: For the verbalizer `transformers`.
        usd_per_m_input, usd_per_m_output: Price of a million tokens, for the accounts.
    """

    replicas: int = 0
    max_in_flight: int = 64
    batch_users: int = 256
    shard_users: int = 20_000
    patience_s: float = PATIENCE_S
    gpus_per_replica: float = 0.0
    usd_per_m_input: float = 0.0
    usd_per_m_output: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "batch_users", "shard_users"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: expected at least 1")
        for name in (
            "replicas",
            "patience_s",
            "gpus_per_replica",
            "usd_per_m_input",
            "usd_per_m_output",
        ):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: expected at least 0")
