"""How much of a file is read before its reader asks for it: much for the quick, little for the slow.

What was read for a client that takes it slowly stays in memory until it is taken, and there may be
thousands of them. So a reader begins with a good measure, has more as long as it takes that at once, and
little as soon as it does not. What all readers hold together has a ceiling, beyond which each has little.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

CEILING: Final = 16 * 1024 * 1024
LEAST: Final = 32 * 1024
FIRST: Final = 256 * 1024
"""Also what small files are read by at once."""
MOST: Final = 512 * 1024

_QUICK_SECONDS: Final = 0.1
"""Within which a block must have been taken for the next one to be larger."""
SLOW_SECONDS: Final = 1.0
"""After which a reader is slow."""


class ReadAhead:
    """What all who read from one storage may hold together, in bytes. `clock` gives seconds."""

    def __init__(self, ceiling: int = CEILING, *, clock: Callable[[], float] = monotonic) -> None:
        self.free = ceiling
        """Less than nothing where all have the least, and they are many."""
        self.clock = clock


class Reader:
    """How much is read ahead for one of them; its owner calls `close`, twice is harmless."""

    __slots__ = ("_ahead", "_before", "_given", "_wanted", "granted")

    def __init__(self, ahead: ReadAhead) -> None:
        self._ahead = ahead
        self._wanted = FIRST
        self._given = 0.0
        self._before = 0
        """The size of the block before: it may be on its way yet when the next one is asked for."""
        self.granted = 0
        """The size in bytes of the last block."""

    @property
    def is_short(self) -> bool:
        """Whether only a little may be held: this reader is slow, or there are too many others."""
        return self.granted < FIRST

    def next(self) -> int:
        """Return how many bytes may be read now. The block before the last one is taken as taken."""
        if self.granted and self._given:
            self._adapt(self._ahead.clock() - self._given)
        free = self._ahead.free + self._before
        self._before, self.granted = self.granted, self._wanted if self._wanted <= free else LEAST
        self._ahead.free = free - self.granted
        return self.granted

    def give(self) -> None:
        """Note that the block is given to the reader now."""
        self._given = self._ahead.clock()

    def _adapt(self, seconds: float) -> None:
        if seconds > SLOW_SECONDS:
            self._wanted = LEAST
        elif seconds <= _QUICK_SECONDS and self._wanted < MOST:
            self._wanted *= 2

    def close(self) -> None:
        self._ahead.free += self.granted + self._before
        self.granted = self._before = 0
