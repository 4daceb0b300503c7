"""What the steps evaluate and approve are told."""

from __future__ import annotations

from dataclasses import dataclass, field

from embed.config import ClipConfig
from pipelines.contract import ConfigError

POLICIES = ("checked", "always")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """All tables -> quality.

    Args:
        truth: Folder of planted tastes of a sample world; empty for real dumps, whose tastes
            nobody knows. Nothing but the evaluation reads it.
        key_file: Key of the pseudonyms, to find the planted users again.
        clip: The images' model, to read personas with.
        permutations: Of the own-versus-other test.
        map_users: Users drawn on the map.
        seed: Of permutations and the map.
    """

    truth: str = field(default="", metadata={"location": True})
    key_file: str = field(default="", metadata={"location": "key"})
    clip: ClipConfig = ClipConfig()
    permutations: int = 2000
    map_users: int = 2000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ApproveConfig:
    """evaluation -> whether readers may see the personas.

    Args:
        policy: `checked`: not where a figure fell by more than the margin; `always`: in any case.
        margin: Share of its last value that a figure may lose.
    """

    policy: str = "checked"
    margin: float = 0.05

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError(f"policy={self.policy!r}: expected one of {', '.join(POLICIES)}")
        if not 0 <= self.margin < 1:
            raise ConfigError(f"margin={self.margin}: expected 0 or more, and below 1")
