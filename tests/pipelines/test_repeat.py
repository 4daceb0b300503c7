from __future__ import annotations

import threading

import pytest

from pipelines.repeat import repeated


def test_it_is_done_again_and_again_and_no_more_after_the_end() -> None:
    thrice, calls = threading.Event(), [0]

    def act() -> None:
        calls[0] += 1
        if calls[0] == 3:
            thrice.set()

    with repeated(act, 0.001):
        assert thrice.wait(30)
    seen = calls[0]
    assert not threading.Event().wait(0.05) and calls[0] == seen


def test_it_ends_with_what_failed_beside_it() -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), repeated(lambda: None, 0.001):
        raise KeyError
    assert threading.active_count() == before
