"""Random numbers as a pure function of counters, so that no draw depends on who makes it, or when.

Every draw hashes its whole identity: (stream, seed, epoch, node, slot). Two workers that sample the
same node in the same epoch get the same neighbours, and a resumed run needs no generator state.
All functions work elementwise on int64 tensors, on any device.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graph.sampling import uniforms

# Constants of splitmix64 (Steele, Lea and Flood 2014), as signed 64-bit numbers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64

_FEISTEL_ROUNDS = 6


class Stream(IntEnum):
    """What a draw is for; draws of different streams are independent."""

    POOL = 1
    TARGET_COUNT = 2
    TARGET = 3
    INPUT = 4
    EPOCH_ORDER = 5
    NEGATIVE = 6
    IMAGE_DROP = 7
    IMAGE_PART = 8
    INDUCTIVE_USER = 9
    HELDOUT_EDGE = 10
    DROPOUT = 11
    PARAMETERS = 12
    BASELINE = 13


def hash_words(*words: int | Tensor) -> Tensor:
    """A 64-bit hash of the words, elementwise with broadcasting.

    Returns:
        int64, uniform over all 64 bits.
    """
    state = torch.zeros((), dtype=torch.int64)
    for word in words:
        value = word if isinstance(word, Tensor) else torch.tensor(word, dtype=torch.int64)
        state = _mix(state + _GOLDEN ^ value)
    return state


def uniform(*words: int | Tensor) -> Tensor:
    """float64 in (0, 1): a hash of the words with 53 random bits, never exactly 0 or 1."""
    *first, last = words
    if isinstance(last, Tensor) and last.dim() == 1 and last.device.type == "cpu":
        state = hash_words(*first)
        if not state.dim():  # One number per word, without the six arrays that tensors would make.
            drawn = torch.empty(len(last), dtype=torch.float64)
            uniforms(int(state), last.numpy(), drawn.numpy())
            return drawn
    bits = _shift_right(hash_words(*words), 11)
    return (bits.to(torch.float64) + 0.5) * 2.0**-53


def torch_seed(*words: int) -> int:
    """A non-negative seed for `torch.manual_seed`."""
    return int(_shift_right(hash_words(*words), 1))


def permuted(index: Tensor, size: Tensor, key: Tensor) -> Tensor:
    """Image of `index` under a random permutation of [0, size) that `key` names.

    The first k images are k draws without replacement in O(k), however large `size` is: that is
    how a hub with millions of users is sampled without touching its list.

    Args:
        index: int64 in [0, size).
        size: int64, at least 1; broadcasts with `index`.
        key: int64; broadcasts with `index`.

    Returns:
        int64 in [0, size), distinct for distinct `index` of the same key and size.

    Source: a balanced Feistel network with cycle walking (Black and Rogaway 2002).
    """
    index, size, key = torch.broadcast_tensors(index, size, key)
    shape, size, key = index.shape, size.flatten(), key.flatten()
    half_bits = _half_bits(size)
    value = _feistel(index.flatten(), half_bits, key)
    # The domain is a power of 4 above size: less than 4 times too large, so few rounds remain.
    while len(outside := torch.nonzero(value >= size)[:, 0]):
        value[outside] = _feistel(value[outside], half_bits[outside], key[outside])
    return value.view(shape)


def hash_strings(values: list[str]) -> npt.NDArray[np.int64]:
    """A 64-bit hash of each string, the same in every process and version."""
    if not values:
        return np.zeros(0, dtype=np.int64)
    encoded = [value.encode() for value in values]
    lengths = torch.tensor([len(value) for value in encoded])
    width = -(-int(lengths.max()) // 8) * 8 or 8
    words = np.array(encoded, dtype=f"S{width}").view("<i8").reshape(len(values), -1)
    columns = [torch.from_numpy(words[:, i].copy()) for i in range(words.shape[1])]
    hashed: npt.NDArray[np.int64] = _hash_padded(columns, lengths).numpy()
    return hashed


def _hash_padded(columns: list[Tensor], lengths: Tensor) -> Tensor:
    """As `hash_words`, blind to the padding that longer strings of the same call cause."""
    state = hash_words(lengths)
    for i, column in enumerate(columns):
        state = torch.where(lengths > 8 * i, _mix(state + _GOLDEN ^ column), state)
    return state


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift; torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _half_bits(size: Tensor) -> Tensor:
    """Smallest b with 4**b >= size, at least 1."""
    bit_length = torch.frexp((size - 1).to(torch.float64)).exponent
    return ((bit_length.to(torch.int64) + 1) // 2).clamp(min=1)


def _feistel(value: Tensor, half_bits: Tensor, key: Tensor) -> Tensor:
    mask = (torch.ones_like(half_bits) << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for round_ in range(_FEISTEL_ROUNDS):
        left, right = right, left ^ (_mix((key + round_) * _GOLDEN ^ right) & mask)
    return (left << half_bits) | right
