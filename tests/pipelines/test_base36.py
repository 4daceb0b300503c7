from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipelines.base36 import MAX_DIGITS, base36, base36_digits, base36_series

NUMBERS = {0: "0", 35: "z", 36: "10", 36**6: "1000000", 2**64 - 1: "3w5e11264sgsf"}


@pytest.mark.parametrize(("number", "digits"), NUMBERS.items())
def test_a_number(number: int, digits: str) -> None:
    assert base36(number) == digits
    assert int(digits, 36) == number
    assert len(digits) <= MAX_DIGITS


def test_a_column() -> None:
    numbers = pl.Series("id", list(NUMBERS), pl.UInt64())
    assert base36_series(numbers).to_list() == list(NUMBERS.values())
    assert base36_series(numbers[:0]).to_list() == []
    random = np.random.default_rng(0).integers(0, 2**63, 1000).tolist()
    assert base36_series(pl.Series(random)).to_list() == [base36(number) for number in random]


def test_digits_of_one_width() -> None:
    digits = base36_digits(np.array([1, 36**2 + 35], np.uint64), 3)
    assert [row.tobytes() for row in digits] == [b"001", b"10z"]
