from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from embed.decode import Decoded, decode
from orchestration.bench.decoding import SIDE, ours, plain_pillow
from orchestration.bench.embed import result_table
from orchestration.bench.embedding import Stamp, steady
from orchestration.bench.kills import ACTORS, SHARD, kill_again_and_again
from orchestration.bench.photos import jpeg_bytes, mixed, scene, with_comment

PHOTO = jpeg_bytes(scene(np.random.default_rng(0), 320, 240), 88)


def test_photos_weigh_what_photos_weigh_and_differ_by_seed() -> None:
    bits_a_pixel = len(PHOTO) * 8 / (320 * 240)
    assert 1 < bits_a_pixel < 3
    again, other = (jpeg_bytes(scene(np.random.default_rng(n), 320, 240), 88) for n in (0, 1))
    assert again == PHOTO != other


def test_a_comment_makes_other_bytes_of_the_same_picture() -> None:
    noted = with_comment(PHOTO, "photo 1")
    assert noted != PHOTO
    first, second = (decode(body, 10**6, 64) for body in (PHOTO, noted))
    assert isinstance(first, Decoded) and isinstance(second, Decoded)
    assert first.picture.tobytes() == second.picture.tobytes()


def test_mixed_photos_are_all_different_and_the_same_for_a_seed() -> None:
    made = {name: [PHOTO] for name in ("320", "640", "1080", "1920", "4000")}
    first = list(mixed(made, 50, 3))
    assert len(set(first)) == 50
    assert first == list(mixed(made, 50, 3))


def test_what_is_compared_gives_the_same_picture() -> None:
    fast, plain = ours(PHOTO), plain_pillow(PHOTO)
    assert fast.shape == plain.shape == (SIDE, SIDE, 3)
    assert np.abs(fast.astype(int) - plain.astype(int)).mean() < 4
    turned = np.asarray(Image.fromarray(plain).rotate(180))
    assert np.abs(fast.astype(int) - turned.astype(int)).mean() > 10


@pytest.mark.engine
@pytest.mark.slow
def test_a_run_killed_again_and_again_gives_the_same_table(tmp_path: Path) -> None:
    bodies = [with_comment(PHOTO, str(n)) for n in range(640)]
    found = kill_again_and_again(bodies, 2, 0, tmp_path)
    assert found["kills"] == 2 and found["equal_tables"]
    assert found["num_encoded"] - found["num_images"] == found["reworked"]
    assert 0 <= found["reworked"] <= found["most_reworked"] == 2 * ACTORS * SHARD


def test_the_table_marks_what_misses_its_goal() -> None:
    size = {"ours_per_s": 200.0, "pil_per_s": 100.0, "ratio": 2.0}
    result = {
        "decode": {**size, "by_size": {"1080": size}},
        "http": {"sent": 1000, "accounted": 1000, "private_reached": 0},
    }
    console = Console(record=True, width=120, force_terminal=True)
    console.print(result_table(result))
    shown = console.export_text(styles=True)
    assert "\x1b[31m2.00" in shown and "\x1b[32m1.00" in shown


def test_the_steady_speed_is_that_of_the_time_in_which_every_actor_works() -> None:
    # Two actors, six shards of 10: loading takes 30 s, a shard 10 s, the last one is done alone.
    ends = [0.0, 40.0, 40.0, 50.0, 50.0, 60.0, 70.0]
    stamps = [Stamp(at_s=at, done=10.0 * n, cpu_s=2 * at) for n, at in enumerate(ends)]
    assert steady(stamps, 2) == (30 / 20, 40 / 30)
    assert steady(stamps[:4], 2) is None
