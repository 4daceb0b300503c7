from collections.abc import Iterator

import pytest

from orchestration.sample.parallel import processes


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    with processes(workers) as map_in_order:
        assert list(map_in_order(abs, range(-40, 0))) == list(range(40, 0, -1))


def test_tasks_are_not_all_taken_at_once() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    with processes(2) as map_in_order:
        results = map_in_order(abs, tasks())
        assert next(results) == 0
        assert len(taken) < 20


def test_an_error_in_a_process_reaches_the_reader() -> None:
    with processes(2) as map_in_order, pytest.raises(ZeroDivisionError):
        list(map_in_order(float(1).__truediv__, [1.0, 0.0]))


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="workers=0"), processes(0):
        pass
