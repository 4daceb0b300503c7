"""What engines print of themselves stays off the terminal, and nothing else does."""

from __future__ import annotations

import os

import pytest

from orchestration.engines import without_notice


def test_only_the_notice_of_the_core_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), without_notice():
        os.write(2, b"[I 1 1] logging.cc:303: Set ray log level from environment variable X to 3\n")
        os.write(2, b"no memory\n")
        raise RuntimeError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "no memory\nafter\n"
