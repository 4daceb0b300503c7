from __future__ import annotations

import base64
import hashlib
import stat
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines.contract import ConfigError, MissingInputError
from pipelines.pseudonym import Pseudonyms, new_key_file

KEY = b"0123456789abcdef"


def test_an_id_is_80_bits_of_a_keyed_hash_of_the_lower_case_name() -> None:
    digest = hashlib.blake2b(b"someone_1", digest_size=10, key=KEY).digest()
    expected = base64.b32encode(digest).decode().lower()
    assert Pseudonyms(KEY).user_id("SomeOne_1") == expected


def test_ids_in_bulk_are_those_one_by_one() -> None:
    names = ["b", "A", "a", "B", "c", "A"]
    bulk = Pseudonyms(KEY)
    expected = [Pseudonyms(KEY).user_id(name) for name in names]
    assert bulk.user_ids(names) == expected
    assert bulk.user_ids(["A", "new"]) == [expected[1], Pseudonyms(KEY).user_id("new")]
    assert bulk.user_ids([]) == []


def test_ids_of_names_in_memory_are_those_of_the_library() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([1, 3, 10, 20, 30, 31, 127, 128])
    offsets = np.concatenate([[5], 5 + np.cumsum(sizes)])
    data = rng.integers(0, 256, offsets[-1], dtype=np.uint8)
    names = [data[a:b].tobytes() for a, b in pairwise(offsets)]
    for key in (KEY, KEY * 4, KEY * 9):
        shared = Pseudonyms(key)
        assert shared.ids_in(data, offsets) == shared.ids_of(names)
    assert Pseudonyms(KEY).ids_in(data, offsets[:1]) == b""


def test_an_empty_name_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="names of 0 to 2 bytes"):
        Pseudonyms(KEY).ids_in(np.zeros(2, np.uint8), np.array([0, 0, 2]))


def test_threads_that_forget_names_do_not_disturb_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.pseudonym._MAX_REMEMBERED", 2)
    shared = Pseudonyms(KEY)

    class Interrupted(list[str]):
        """Names; whenever they are read, another thread comes between and forgets all it knew."""

        def __iter__(self) -> Iterator[str]:
            shared.user_ids(["x", "y", "z"])
            shared.user_ids(["v"])
            return super().__iter__()

    names = ["a", "b", "c"]
    expected = Pseudonyms(KEY).user_ids(names)
    assert shared.user_ids(Interrupted(names)) == expected


def test_another_key_gives_other_ids() -> None:
    assert Pseudonyms(KEY).user_id("a") != Pseudonyms(KEY[::-1]).user_id("a")


def test_a_new_key_is_random_and_its_owners_alone(tmp_path: Path) -> None:
    one, two = new_key_file(tmp_path / "deep" / "key"), new_key_file(tmp_path / "other")
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert one.read_bytes() != two.read_bytes()
    assert Pseudonyms.from_file(one).user_id("a") == Pseudonyms.from_file(str(one)).user_id("a")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = new_key_file(tmp_path / "key")
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        new_key_file(path)
    assert path.read_bytes() == before


def test_a_missing_key_says_which_to_name(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"nokey.*name the one that the first run made"):
        Pseudonyms.from_file(tmp_path / "nokey")


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"0123456789abcde \n")
    with pytest.raises(ConfigError, match=r"key.*15 bytes, expected at least 16"):
        Pseudonyms.from_file(path)


def test_the_key_is_not_shown() -> None:
    assert "0123" not in repr(Pseudonyms(KEY))


def test_a_long_key_counts_to_its_end() -> None:
    one, other = Pseudonyms(b"k" * 99 + b"1"), Pseudonyms(b"k" * 99 + b"2")
    assert one.user_id("a") != other.user_id("a")
