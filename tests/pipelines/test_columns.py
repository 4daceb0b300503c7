from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipelines import columns
from pipelines.columns import MAX_UTC, MIN_UTC, Reader

NOW = 1_570_000_000
HUGE = 10**40


@pytest.mark.parametrize(
    ("read", "dtype", "good", "bad"),
    [
        (columns.read_text, pl.String, ["", "a\0b"], [None, 3, [], {}, True, 1.5]),
        (columns.read_optional_text, pl.String, ["", "a", None], [3, [], {}, True, 1.5]),
        (
            columns.read_author,
            pl.String,
            ["a", "A_b-9", "[deleted]", "\\[deleted\\]", None],
            ["a b", "a\0", "<USERNAME>", "a" * 31, "größe", 3, "a\n", "[x", "u/a"],
        ),
        (
            columns.read_subreddit,
            pl.String,
            ["pics", "u_Some-One", "reddit.com", "t:x", None],
            ["a b", "<TEST>", "a" * 51, 3, "a/b", "pics\n"],
        ),
        (
            columns.read_time,
            pl.Int64,
            [NOW, MIN_UTC, MAX_UTC - 1],
            [None, True, MIN_UTC - 1, MAX_UTC, NOW * 1000, -1, HUGE, "", "x", "1e9", " 1570000000"],
        ),
        (columns.read_time, pl.Int64, [NOW], [float("nan"), float("inf"), [], {}, "9" * 30]),
        (columns.read_optional_time, pl.Int64, [NOW, None], [False, 0, HUGE, "x", []]),
        (
            columns.read_number,
            pl.Int32,
            [0, -673196, 2**31 - 2, None],
            [True, 2**31, "3", 1.5, HUGE],
        ),
        (columns.read_flag, pl.Boolean, [True, False], [0, 1, "true", [], 1.0]),
    ],
)
def test_good_values_stay_and_bad_ones_are_told(
    read: Reader, dtype: pl.DataType, good: list[Any], bad: list[Any]
) -> None:
    for values in (good, good + bad, bad + good):
        series, wrong = read(values)
        assert series.dtype == dtype and len(series) == len(values)
        expected = {i for i, value in enumerate(values) if any(value is b for b in bad)}
        assert set(wrong) == expected
        kept = [value for i, value in enumerate(series) if i not in expected]
        assert kept == [value for i, value in enumerate(values) if i not in expected]


@pytest.mark.parametrize(
    ("read", "values", "expected"),
    [
        (columns.read_time, [str(NOW), float(NOW), NOW + 0.9, NOW], [NOW] * 4),
        (
            columns.read_edited,
            [False, True, NOW, float(NOW), None, str(NOW)],
            [None, 0, NOW, NOW, None, NOW],
        ),
        (columns.read_edited, [False, False], [None, None]),
        (columns.read_number, [1.0, None, -2], [1, None, -2]),
        (columns.read_flag, [None, True], [False, True]),
        (columns.read_author, ["", "a"], [None, "a"]),
        (columns.read_subreddit, ["", None], [None, None]),
        (columns.read_id, ["0", "zz", "3w5e11264sgsf"], [0, 1295, 2**64 - 1]),
        (columns.read_submission_name, ["t3_zz", None], [1295, None]),
        (columns.read_submission_name, ["t3_zz", 1295, None, 0], [1295, 1295, None, 0]),
        (columns.read_id, [], []),
        (columns.read_time, [], []),
        (columns.read_number, [], []),
    ],
)
def test_drift_is_read_as_what_it_means(
    read: Reader, values: list[Any], expected: list[Any]
) -> None:
    series, wrong = read(values)
    assert (series.to_list(), list(wrong)) == (expected, [])


@pytest.mark.parametrize(
    "value",
    ["", "t3_zz", "ZZ", "a b", "+1", "_1", " 1", "3w5e11264sgsg", "1" * 14, None, 5, True, "ä"],
)
def test_an_id_is_base_36_in_64_bits(value: object) -> None:
    series, wrong = columns.read_id(["1", value])
    assert (series.to_list(), list(wrong)) == ([1, None], [1])


@pytest.mark.parametrize(
    "value", ["", "zz", "t1_zz", "t3_", "t3_ZZ", "t3_3w5e11264sgsg", -1, 2**64, 1.0, True, []]
)
def test_a_submission_is_named_by_t3_and_its_id(value: object) -> None:
    for values in (["t3_1", value], ["t3_1", value, 7]):
        series, wrong = columns.read_submission_name(values)
        assert (series.to_list()[:2], list(wrong)) == ([1, None], [1])
