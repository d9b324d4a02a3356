"""Two clocks: this machine's, which only measures, and the store's, which all servers share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from app.path import RESERVED, DavPath
from app.storage.base import Records, Unavailable

# A machine that was suspended must know how long: what it knew before is that much older.
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_GOOD_FOR_SECONDS: Final = 30.0
_LONGEST_ANSWER_SECONDS: Final = 1.0
_TRIES: Final = 5


def clock() -> float:
    """Return seconds since some moment; never set back, and not stopped by a suspended machine."""
    return time.clock_gettime(_CLOCK)


class StoreClock:
    """The store's time, asked for now and then and kept by `clock` meanwhile."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._clock = clock
        self._offset = 0.0
        self._good_until = float("-inf")

    async def now(self) -> float:
        """Return the store's time in seconds since 1970, at most a second wrong.

        S3 tells whole seconds, and an answer is younger than its time by at most what it took: both
        are part of `app.journal.state.SKEW_SECONDS`. Raises Unavailable when the store is too slow.
        """
        if self._clock() >= self._good_until:
            await self._ask()
        return self._clock() + self._offset

    async def _ask(self) -> None:
        for _ in range(_TRIES):
            asked = self._clock()
            found = await self._records.now()
            heard = self._clock()
            if heard - asked <= _LONGEST_ANSWER_SECONDS:
                self._offset = found - (asked + heard) / 2
                self._good_until = heard + _GOOD_FOR_SECONDS
                return
        raise Unavailable(DavPath((RESERVED,)), "the store takes too long to tell the time")


class Since:
    """For how long this server has known that a count stands where it stands; the first is 0."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._count = 0
        self._at = float("-inf")

    def see(self, count: int) -> None:
        if count != self._count:
            self._count, self._at = count, self._clock()

    @property
    def seconds(self) -> float:
        """Infinite for a count of 0."""
        return self._clock() - self._at
