from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.locks import held


def test_a_second_owner_is_told_and_the_next_one_is_let_in(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    busy = RuntimeError("busy")
    with held(file, busy), pytest.raises(RuntimeError, match="busy"), held(file, busy):
        pass
    with held(file, RuntimeError("busy")):
        pass


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from pipelines.locks import held\n"
        "with held(Path(sys.argv[1]), RuntimeError('busy')): print('held', flush=True); "
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match="busy"), held(file, RuntimeError("busy")):
            pass
        owner.kill()
    with held(file, RuntimeError("busy")):
        pass
