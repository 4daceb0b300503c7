"""Readers of a tiny month: they read every line; speeds add up; the step is timed as it grows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orchestration.bench.ingest import Speed, main, read_once, summary, together
from orchestration.bench.measure import FailedCommandError, measure
from orchestration.bench.months import Month, ensure_month
from orchestration.bench.scaling import Point, interactions_scaling
from pipelines.dumps import Kind

RAW_BYTES = 300_000


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Month]:
    folder = tmp_path_factory.mktemp("months")
    return {
        "RC": ensure_month("RC", RAW_BYTES, 0, folder),
        "RS": ensure_month("RS", RAW_BYTES, 0, folder),
    }


@pytest.mark.parametrize("kind", ["RC", "RS"])
@pytest.mark.parametrize(
    "name",
    [
        "zstd",
        "script_json",
        "script_orjson",
        "duckdb",
        pytest.param("ours", marks=pytest.mark.engine),
    ],
)
def test_every_reader_reads_every_line(
    name: str, kind: Kind, months: dict[Kind, Month], tmp_path: Path
) -> None:
    speed = read_once(name, months[kind], "--workers 1", tmp_path / "work")
    assert speed.share == 1
    lines_per_mb = months[kind].num_lines / months[kind].raw_bytes * 1e6
    assert speed.lines_per_s / speed.mb_per_s == pytest.approx(lines_per_mb)
    assert speed.peak_rss_bytes >= 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.engine
def test_ours_writes_more_rows_when_it_keeps_what_is_over_18(
    months: dict[Kind, Month], tmp_path: Path
) -> None:
    work, few = tmp_path / "work", "--workers 1"
    dropped = read_once("ours", months["RS"], few, work).rows_out
    kept = read_once("ours", months["RS"], f"{few} --keep-over-18", work).rows_out
    assert 0 < dropped < kept < months["RS"].num_lines


def test_a_script_that_stops_early_says_how_much_it_read(
    months: dict[Kind, Month], tmp_path: Path
) -> None:
    month = ensure_month("RC", 4_000_000, 0, tmp_path / "months")
    speed = read_once("script_json", month, "--limit-s 0", tmp_path / "work")
    assert speed.share == 1000 / month.num_lines


def test_months_together_take_as_long_as_one_after_the_other(months: dict[Kind, Month]) -> None:
    fast = Speed(mb_per_s=200.0, lines_per_s=1.0, peak_rss_bytes=7, rows_out=3)
    slow = Speed(mb_per_s=50.0, lines_per_s=1.0, peak_rss_bytes=9, rows_out=4, share=0.5)
    both = together(months, {"RC": fast, "RS": slow})
    raw_mb = {kind: month.raw_bytes / 1e6 for kind, month in months.items()}
    seconds = raw_mb["RC"] / 200 + raw_mb["RS"] / 50
    assert both.mb_per_s == pytest.approx(sum(raw_mb.values()) / seconds)
    assert both.lines_per_s == pytest.approx(sum(m.num_lines for m in months.values()) / seconds)
    assert (both.peak_rss_bytes, both.rows_out, both.share) == (9, 7, 0.5)


def test_ratios_divide_ours_by_the_peer_and_by_the_faster_script(
    months: dict[Kind, Month],
) -> None:
    speeds = {"zstd": 800.0, "script_json": 40.0, "script_orjson": 80.0, "duckdb": 200.0}
    speeds["ours"] = 400.0
    found = {
        kind: {n: Speed(mb_per_s=s, lines_per_s=s, peak_rss_bytes=1) for n, s in speeds.items()}
        for kind in months
    }
    result = summary(months, found, [Point(factor=1, rows_in=10, seconds=2.0)])
    for place in (result, result["rc"], result["rs"]):
        assert place["ratio_to_zstd"] == pytest.approx(0.5)
        assert place["ratio_to_duckdb"] == pytest.approx(2.0)
        assert place["ratio_to_script"] == pytest.approx(5.0)
    assert result["interactions_scaling"] == [{"factor": 1, "rows_in": 10, "seconds": 2.0}]
    json.dumps(result)


@pytest.mark.engine
def test_scaling_gives_the_step_twice_and_four_times_as_much(tmp_path: Path) -> None:
    points = interactions_scaling(200_000, 0, 1, tmp_path / "months", tmp_path / "work")
    assert [point.factor for point in points] == [1, 2, 4]
    base = points[0].rows_in
    assert points[1].rows_in == pytest.approx(2 * base, rel=0.25)
    assert points[2].rows_in == pytest.approx(4 * base, rel=0.25)
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
@pytest.mark.engine
def test_one_run_prints_a_table_and_writes_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(quick=True, raw_mb=0.2, workers=1, seed=0, out=tmp_path)
    result = json.loads((tmp_path / "ingest.json").read_text())
    assert {"mb_per_s", "lines_per_s", "peak_rss_bytes"} <= set(result["ours"])
    assert result["ratio_to_zstd"] == result["ours"]["mb_per_s"] / result["zstd"]["mb_per_s"]
    assert "script_orjson" in capsys.readouterr().out


def test_memory_is_that_of_the_whole_tree() -> None:
    child = "import time; data = bytearray(b'x') * 80_000_000; time.sleep(0.5)"
    measured = measure(f'true | {sys.executable} -c "{child}"; echo done')
    assert measured.output == "done\n"
    assert measured.peak_rss_bytes > 80_000_000


def test_a_failed_command_is_an_error_with_what_it_printed() -> None:
    with pytest.raises(FailedCommandError, match=r"status 3:\nno such month"):
        measure("echo no such month >&2; exit 3")
