"""Lookups of many callers as one: those that come while the store is read wait, and go together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


class Lookups:
    """Rows of users for coroutines of one event loop.

    A lookup alone goes at once. While one is under way, others gather, and go as soon as it is
    back: a read of many rows takes little longer than that of one.

    Args:
        read: Rows by user id; runs in a thread, one at a time.
        most: Users in one read.
    """

    def __init__(self, read: Callable[[Sequence[str]], Mapping[str, Row]], most: int = 256) -> None:
        self._read, self._most = read, most
        self._waiting: list[tuple[str, asyncio.Future[Row | None]]] = []
        self._reader: asyncio.Task[None] | None = None

    async def row(self, user_id: str) -> Row | None:
        """One user's row; None if unknown."""
        answer: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((user_id, answer))
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_all())
        return await answer

    async def _read_all(self) -> None:
        while self._waiting:
            now, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            # Who has gone meanwhile is not read for.
            now = [(user_id, answer) for user_id, answer in now if not answer.done()]
            try:
                rows = await asyncio.to_thread(self._read, list({user_id for user_id, _ in now}))
            except Exception as error:  # noqa: BLE001  told to everybody who asked
                for _, answer in now:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for user_id, answer in now:
                if not answer.done():
                    answer.set_result(rows.get(user_id))
        self._reader = None
