import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embed.decode import Decoded, decode
from embed.outcomes import Outcome
from embed.phash import fingerprint
from embed.tiny_clip.pictures import Picture, draw

MAX_PIXELS = 1_000_000
SIDE = 96
CAT = draw(
    Picture(palette="sunset", subject="cat", treatment="flat", composition="centered"),
    np.random.default_rng(0),
    SIDE,
)


def body(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format_, **options)
    return buffer.getvalue()


JPEG, PNG = body(CAT, "JPEG", quality=92), body(CAT, "PNG")


def decoded(content: bytes) -> Decoded:
    result = decode(content, MAX_PIXELS, 64)
    assert isinstance(result, Decoded), result
    return result


def far(first: Image.Image, second: Image.Image) -> float:
    return float(np.abs(np.asarray(first, int) - np.asarray(second, int)).mean())


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "AVIF", "GIF"])
def test_each_format_gives_the_picture(format_: str) -> None:
    found = decoded(body(CAT, format_))
    assert (found.width, found.height, found.picture.mode) == (SIDE, SIDE, "RGB")
    assert far(found.picture, CAT) < 12


def test_a_large_jpeg_is_reduced_while_it_is_decoded_and_keeps_its_size_on_record() -> None:
    found = decoded(body(CAT.resize((960, 960)), "JPEG"))
    assert (found.width, found.height) == (960, 960)
    assert found.picture.size == (120, 120)


def test_a_jpeg_with_a_second_picture_behind_it_is_reduced_while_it_is_decoded() -> None:
    large = CAT.resize((960, 960))
    found = decoded(body(large, "MPO", save_all=True, append_images=[large]))
    assert (found.width, found.height) == (960, 960)
    assert found.picture.size == (120, 120)
    assert far(found.picture.resize(CAT.size), CAT) < 12


def test_a_large_picture_of_a_format_that_cannot_be_reduced_is_so_afterwards() -> None:
    found = decoded(body(CAT.resize((960, 800), Image.Resampling.NEAREST), "PNG"))
    assert (found.width, found.height) == (960, 800)
    assert found.picture.size == (160, 134)
    assert far(found.picture.resize(CAT.size), CAT) < 12


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_of_an_animation_is_taken(format_: str) -> None:
    other = Image.new("RGB", CAT.size, (0, 255, 0))
    moving = body(CAT, format_, save_all=True, append_images=[other, CAT], duration=50)
    assert far(decoded(moving).picture, CAT) < 12


def test_progressive_grey_and_two_tone_pictures_are_decoded() -> None:
    assert far(decoded(body(CAT, "JPEG", quality=92, progressive=True)).picture, CAT) < 12
    grey = CAT.convert("L")
    assert far(decoded(body(grey, "JPEG", quality=92)).picture, grey.convert("RGB")) < 12
    two_tone = CAT.convert("1")
    assert far(decoded(body(two_tone, "PNG")).picture, two_tone.convert("RGB")) < 1


def test_cmyk_and_sixteen_bit_and_palette_give_the_same_picture() -> None:
    assert far(decoded(body(CAT.convert("CMYK"), "JPEG", quality=95)).picture, CAT) < 12
    assert far(decoded(body(CAT.quantize(64), "PNG")).picture, CAT) < 12
    grey = CAT.convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert far(decoded(body(wide, "PNG")).picture, grey.convert("RGB")) < 1


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    assert decoded(body(clear, "PNG")).picture.getpixel((5, 5)) == (255, 255, 255)
    palette = CAT.quantize(16)
    corner = palette.getpixel((0, 0))
    assert isinstance(corner, int)
    found = decoded(body(palette, "PNG", transparency=corner)).picture
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert decoded(body(clear.convert("LA"), "PNG")).picture.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_undone_and_swaps_the_recorded_size(
    orientation: int, format_: str
) -> None:
    tall = CAT.resize((60, 90))
    stored = {
        1: tall,
        2: tall.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: tall.rotate(180),
        4: tall.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: tall.transpose(Image.Transpose.TRANSPOSE),
        6: tall.rotate(90, expand=True),
        7: tall.transpose(Image.Transpose.TRANSVERSE),
        8: tall.rotate(270, expand=True),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decoded(body(stored[orientation], format_, exif=exif, quality=95))
    assert (found.width, found.height) == found.picture.size == (60, 90)
    assert far(found.picture, tall) < 12


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_picture_with_damaged_exif_is_taken_as_it_lies(format_: str) -> None:
    found = decoded(body(CAT, format_, exif=b"Exif\0\0no header of TIFF", quality=95))
    assert far(found.picture, CAT) < 12


def test_a_strip_is_cut_to_its_middle() -> None:
    strip = Image.new("L", (20_000, 2), 0)
    strip.paste(255, (9_990, 0, 10_010, 2))
    found = decoded(body(strip, "PNG"))
    assert (found.width, found.height) == (20_000, 2)
    assert found.picture.size == (16, 2)
    assert np.asarray(found.picture).min() == 255


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"", Outcome.EMPTY),
        (b"<!DOCTYPE html><html><body>gone</body></html>", Outcome.NOT_IMAGE),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', Outcome.NOT_IMAGE),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(64), Outcome.NOT_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Outcome.NOT_IMAGE),
        (JPEG[: len(JPEG) // 2], Outcome.TRUNCATED),
        (PNG[: len(PNG) // 2], Outcome.TRUNCATED),
        (JPEG[:4], Outcome.CORRUPT),
        (PNG[:40] + b"\xff" * 60 + PNG[100:], Outcome.CORRUPT),
    ],
    ids=["empty", "html", "svg", "video", "postscript", "half_jpeg", "half_png", "head", "damaged"],
)
def test_what_is_no_picture_has_its_class(content: bytes, outcome: Outcome) -> None:
    assert decode(content, MAX_PIXELS, 64) is outcome


@pytest.mark.parametrize("side", [1001, 60_000])
def test_a_bomb_is_refused_by_what_it_declares(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = PNG[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = b"IDAT" + zlib.compress(bytes(1000))
    bomb += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    assert decode(bomb, MAX_PIXELS, 64) is Outcome.TOO_MANY_PIXELS


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([JPEG, PNG, body(CAT, "GIF"), body(CAT, "WEBP"), body(CAT, "AVIF")]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 5000),
)
def test_no_damage_escapes_the_classes(
    content: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    result = decode(bytes(damaged[: len(damaged) - cut % len(damaged)]), MAX_PIXELS, 64)
    assert isinstance(result, Decoded | Outcome)


def test_the_hash_is_near_for_a_smaller_copy_and_far_for_another_picture() -> None:
    copy = decoded(body(CAT.resize((72, 72)), "JPEG", quality=60))
    other = draw(
        Picture(palette="sunset", subject="waves", treatment="flat", composition="closeup"),
        np.random.default_rng(1),
        SIDE,
    )
    original = decoded(PNG)
    assert (original.phash ^ copy.phash).bit_count() <= 6
    assert (original.phash ^ decoded(body(other, "PNG")).phash).bit_count() >= 12
    assert (original.phash, original.colours) == fingerprint(CAT)
