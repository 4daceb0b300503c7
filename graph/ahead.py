"""Values made on a thread beside the one that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], count: int) -> Iterator[T]:
    """`make(0)` to `make(count - 1)` in order, the next while the one before is used.

    Raises:
        Exception: Whatever `make` raises, when its turn comes.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make, 0) if count else None
        for number in range(1, count + 1):
            assert coming is not None
            made = coming.result()
            if number < count:
                coming = thread.submit(make, number)
            yield made
