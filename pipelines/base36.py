"""Numbers as Reddit writes ids: in base 36."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CODES = np.frombuffer(_DIGITS.encode(), np.uint8)
# Of 2^64 - 1.
MAX_DIGITS = 13


def base36(number: int) -> str:
    """Digits of a number, not negative."""
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


def base36_digits(numbers: npt.NDArray[np.uint64], width: int) -> npt.NDArray[np.uint8]:
    """The last `width` digits of each number as ASCII, zeros before it: (n, width) uint8."""
    digits = np.empty((len(numbers), width), np.uint8)
    rest = numbers.astype(np.uint64)
    for position in range(width - 1, -1, -1):
        rest, digit = np.divmod(rest, np.uint64(36))
        digits[:, position] = _CODES[digit]
    return digits


def base36_series(numbers: pl.Series) -> pl.Series:
    """Digits of numbers (uint64, none null) as strings, without zeros before them."""
    values = numbers.cast(pl.UInt64()).to_numpy()
    largest = int(values.max(initial=0))
    width = len(base36(largest))
    digits = base36_digits(values, width)
    has_begun = np.logical_or.accumulate(digits != ord("0"), axis=1)
    has_begun[:, -1] = True
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(has_begun.sum(axis=1), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(digits[has_begun])]
    return pl.Series(
        numbers.name, pa.Array.from_buffers(pa.large_string(), len(values), buffers), pl.String()
    )
