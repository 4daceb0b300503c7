from pathlib import Path

import zstandard

from orchestration.sample.activity import month_bounds
from tests.orchestration.sample.worlds import SMALL, dumps, objects, raw_lines


def test_a_dump_for_each_kind_and_month(small_world: Path) -> None:
    names = sorted(path.name for path in (small_world / "dumps").iterdir())
    assert names == sorted(f"{kind}_{m}.zst" for kind in ("RS", "RC") for m in SMALL.months)


def test_a_dump_is_one_frame_with_a_window_of_2_gib_and_a_checksum(small_world: Path) -> None:
    for path in (small_world / "dumps").iterdir():
        data = path.read_bytes()
        frame = zstandard.get_frame_parameters(data)
        assert (frame.window_size, frame.has_checksum) == (2**31, True)
        assert frame.content_size == zstandard.CONTENTSIZE_UNKNOWN
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
        assert decompressor.decompress(data)
        assert decompressor.eof and not decompressor.unused_data


def test_the_usual_tools_refuse_the_window(small_world: Path) -> None:
    """So that a reader which forgot about it fails here, as on real dumps."""
    path = dumps(small_world, "RC")[0]
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        try:
            reader.read(1)
        except zstandard.ZstdError as error:
            assert "memory" in str(error)
        else:
            raise AssertionError("read without a larger window")


def test_lines_are_in_order_of_time_and_in_their_month(small_world: Path) -> None:
    for kind in ("RS", "RC"):
        for month, path in zip(SMALL.months, dumps(small_world, kind), strict=True):
            times = [int(value["created_utc"]) for value in objects(path)]
            first, after = month_bounds(month)
            assert times == sorted(times) and first <= times[0] and times[-1] < after


def test_ids_are_unique_over_all_dumps_but_for_duplicates(small_world: Path) -> None:
    for kind in ("RS", "RC"):
        seen: dict[str, set[object]] = {}
        for path in dumps(small_world, kind):
            for value in objects(path):
                seen.setdefault(value["id"], set()).add((path.name, value["permalink"]))
        assert all(len(versions) == 1 for versions in seen.values())


def test_keys_are_sorted(small_world: Path) -> None:
    for value in objects(dumps(small_world, "RC")[0]):
        assert list(value) == sorted(value)


def test_lines_hold_no_carriage_return_and_none_is_blank(small_world: Path) -> None:
    for path in (small_world / "dumps").iterdir():
        assert all(line.strip() and b"\r" not in line for line in raw_lines(path))
