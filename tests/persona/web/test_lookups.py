import asyncio
import threading
from collections.abc import Sequence

import pytest

from persona.web.lookups import Lookups, Row


class Store:
    """Answers when it is told to; notes what it was asked for together."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.go = threading.Event()

    def read(self, user_ids: Sequence[str]) -> dict[str, Row]:
        self.asked.append(set(user_ids))
        assert self.go.wait(10)
        if "bad" in user_ids:
            raise ValueError("unreadable")
        return {user_id: {"user_id": user_id} for user_id in user_ids if user_id != "nobody"}


async def looked_up(
    store: Store, first: str, others: Sequence[str], most: int = 256
) -> list[Row | BaseException | None]:
    lookups = Lookups(store.read, most)
    tasks = [asyncio.create_task(lookups.row(first))]
    while not store.asked:
        await asyncio.sleep(0.001)
    tasks += [asyncio.create_task(lookups.row(user_id)) for user_id in others]
    await asyncio.sleep(0)
    store.go.set()
    return list(await asyncio.gather(*tasks, return_exceptions=True))


def test_those_that_come_during_a_read_go_together() -> None:
    store = Store()
    found = asyncio.run(looked_up(store, "ann", ["bob", "eve", "bob", "nobody"]))
    assert store.asked == [{"ann"}, {"bob", "eve", "nobody"}]
    ann, bob, eve = ({"user_id": user_id} for user_id in ("ann", "bob", "eve"))
    assert found == [ann, bob, eve, bob, None]


def test_no_read_is_of_more_than_it_may_be() -> None:
    store = Store()
    asyncio.run(looked_up(store, "ann", ["a", "b", "c"], most=2))
    assert store.asked == [{"ann"}, {"a", "b"}, {"c"}]


def test_an_error_is_told_to_those_who_asked_and_to_no_others() -> None:
    store = Store()
    ann, bad, bob = asyncio.run(looked_up(store, "ann", ["bad", "bob"], most=1))
    assert (ann, bob) == ({"user_id": "ann"}, {"user_id": "bob"})
    assert isinstance(bad, ValueError)


def test_whoever_leaves_holds_up_nobody() -> None:
    store = Store()

    async def scenario() -> Row | None:
        lookups = Lookups(store.read)
        gone = asyncio.create_task(lookups.row("ann"))
        while not store.asked:
            await asyncio.sleep(0.001)
        other = asyncio.create_task(lookups.row("bob"))
        await asyncio.sleep(0)
        gone.cancel()
        store.go.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await lookups.row("eve") == {"user_id": "eve"}
        return await other

    assert asyncio.run(scenario()) == {"user_id": "bob"}
