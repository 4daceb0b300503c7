"""What the API is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.contract import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class ApiConfig:
    """The API over one root.

    Args:
        root: Folder of the run whose personas are served.
        host, port: To listen at.
        keys_file: File with the API keys, one a line, at least 16 characters each; empty: everybody
            may ask, which only a loopback address allows.
        archive: Folder of `IMAGE_ARCHIVE` shards with the exemplar images; empty: none are shown.
        requests_per_s, burst: Of one key, or of one address where there are no keys, over all
            replicas.
        max_body_bytes: Longer requests are refused.
        max_in_flight: Requests under way at once in one replica; more are refused with 503.
        replicas, max_replicas: Of the API in Ray Serve; between them it scales with the load.
        verbalizer_gpus: Of the replica that describes new users, for a model in its process.
    """

    root: str
    host: str = "127.0.0.1"
    port: int = 8000
    keys_file: str = ""
    archive: str = ""
    requests_per_s: float = 50.0
    burst: int = 100
    max_body_bytes: int = 8 << 20
    max_in_flight: int = 256
    replicas: int = 1
    max_replicas: int = 4
    verbalizer_gpus: float = 0.0

    def __post_init__(self) -> None:
        if not self.keys_file and self.host not in LOOPBACK:
            raise ConfigError(
                f"host={self.host!r} without keys_file: personas would be open to everybody; "
                f"name a keys_file, or listen at {LOOPBACK[0]}"
            )
        for name in ("requests_per_s", "burst", "max_body_bytes", "max_in_flight", "replicas"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}={getattr(self, name)}: expected more than 0")
        if self.verbalizer_gpus < 0:
            raise ConfigError(f"verbalizer_gpus={self.verbalizer_gpus}: expected 0 or more")
        if self.max_replicas < self.replicas:
            raise ConfigError(
                f"max_replicas={self.max_replicas}: expected at least replicas={self.replicas}"
            )


def read_keys(path: str) -> frozenset[str]:
    """API keys of a file, empty for no file.

    Raises:
        ConfigError: There is no such file, no key in it, or one that is easily guessed.
    """
    if not path:
        return frozenset()
    if not Path(path).is_file():
        raise ConfigError(f"keys_file={path!r}: no such file; expected one key a line")
    keys = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
    keys = [key for key in keys if key and not key.startswith("#")]
    short = [place for place, key in enumerate(keys, start=1) if len(key) < 16]
    if short or not keys:
        told = f"key {short[0]} has fewer than 16 characters" if short else "no key in it"
        raise ConfigError(f"keys_file={path!r}: {told}; make one with `openssl rand -hex 24`")
    return frozenset(keys)
