from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest

from pipelines.spill import FILE_BYTES, MIN_FILE_BYTES, ROW_GROUP_BYTES, Part, Spill, plan


def parts(num_bytes: int, num_buckets: int = 64) -> list[Part]:
    """The parts of a month of so many bytes, evenly spread over its ids."""
    sizes = {"bucket": range(num_buckets), "num_bytes": [num_bytes // num_buckets] * num_buckets}
    schema = {"bucket": pl.UInt64(), "num_bytes": pl.Int64()}
    return plan([Spill("a.arrow", "RC", pl.DataFrame(sizes, schema))])


@pytest.mark.parametrize(
    ("num_bytes", "num_files"),
    [
        (ROW_GROUP_BYTES // 2, 1),
        (3 * ROW_GROUP_BYTES, 3),
        (MIN_FILE_BYTES - 64, 4),
        (MIN_FILE_BYTES, 1),
        (2 * FILE_BYTES, 4),
        (6 * FILE_BYTES, 6),
    ],
)
def test_a_month_has_files_to_write_side_by_side_if_none_is_too_small(
    num_bytes: int, num_files: int
) -> None:
    found = parts(num_bytes)
    assert [part.number for part in found] == list(range(num_files))
    ranges = [group for part in found for group in part.row_groups]
    assert ranges[0][0] == 0
    assert all(end + 1 == begin for (_, end), (begin, _) in pairwise(ranges))
