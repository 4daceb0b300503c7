from __future__ import annotations

import pytest

from orchestration.manifests import Manifest
from orchestration.report.drift import drift, shares
from pipelines.contract import Counts


def month(name: str, rejected: int, media: int = 10) -> Manifest:
    counts = Counts(
        rows_in=100,
        rows_out=90 - rejected,
        rejected={"no_json": rejected},
        dropped={"bot": 10},
        written={"media": media, "submissions": 45},
    )
    return Manifest(
        step="ingest",
        month=name,
        fingerprint="",
        config={},
        counts=counts,
        seconds=1.0,
        peak_rss_bytes=0,
        bytes_written=0,
        code_version="",
    )


def test_shares_are_of_lines() -> None:
    assert shares(month("2019-08", 5)) == {
        "lines rejected": 0.05,
        "lines dropped": 0.10,
        "images a line": 0.10,
        "submissions of rows out": 45 / 85,
        "dropped: bot": 0.10,
    }


@pytest.mark.parametrize(("rejected", "odd"), [(2, []), (9, ["lines rejected"])])
def test_a_month_far_from_those_before_is_odd(rejected: int, odd: list[str]) -> None:
    months = [month(f"2019-0{n}", r) for n, r in ((1, 1), (2, 2), (3, 1), (4, rejected))]
    found = drift(months)
    assert [d.name for d in found if d.is_odd and d.name == "lines rejected"] == odd
    assert {d.month for d in found if d.is_odd} <= {"2019-04"}
    (told,) = [d for d in found if d.month == "2019-04" and d.name == "lines rejected"]
    assert told.usual == pytest.approx(4 / 300)
    assert {d.month for d in found if d.is_judged} == {"2019-04"}


def test_two_months_say_nothing_yet_and_undated_lines_are_no_month() -> None:
    found = drift([month("undated", 50), month("2019-01", 1), month("2019-02", 40)])
    assert not any(d.is_odd or d.is_judged for d in found)
    assert {d.month for d in found} == {"2019-01", "2019-02"}
