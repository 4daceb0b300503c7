from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CALLED = """
from pipelines.compiled import compiled

@compiled()
def step(x):
    return x + {added}
"""
CALLING = """
from called import step
from pipelines.compiled import compiled

@compiled()
def twice(x):
    return step(step(x))

if __name__ == "__main__":
    from calling import twice
    print(twice(1), sum(twice.stats.cache_hits.values()))
"""


def run(folder: Path, added: int, env: dict[str, str]) -> str:
    (folder / "called.py").write_text(CALLED.format(added=added))
    (folder / "calling.py").write_text(CALLING)
    command = [sys.executable, str(folder / "calling.py")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_kernel_is_kept_until_one_that_it_calls_changes(tmp_path: Path, elsewhere: bool) -> None:
    root = str(Path(__file__).parents[2])
    env = {"PYTHONPATH": root, "HOME": str(tmp_path)}
    if elsewhere:
        env["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    assert run(tmp_path, 1, env) == "3 0"
    assert run(tmp_path, 1, env) == "3 1"
    assert run(tmp_path, 10, env) == "21 0"
