from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graph.arrays import ArrayWriter


def test_pieces_become_one_array(tmp_path: Path) -> None:
    path, rows = tmp_path / "x.npy", np.arange(60_000, dtype=np.int32).reshape(-1, 3)
    with ArrayWriter(path, np.int32, 3) as out:
        for part in np.array_split(rows, 7):
            out.append(part)
        assert out.rows == 20_000
    assert np.array_equal(np.load(path, mmap_mode="r"), rows)


def test_nothing_becomes_an_empty_array(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "x.npy", np.int64):
        pass
    assert np.load(tmp_path / "x.npy").shape == (0,)


def test_other_types_and_widths_are_refused(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "x.npy", np.float16, 2) as out:
        with pytest.raises(ValueError, match="holds float16"):
            out.append(np.zeros((1, 2), dtype=np.float32))
        with pytest.raises(ValueError, match="holds float16"):
            out.append(np.zeros((1, 3), dtype=np.float16))
