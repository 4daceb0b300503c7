"""The window of requests, by a clock that the test moves and a server that is a function."""

from __future__ import annotations

import asyncio

import pytest

from persona import pacing
from persona.pacing import MAX_FAILURES, HopelessError, Pacing, TransientError


def test_the_window_halves_once_a_round_and_grows_back() -> None:
    """A server that takes four at once, and refuses the others."""
    under_way, most, refused = 0, 0, 0

    async def ask() -> str:
        nonlocal under_way, most, refused
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.002)
            if under_way > 4:
                refused += 1
                raise TransientError(0.001)
            return "answer"
        finally:
            under_way -= 1

    async def run() -> tuple[list[str], float]:
        window = Pacing(64, 60.0)
        answers = await asyncio.gather(*(window.run(ask) for _ in range(300)))
        return answers, window.window

    answers, window = asyncio.run(run())
    assert answers == ["answer"] * 300
    assert most == 64
    assert 1 <= window <= 8  # about what the server takes
    assert refused < 300  # without a window nearly all would be refused again and again


def test_a_window_of_successes_stays_whole() -> None:
    async def ask() -> int:
        return 1

    async def run() -> tuple[int, float, int]:
        window = Pacing(5, 1.0)
        total = sum(await asyncio.gather(*(window.run(ask) for _ in range(50))))
        return total, window.window, window.retries

    assert asyncio.run(run()) == (50, 5.0, 0)


def test_patience_ends_where_nobody_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "FIRST_WAIT_S", 0.001)
    clock = [0.0]
    asked: list[float] = []

    async def ask() -> str:
        clock[0] += 10.0
        asked.append(clock[0])
        raise TransientError from ValueError("down")

    with pytest.raises(TransientError) as caught:
        asyncio.run(Pacing(3, 35.0, now=lambda: clock[0]).run(ask))
    assert isinstance(caught.value.__cause__, ValueError)
    assert asked == [10.0, 20.0, 30.0, 40.0]


def test_one_answer_renews_our_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "FIRST_WAIT_S", 0.001)
    clock = [0.0]
    steps = iter([False, False, True, False, False, False, True])

    async def ask() -> str:
        clock[0] += 10.0
        if next(steps):
            return "answer"
        raise TransientError

    async def run() -> list[str]:
        window = Pacing(1, 35.0, now=lambda: clock[0])
        return [await window.run(ask), await window.run(ask)]

    assert asyncio.run(run()) == ["answer", "answer"]


def test_other_errors_go_through_and_free_their_place() -> None:
    async def broken() -> str:
        raise KeyError("other")

    async def fine() -> str:
        return "answer"

    async def run() -> str:
        window = Pacing(1, 1.0)
        with pytest.raises(KeyError):
            await window.run(broken)
        return await window.run(fine)

    assert asyncio.run(run()) == "answer"


def test_a_request_that_always_fails_is_given_up_if_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing, "FIRST_WAIT_S", 0.0001)
    monkeypatch.setattr(pacing, "LONGEST_WAIT_S", 0.001)
    asked = {"poison": 0, "busy": 0}

    async def fine() -> str:
        await asyncio.sleep(0.002)
        return "answer"

    async def poison() -> str:
        asked["poison"] += 1
        raise TransientError from ValueError("crashed")

    async def busy() -> str:
        asked["busy"] += 1
        if asked["busy"] < 3 * MAX_FAILURES:
            raise TransientError(is_busy=True)
        return "answer"

    async def run() -> list[str | BaseException]:
        window = Pacing(3, 60.0)
        work = [poison, busy, *[fine] * 200]
        return await asyncio.gather(*(window.run(ask) for ask in work), return_exceptions=True)

    failed, *answers = asyncio.run(run())
    assert isinstance(failed, HopelessError) and isinstance(failed.__cause__, TransientError)
    assert answers == ["answer"] * 201
    assert asked["poison"] >= MAX_FAILURES
