"""What is elsewhere: a model whose GPU is another machine's, permits that all actors share.

Texts go to a Ray actor, for the driver may have no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from embed.clip import Clip, ClipIdentity
from embed.permits import PermitDesk


class TextActor:
    """Loads the model once, then encodes texts; what Ray runs."""

    def __init__(self, load: Callable[[], Clip]) -> None:
        self._clip = load()

    def facts(self) -> tuple[ClipIdentity, int]:
        """Which model it is, and the length of its vectors."""
        return self._clip.identity, self._clip.dim

    def encode_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit float32 [N, dim]."""
        return self._clip.encode_texts(texts)


class RemoteTexts:
    """The texts' side of a `Clip` that an actor holds; it and its GPU are let go with this.

    Args:
        load: Loads the model in the actor.
        num_gpus: Of the actor.
    """

    def __init__(self, load: Callable[[], Clip], num_gpus: float) -> None:
        # A machine that is taken back costs a batch of texts.
        actor = ray.remote(num_gpus=num_gpus, max_restarts=10, max_task_retries=10)(TextActor)
        self._actor = actor.remote(load)
        self.identity, self.dim = ray.get(self._actor.facts.remote())

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit float32 [N, dim]."""
        x_ND: NDArray[np.float32] = ray.get(self._actor.encode_texts.remote(list(texts)))
        return x_ND


class RemotePermits:
    """Permits of a desk in a Ray actor, for crawlers in others (`embed.permits.Permits`)."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    async def take(self, host: str, at_once: int, token: str) -> bool:
        """As `Permits.take`."""
        return bool(await self._desk.take.remote(host, at_once, token))

    async def give_back(self, host: str, token: str) -> None:
        """As `Permits.give_back`."""
        await self._desk.give_back.remote(host, token)


def remote_permits(lease_s: float) -> RemotePermits:
    """Permits of a new desk, which is there as long as somebody has them."""
    # It takes no processor; where its machine is lost, another begins with no permit out.
    desk = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(PermitDesk)
    return RemotePermits(desk.remote(lease_s))
