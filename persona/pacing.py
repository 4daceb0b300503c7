"""How many requests a server is given at once, and when to stop asking. Plain asyncio.

The window grows by one a round of successes and halves on a transient failure (additive increase,
multiplicative decrease), so it settles where the server does. Failed requests wait outside the
window, twice as long each time. A server that answers nothing for longer than our patience is dead;
one that answers others, and fails one request again and again, does not like that request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
# Where every seventh request fails by chance, one in 10^8 fails so often.
MAX_FAILURES = 10


class TransientError(Exception):
    """A failure that may pass.

    Args:
        after_s: When the server asked to be asked again; None if it did not say.
        is_busy: The server has too much to do, whatever the request.
    """

    def __init__(self, after_s: float | None = None, *, is_busy: bool = False) -> None:
        super().__init__("transient")
        self.after_s = after_s
        self.is_busy = is_busy


class HopelessError(Exception):
    """A request that failed again and again while the server answered as many others."""


class Pacing:
    """The window of one server.

    Args:
        most: Requests under way at once, at most.
        patience_s: How long the server may answer nothing at all.
        now: Clock in seconds; never goes back.
    """

    def __init__(
        self, most: int, patience_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._patience_s, self._now = float(most), patience_s, now
        self.window = float(most)
        self.retries = 0
        self._answered = 0
        self._under_way = 0
        self._cut_at = float("-inf")
        self._failing_since: float | None = None
        self._changed = asyncio.Condition()

    async def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns, asked again as long as it raises `TransientError`.

        Raises:
            TransientError: Nobody had an answer for longer than our patience; its cause says why.
            HopelessError: Others had answers, this request none.
        """
        wait_s, failures, answered = FIRST_WAIT_S, 0, self._answered
        while True:
            try:
                return await self._once(ask)
            except TransientError as error:
                since = self._failing_since
                if since is not None and self._now() - since >= self._patience_s:
                    raise
                failures += not error.is_busy
                if failures >= MAX_FAILURES and self._answered - answered >= failures:
                    raise HopelessError(f"failed {failures} times") from error
                asked_s = wait_s * random.uniform(0.5, 1.0) if error.after_s is None else 0.0
                self.retries += 1
                await asyncio.sleep(min(LONGEST_WAIT_S, max(asked_s, error.after_s or 0.0)))
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    async def _once(self, ask: Callable[[], Awaitable[T]]) -> T:
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < max(1, int(self.window)))
            self._under_way += 1
        started = self._now()
        try:
            answer = await ask()
        except TransientError:
            self._failed(started)
            raise
        else:
            self._failing_since = None
            self._answered += 1
            self.window = min(self._most, self.window + 1.0 / self.window)
            return answer
        finally:
            async with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _failed(self, started: float) -> None:
        """Halve the window, once for all requests that were under way when it was halved."""
        now = self._now()
        if self._failing_since is None:
            self._failing_since = started
        if started >= self._cut_at:
            self.window = max(1.0, self.window / 2)
            self._cut_at = now
