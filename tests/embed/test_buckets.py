from pathlib import Path

import numpy as np
import polars as pl
import pytest

from embed import buckets
from embed.buckets import Buckets, gathered, hashed, in_order, num_buckets

NUM = 5_000


@pytest.fixture
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    file = [f"f{number}" if number else None for number in rng.integers(0, 4, NUM)]
    return pl.DataFrame({"file": file, "row": rng.integers(0, 9, NUM), "id": rng.permutation(NUM)})


def test_rows_that_are_equal_in_a_column_share_a_bucket(tmp_path: Path, rows: pl.DataFrame) -> None:
    filled = Buckets(tmp_path / "rows", rows.schema, 5)
    for part in rows.iter_slices(700):
        filled.add(part, hashed("row", 5))
    found = list(filled)
    assert len(filled) == 5 and filled.num_rows == NUM
    assert pl.concat(found).sort("id").equals(rows.sort("id"))
    assert sum(part["row"].n_unique() for part in found) == 9
    filled.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_begins_empty_whatever_lay_in_its_folder(tmp_path: Path) -> None:
    rows = pl.DataFrame({"a": [1]})
    for _ in range(2):
        filled = Buckets(tmp_path, rows.schema, 2)
        filled.add(rows, pl.lit(1))
        assert [part.rows() for part in filled] == [[], [(1,)]]


@pytest.mark.parametrize("num", [1, 2, 7, 40])
def test_all_rows_come_in_order_a_part_at_a_time(
    tmp_path: Path, rows: pl.DataFrame, num: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "SAMPLES_A_BUCKET", 20)
    filled = Buckets(tmp_path / "rows", rows.schema, num)
    filled.add(rows, hashed("id", num))
    found = list(in_order(filled, ("file", "row", "id"), tmp_path / "ordered"))
    assert pl.concat(found).equals(rows.sort("file", "row", "id", nulls_last=True))
    assert num / 2 < len(found) <= num
    assert max(part.height for part in found) < 2.5 * NUM / num


def test_small_frames_are_gathered() -> None:
    rows = pl.DataFrame({"a": range(100)})
    found = list(gathered(rows.iter_slices(10), 30 * 8))
    assert [part.height for part in found] == [30, 30, 30, 10]
    assert pl.concat(found).equals(rows)


def test_buckets_hold_a_few_hundred_thousand_rows_until_there_are_too_many() -> None:
    assert num_buckets(0) == 1 and num_buckets(10 * buckets.BUCKET_ROWS + 1) == 11
    assert num_buckets(10**9) == buckets.MAX_BUCKETS
