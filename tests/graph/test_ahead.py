from __future__ import annotations

import threading

import pytest

from graph.ahead import ahead


def test_values_come_in_order_from_one_other_thread() -> None:
    threads = set()

    def make(number: int) -> int:
        threads.add(threading.get_ident())
        return number * number

    assert list(ahead(make, 5)) == [0, 1, 4, 9, 16]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert list(ahead(make, 0)) == []


def test_the_next_value_is_made_while_one_is_used_and_no_further() -> None:
    made = [threading.Event() for _ in range(4)]

    def make(number: int) -> int:
        made[number].set()
        return number

    values = ahead(make, 4)
    for number in range(3):
        assert next(values) == number
        assert made[number + 1].wait(timeout=10)
        assert not any(event.is_set() for event in made[number + 2 :])


def test_an_error_is_raised_when_its_turn_comes() -> None:
    def make(number: int) -> int:
        if number == 1:
            raise ValueError("the second")
        return number

    values = ahead(make, 3)
    assert next(values) == 0
    with pytest.raises(ValueError, match="the second"):
        next(values)
