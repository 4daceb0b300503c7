from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard

from pipelines.containers import CorruptDumpError, Damage, LineBatch, read_batches

LINES = [f'{{"id": "{n:x}", "body": "größe \U0001f600 {n * n}"}}'.encode() for n in range(3000)]
TEXT = b"\n".join(LINES) + b"\n"
SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"hello"


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zst_wide(data: bytes) -> bytes:
    """One frame as monthly dumps are: window 2 GiB, no content size."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, window_log=31, write_content_size=False, write_checksum=True, enable_ldm=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(data) + compressor.flush()


def zst_blocks(data: bytes, rows_per_block: int = 256) -> bytes:
    """As arctic_shift's writer makes them; rows have no newlines."""
    rows, blocks = data.split(b"\n"), []
    if rows[-1] == b"":
        rows.pop()
    for start in range(0, len(rows), rows_per_block):
        block_rows, places, offset = rows[start : start + rows_per_block], b"", 0
        for row in block_rows:
            places += struct.pack("<II", offset, len(row))
            offset += len(row)
        block = struct.pack("<I", len(block_rows)) + places + b"".join(block_rows)
        frame = zstandard.compress(block)
        blocks.append(struct.pack("<I", len(frame)) + frame)
    return b"".join(blocks)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".zst": zst,
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
}
PLAIN: dict[str, Callable[[bytes], bytes]] = {".ndjson": bytes, "": bytes}


def read(path: Path, data: bytes, batch_bytes: int = 4096) -> list[LineBatch]:
    path.write_bytes(data)
    return list(read_batches(path, batch_bytes))


def salvage(path: Path, data: bytes) -> tuple[bytes, CorruptDumpError]:
    """What a damaged file gives, and the error that ends it."""
    path.write_bytes(data)
    got = b""
    with pytest.raises(CorruptDumpError) as caught:
        for batch in read_batches(path, 4096):
            got += batch.data
    return got, caught.value


@pytest.mark.parametrize("suffix", [*PACKERS, *PLAIN])
@pytest.mark.parametrize("text", [TEXT, TEXT[:-1], b"", b"\n", b"x"])
def test_all_containers_give_all_bytes(suffix: str, text: bytes, tmp_path: Path) -> None:
    packed = (PACKERS | PLAIN)[suffix](text)
    batches = read(tmp_path / f"RC{suffix}", packed)
    assert b"".join(batch.data for batch in batches) == text
    assert all(batch.data.endswith(b"\n") for batch in batches[:-1])
    if batches:
        assert batches[-1].offset_bytes <= len(packed)


def test_batches_are_numbered_by_their_first_line(tmp_path: Path) -> None:
    batches = read(tmp_path / "RC.ndjson", TEXT[:-1])
    assert len(batches) > 2
    expected = 1
    for batch in batches:
        assert batch.first_line == expected
        expected += batch.num_lines
    assert expected == len(LINES) + 1


@pytest.mark.parametrize("suffix", PACKERS)
def test_streams_after_each_other_are_one_file(suffix: str, tmp_path: Path) -> None:
    pack, cut = PACKERS[suffix], len(TEXT) // 3 + 1
    batches = read(tmp_path / f"RC{suffix}", pack(TEXT[:cut]) + pack(b"") + pack(TEXT[cut:]))
    assert b"".join(batch.data for batch in batches) == TEXT


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_skippable_frames_are_skipped(place: str, tmp_path: Path) -> None:
    half = TEXT.index(b"\n", len(TEXT) // 2) + 1
    frames = [zst(TEXT[:half]), zst(TEXT[half:])]
    frames.insert({"before": 0, "between": 1, "after": 2}[place], SKIPPABLE)
    batches = read(tmp_path / "RC.zst", b"".join(frames))
    assert b"".join(batch.data for batch in batches) == TEXT


def test_frames_with_the_window_of_monthly_dumps_are_read(tmp_path: Path) -> None:
    packed = zst_wide(TEXT)
    assert zstandard.get_frame_parameters(packed).window_size == 2**31
    batches = read(tmp_path / "RC.zst", packed)
    assert b"".join(batch.data for batch in batches) == TEXT


@pytest.mark.parametrize("suffix", [".xz", ".gz"])
def test_padding_is_no_damage_where_the_format_has_it(suffix: str, tmp_path: Path) -> None:
    packed = PACKERS[suffix](TEXT)
    batches = read(tmp_path / f"RC{suffix}", packed + b"\0" * 8 + packed + b"\0" * 512)
    assert b"".join(batch.data for batch in batches) == TEXT * 2


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_detected_and_its_lines_saved(
    suffix: str, share: float, tmp_path: Path
) -> None:
    # Random digits, so that the file is longer than one compressed block and some of it is saved.
    rng = random.Random(0)
    lines = [b"%x" % rng.getrandbits(512) for _ in range(16_000)]
    packed = PACKERS[suffix](b"\n".join(lines))
    cut = packed[: int(len(packed) * share)]
    got, error = salvage(tmp_path / f"RC{suffix}", cut)
    assert got == b"\n".join(lines)[: len(got)]
    assert error.lines_saved == got.count(b"\n")
    assert error.damages[0].offset_bytes == len(cut)
    assert "middle of a frame" in str(error) and f"RC{suffix}" in str(error)
    if share >= 0.5 and suffix != ".xz":
        assert error.lines_saved > 100


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_cut_in_the_second_stream_is_detected(suffix: str, tmp_path: Path) -> None:
    pack = PACKERS[suffix]
    for tail in (pack(TEXT)[:3], pack(TEXT)[:-1]):
        got, _ = salvage(tmp_path / f"RC{suffix}", pack(TEXT) + tail)
        assert got.startswith(TEXT)


@pytest.mark.parametrize("suffix", [".zst", ".bz2"])
def test_zeros_behind_the_data_are_a_failed_download(suffix: str, tmp_path: Path) -> None:
    got, error = salvage(tmp_path / f"RC{suffix}", PACKERS[suffix](TEXT) + b"\0" * 4096)
    assert got == TEXT
    assert error.lines_saved == len(LINES)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_flipped_bit_is_detected(suffix: str, tmp_path: Path) -> None:
    packed = bytearray(PACKERS[suffix](TEXT))
    packed[len(packed) // 2] ^= 1
    salvage(tmp_path / f"RC{suffix}", bytes(packed))


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_that_is_not_what_its_name_says_is_corrupt(suffix: str, tmp_path: Path) -> None:
    got, error = salvage(tmp_path / f"RC{suffix}", TEXT)
    assert got == b"" and error.lines_saved == 0


@pytest.mark.parametrize("suffix", PACKERS)
def test_any_damage_is_an_error_or_harmless(suffix: str, tmp_path: Path) -> None:
    """Mutated containers never crash the reader, and never change a line silently."""
    rng = random.Random(7)
    packed = PACKERS[suffix](TEXT)
    for case in range(40):
        data = bytearray(packed)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / f"{case}{suffix}"
        path.write_bytes(data)
        got: list[bytes] = []
        try:
            got.extend(batch.data for batch in read_batches(path, 4096))
        except CorruptDumpError as error:
            assert error.lines_saved == b"".join(got).count(b"\n")
        else:
            assert b"".join(got) == TEXT


def test_plain_names_may_hold_compressed_data(tmp_path: Path) -> None:
    assert b"".join(b.data for b in read(tmp_path / "RC_2011-01", zst(TEXT))) == TEXT


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (batch,) = read(tmp_path / "RC.json", b"\xef\xbb\xbf{}\n\xef\xbb\xbf")
    assert batch.data == b"{}\n\xef\xbb\xbf"


def test_characters_at_chunk_edges_stay_whole(tmp_path: Path) -> None:
    text = ("\U0001f600" * 50_000 + "\n").encode() * 3
    for shift in range(4):
        data = b"a" * shift + text
        batches = read(tmp_path / "RC.ndjson", data, batch_bytes=1)
        assert [batch.data for batch in batches] == data.splitlines(keepends=True)


def test_a_file_without_newlines_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.containers.MAX_LINE_BYTES", 1 << 17)
    _, error = salvage(tmp_path / "RC.zst", zst(b"0" * (1 << 20)))
    assert "no newline" in error.damages[0].cause


def test_monthly_dumps_are_whole(shared_data: Path) -> None:
    months = shared_data / "reddit" / "months"
    for name, num_lines in (("RC_2005-12.zst", 1075), ("RC_2006-01.zst", 3666)):
        batches = list(read_batches(months / name))
        assert sum(batch.num_lines for batch in batches) == num_lines


def test_half_a_monthly_dump_is_detected(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "reddit" / "months" / "RC_2006-01.zst").read_bytes()
    got, error = salvage(tmp_path / "RC_2006-01.zst", data[: len(data) // 2])
    assert 0 < error.lines_saved < 3666 and got.count(b"\n") == error.lines_saved


def test_a_cut_at_any_byte_is_detected_and_all_before_is_saved(tmp_path: Path) -> None:
    """Against frame ends that are known because the frames were made here."""
    lines = [f"{n * n * n:x} größe\n".encode() for n in range(400)]
    text = b"".join(lines)
    thirds = [b"".join(lines[n::3]) for n in range(3)]
    frames = [zst(thirds[0]), SKIPPABLE, zst_wide(thirds[1]), zst(b""), zst(thirds[2])]
    packed, ends, size = b"".join(frames), set[int](), 0
    for frame in frames:
        size += len(frame)
        ends.add(size)
    assert len(packed) < len(text)
    for cut in range(len(packed)):
        if cut in ends:
            assert b"".join(b.data for b in read(tmp_path / "RC.zst", packed[:cut])) in {
                b"".join(thirds[:n]) for n in range(3)
            }
            continue
        got, error = salvage(tmp_path / "RC.zst", packed[:cut])
        assert b"".join(thirds).startswith(got)
        assert (error.damages[0].offset_bytes, error.lines_saved) == (cut, got.count(b"\n"))


def test_a_cut_frame_gives_what_the_zstd_program_gives(tmp_path: Path) -> None:
    rng = random.Random(1)
    packed = zst(b"\n".join(b"%x" % rng.getrandbits(rng.randrange(8, 4000)) for _ in range(2000)))
    for cut in range(len(packed) // 2, len(packed), len(packed) // 37):
        path = tmp_path / "RC.zst"
        got, _ = salvage(path, packed[:cut])
        expected = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=False)
        assert got == expected.stdout


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_file_that_unfolds_ten_thousandfold_takes_little_memory(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"RC{suffix}"
    path.write_bytes(PACKERS[suffix]((b"0" * 1023 + b"\n") * (1 << 16)))
    tracemalloc.start()
    num_lines = sum(batch.num_lines for batch in read_batches(path, 1 << 16))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_lines == 1 << 16
    assert peak_bytes < 8 << 20


def decoder_threads() -> int:
    return sum(thread.name == "decoder" for thread in threading.enumerate())


def test_closing_early_ends_the_thread(tmp_path: Path) -> None:
    path = tmp_path / "RC.ndjson"
    path.write_bytes(TEXT * 20)
    batches = read_batches(path, 4096)
    next(batches)
    assert decoder_threads() == 1
    assert isinstance(batches, Generator)
    batches.close()
    assert decoder_threads() == 0


def test_no_more_is_decoded_ahead_than_was_said(tmp_path: Path) -> None:
    path = tmp_path / "RC.ndjson"
    for ahead in (1, 3):
        path.write_bytes(TEXT * 20)
        batches = read_batches(path, 4096, ahead=ahead)
        next(batches)
        time.sleep(0.05)
        path.write_bytes(b"")  # what was not read by now is gone
        assert len(list(batches)) <= ahead + 1


def test_an_error_of_the_system_reaches_the_reader(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"RC\.zst"):
        list(read_batches(tmp_path / "RC.zst"))
    assert decoder_threads() == 0


def test_rows_of_blocks_are_lines(tmp_path: Path) -> None:
    for name in ("RS_2023-04.zst_blocks", "RS_2023-04"):
        batches = read(tmp_path / name, zst_blocks(TEXT))
        assert b"".join(batch.data for batch in batches) == TEXT
        assert sum(batch.num_lines for batch in batches) == len(LINES)


def test_rows_of_blocks_may_lie_anywhere_in_them(tmp_path: Path) -> None:
    block = struct.pack("<IIIIIII", 3, 4, 2, 0, 2, 2, 0) + b"abXXcd"
    frame = zstandard.compress(block)
    (batch,) = read(tmp_path / "RC.zst_blocks", struct.pack("<I", len(frame)) + frame)
    assert batch.data == b"cd\nab\n\n"


def test_blocks_cut_at_any_byte_give_the_blocks_before(tmp_path: Path) -> None:
    blocks = [zst_blocks(b"%d\n%d\n" % (n, n * n)) for n in range(5)]
    ends = [sum(map(len, blocks[:n])) for n in range(6)]
    packed = b"".join(blocks)
    for cut in range(len(packed)):
        whole = sum(end <= cut for end in ends) - 1
        expected = b"".join(b"%d\n%d\n" % (n, n * n) for n in range(whole))
        if cut in ends and cut:
            (batch,) = read(tmp_path / "RC.zst_blocks", packed[:cut])
            assert batch.data == expected
            continue
        got, error = salvage(tmp_path / "RC.zst_blocks", packed[:cut])
        assert got == expected
        assert (error.damages[0].offset_bytes, error.lines_saved) == (ends[whole], 2 * whole)
        assert "middle of a frame" in error.damages[0].cause


def damaged_blocks() -> dict[str, bytes]:
    def block(data: bytes) -> bytes:
        frame = zstandard.compress(data)
        return struct.pack("<I", len(frame)) + frame

    frame = zstandard.compress(struct.pack("<III", 1, 0, 2) + b"{}")
    return {
        "huge": struct.pack("<I", 2**31) + b"x" * 100,
        "no frame": struct.pack("<I", 100) + b"x" * 100,
        "two frames": struct.pack("<I", 2 * len(frame)) + frame * 2,
        "more rows than fit": block(struct.pack("<I", 2**32 - 1) + b"{}"),
        "row beyond the end": block(struct.pack("<III", 1, 1, 2) + b"{}"),
        "no number of rows": block(b"ab"),
        "the same bytes in every row": block(
            struct.pack("<I", 999) + struct.pack("<II", 0, 9_000) * 999 + b"x" * 9_000
        ),
        "a plain zst": zst(TEXT),
        "unfolds beyond all bounds": (
            struct.pack("<I", 14) + b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**40) + b"\1"
        ),
    }


@pytest.mark.parametrize("damage", damaged_blocks())
def test_a_damaged_block_is_detected(damage: str, tmp_path: Path) -> None:
    got, error = salvage(tmp_path / "RC.zst_blocks", zst_blocks(TEXT) + damaged_blocks()[damage])
    assert got == TEXT
    assert error.lines_saved == len(LINES)
    assert error.damages[0].offset_bytes == len(zst_blocks(TEXT))
    assert "damaged" in error.damages[0].cause


def test_the_errors_text_says_what_is_lost_and_what_to_do() -> None:
    damages = (
        Damage("a block is damaged", 1234, 5678, 56),
        Damage("the file ends", 9000, None, 80),
    )
    error = CorruptDumpError("RC_2020-01.zst", damages, 99)
    assert "--on-corrupt keep" in str(error) and "download it again" in str(error)
    assert "a block is damaged at byte 1234, after 56 whole lines" in str(error)
    assert error.note == (
        "a block is damaged at bytes 1234 to 5678: 56 whole lines before and 43 behind are kept; "
        "the file ends at byte 9000: 80 whole lines before and 19 behind are kept"
    )


def kept(path: Path, data: bytes) -> tuple[list[LineBatch], tuple[Damage, ...]]:
    """What a damaged file gives in all, and the spans that it does not."""
    path.write_bytes(data)
    batches: list[LineBatch] = []
    try:
        batches.extend(read_batches(path, 4096, past_damage=True))
    except CorruptDumpError as error:
        assert error.lines_saved == sum(batch.num_newlines for batch in batches)
        return batches, error.damages
    return batches, ()


MANY: dict[str, Callable[[bytes], bytes]] = PACKERS | {
    ".zst_blocks": lambda data: zst_blocks(data, rows_per_block=1 << 20)
}
NUM_FRAMES = 5


def framed(suffix: str, cut_lines: bool) -> tuple[list[bytes], list[bytes]]:
    """Texts, and the frames that hold one each; lines are longer than what zst guesses."""
    rng = random.Random(4)
    lines = [b'{"id": "%x", "body": "%x"}' % (n, rng.getrandbits(256)) for n in range(2_000)]
    text = b"\n".join(lines) + b"\n"
    ends = [len(text) * n // NUM_FRAMES for n in range(NUM_FRAMES + 1)]
    if not cut_lines:
        ends = [0, *(text.index(b"\n", end) + 1 for end in ends[1:-1]), len(text)]
    texts = [text[a:b] for a, b in pairwise(ends)]
    return texts, [MANY[suffix](one) for one in texts]


def flipped(frame: bytes) -> bytes:
    return (
        frame[: len(frame) // 2]
        + bytes([frame[len(frame) // 2] ^ 0x10])
        + frame[len(frame) // 2 + 1 :]
    )


def zeroed(frame: bytes) -> bytes:
    size = len(frame)
    return frame[: size // 3] + bytes(size // 3) + frame[size // 3 * 2 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flipped,
    "zeroed": zeroed,
    "head zeroed": lambda frame: bytes(20) + frame[20:],
    "all zeroed": lambda frame: bytes(len(frame)),
    "truncated": lambda frame: frame[: len(frame) // 2],
    "a byte missing": lambda frame: frame[:9] + frame[10:],
}


@pytest.mark.parametrize("cut_lines", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", [0, 2, NUM_FRAMES - 1])
@pytest.mark.parametrize("suffix", MANY)
def test_frames_around_a_damaged_one_are_kept(
    suffix: str, which: int, damage: str, cut_lines: bool, tmp_path: Path
) -> None:
    if cut_lines and suffix == ".zst_blocks":
        return  # its rows are never cut
    texts, frames = framed(suffix, cut_lines)
    begin = sum(len(frame) for frame in frames[:which])
    frames[which] = DAMAGES[damage](frames[which])
    batches, damages = kept(tmp_path / f"RC{suffix}", b"".join(frames))
    got = b"".join(batch.data for batch in batches)
    before, behind = b"".join(texts[:which]), b"".join(texts[which + 1 :])
    assert got.startswith(before) and got.endswith(behind)
    saved = got[len(before) : len(got) - len(behind)]
    if damage in ("head zeroed", "all zeroed"):  # else bytes may be wrong before it is noticed
        assert texts[which].startswith(saved)
    end_bytes = begin + len(frames[which])
    if not damages:
        # Whole streams of zeros are padding to some formats; blocks have no checksum.
        is_padding = damage == "all zeroed" and suffix in (".xz", ".gz") and which
        assert is_padding or (damage == "flipped" and suffix == ".zst_blocks")
        return
    (found,) = damages
    assert found.cause.startswith(suffix[1:])
    assert begin <= found.offset_bytes <= end_bytes
    assert found.end_bytes == (None if which == NUM_FRAMES - 1 else end_bytes)
    assert found.lines_before == (before + saved).count(b"\n")
    cut = [number for batch in batches for number in batch.cut_lines]
    lines = [line for batch in batches for line in batch.data.splitlines()]
    assert cut == sorted(set(cut)) and len(cut) <= 2
    if cut_lines and which == 2:
        assert not lines[cut[-1] - 1].startswith(b"{")


def test_damage_in_several_places_is_told_place_by_place(tmp_path: Path) -> None:
    texts, frames = framed(".zst", cut_lines=False)
    whole = [*texts]
    for which in (1, 3):
        frames[which], whole[which] = bytes(50) + frames[which][50:], b""
    batches, damages = kept(tmp_path / "RC.zst", SKIPPABLE.join(frames))
    assert b"".join(batch.data for batch in batches) == b"".join(whole)
    lines = [text.count(b"\n") for text in whole]
    assert [damage.lines_before for damage in damages] == [sum(lines[:1]), sum(lines[:3])]
    assert damages[0].end_bytes == sum(map(len, frames[:2])) + 2 * len(SKIPPABLE)


def test_a_line_is_not_joined_across_damage(tmp_path: Path) -> None:
    frames = [zst(b"one\ntw"), zst(b"x" * 100), zst(b"o\nthree\n")]
    frames[1] = bytes(len(frames[1]))
    batches, _ = kept(tmp_path / "RC.zst", b"".join(frames))
    assert [(b.data, b.cut_lines) for b in batches] == [(b"one\ntw", (2,)), (b"o\nthree\n", (3,))]


def test_a_skippable_frame_of_a_wrong_size_hides_nothing(tmp_path: Path) -> None:
    wrong = SKIPPABLE[:4] + struct.pack("<I", 1 << 30) + b"hello"
    half = TEXT.index(b"\n", len(TEXT) // 2) + 1
    head = zst(TEXT[:half])
    batches, (damage,) = kept(tmp_path / "RC.zst", head + wrong + zst(TEXT[half:]))
    assert b"".join(batch.data for batch in batches) == TEXT
    assert (damage.offset_bytes, damage.end_bytes) == (len(head), len(head) + len(wrong))


def test_what_looks_like_a_frame_is_tried_and_passed_over(tmp_path: Path) -> None:
    first, last = zst(b"first\n"), zst(b"last\n")
    noise = b"\x28\xb5\x2f\xfd" + b"\xff" * 40
    batches, (damage,) = kept(tmp_path / "RC.zst", first + noise * 9 + last)
    assert [batch.data for batch in batches] == [b"first\n", b"last\n"]
    assert damage.end_bytes == len(first + noise * 9)


@pytest.mark.parametrize("suffix", MANY)
def test_any_damage_leaves_most_of_many_frames(suffix: str, tmp_path: Path) -> None:
    texts, frames = framed(suffix, cut_lines=False)
    rng, packed = random.Random(11), b"".join(frames)
    for case in range(60):
        data = bytearray(packed)
        at = rng.randrange(len(data))
        match case % 3:
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 300] = bytes(len(data[at : at + 300]))
            case 2:
                del data[at : at + rng.randrange(1, 2000)]
        batches, damages = kept(tmp_path / f"RC{suffix}", bytes(data))
        got = b"".join(batch.data for batch in batches)
        assert sum(text in got for text in texts) >= NUM_FRAMES - 2
        if suffix != ".zst_blocks":  # which has no checksums
            assert damages or got == b"".join(texts)
