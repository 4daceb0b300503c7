"""A model whose GPU is another machine's: texts go to a Ray actor, for the driver may have none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import ray
from numpy.typing import NDArray

from embed.clip import Clip, ClipIdentity


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
