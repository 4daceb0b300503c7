"""Work on many chunks in a few processes, results in the order of the chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 3  # Results a process may be ahead of the reader: bounds the memory they take.


class Mapper(Protocol):
    """`map`, lazily, in order, wherever it runs."""

    def __call__(self, function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]: ...


@contextmanager
def processes(workers: int) -> Iterator[Mapper]:
    """A `Mapper` over this many processes; with one, over none but this.

    Raises:
        ValueError: `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least 1")
    if workers == 1:
        yield map
        return
    # spawn: the caller may run threads (Ray, Dagster), which a forked child would inherit broken.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def in_order(function: Callable[[T], R], tasks: Iterable[T], /) -> Iterator[R]:
            waiting: deque[Future[R]] = deque()
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        yield in_order
