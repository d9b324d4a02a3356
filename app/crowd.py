"""How much goes on at once, and who waits, where many come together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final
from weakref import WeakValueDictionary

from app.errors import Overloaded

WAIT_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 60.0


class Seldom:
    """Tells whether something may be said again: once a minute, however often it happens."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _SILENCE_SECONDS
        return True


class Shares:
    """At most `most` at once of each owner's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()

    @contextmanager
    def one_of(self, owner: str) -> Iterator[None]:
        """Be one of the owner's within this context. Raises Overloaded."""
        if self._counts[owner] >= self._most:
            raise Overloaded(f"{owner} has {self._most} requests under way at once")
        self._counts[owner] += 1
        try:
            yield
        finally:
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]


class Turns:
    """At most `most` at once, half of them one owner's; up to four times as many wait for a moment.

    Of all that have a turn or wait for one, too, no more than half are one owner's.
    """

    def __init__(self, most: int, what: str) -> None:
        self._what = what
        self._queue = 4 * most
        self._waiting = 0
        self._free = asyncio.Semaphore(most)
        self._of_one = max(most // 2, 1)
        self._of_each: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._shares = Shares(5 * self._of_one)

    @asynccontextmanager
    async def one_of(self, owner: str) -> AsyncIterator[None]:
        """Have a turn within this context. Raises Overloaded."""
        with self._shares.one_of(owner):
            own = self._of_each.setdefault(owner, asyncio.Semaphore(self._of_one))
            await self._take(own)
            try:
                yield
            finally:
                self._free.release()
                own.release()

    async def _take(self, own: asyncio.Semaphore) -> None:
        if self._waiting >= self._queue:
            raise Overloaded(f"too many {self._what} at once")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS), AsyncExitStack() as taken:
                for turns in (own, self._free):
                    await taken.enter_async_context(turns)
                taken.pop_all()
        except TimeoutError:
            raise Overloaded(f"too many {self._what} at once") from None
        finally:
            self._waiting -= 1
