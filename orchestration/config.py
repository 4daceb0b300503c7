"""What the evaluation is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from embed.config import ClipConfig


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
    key_file: str = field(default="", metadata={"location": True})
    clip: ClipConfig = ClipConfig()
    permutations: int = 2000
    map_users: int = 5000
    seed: int = 0
