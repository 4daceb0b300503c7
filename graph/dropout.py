"""Dropout whose draws are cheap on CPUs: a hash of a counter, instead of a Mersenne twister."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from graph.sampling import hashed
from pipelines.compiled import compiled

kernel = compiled()


class Dropout(nn.Dropout):
    """`nn.Dropout`; on CPUs, where torch draws one number at a time, twelve times as fast.

    What is dropped is a function of torch's seed, of the draws before, and of nothing else.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x, or in training zeros with probability p and x / (1 - p) elsewhere."""
        if not self.training or not self.p or x.device.type != "cpu":
            return super().forward(x)
        seed = int(torch.empty((), dtype=torch.int64).random_())
        factor = np.empty(x.numel(), np.float32)
        _draw(np.uint64(seed), int(self.p * 2**32), np.float32(1 / (1 - self.p)), factor)
        return x * torch.from_numpy(factor).view(x.shape).to(x.dtype)


@kernel
def _draw(seed, below, kept, factor):
    """`kept` where a hash of (seed, place) is at least `below` of 2**32, else 0."""
    for pair in range((len(factor) + 1) // 2):
        drawn = hashed(seed, pair)
        place = 2 * pair
        factor[place] = kept if (drawn & np.uint64(0xFFFFFFFF)) >= below else np.float32(0.0)
        if place + 1 < len(factor):
            factor[place + 1] = kept if (drawn >> np.uint64(32)) >= below else np.float32(0.0)
