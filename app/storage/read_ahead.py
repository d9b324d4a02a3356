"""How much of a file is read before its reader asks for it: much for the quick, little for the slow.

What was read for a client that takes it slowly stays in memory until it is taken, and there may be
thousands of them. So a reader begins with a good measure, has more as long as it takes that at once, and
little as soon as it does not. That little everybody has; what all readers hold beyond it has a ceiling.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

CEILING: Final = 8 * 1024 * 1024
LEAST: Final = 32 * 1024
FIRST: Final = 256 * 1024
"""Also what small files are read by at once."""
MOST: Final = 512 * 1024

_FAIR_SHARE: Final = 8
"""Nobody has more than one part in so many of what is free: those who come later want some, too."""
_PROVEN: Final = 16
"""So many blocks in a row taken at once are more than the kernel takes for one who is slow."""
_TRUSTED: Final = 4
"""After so many, one who was slow has more again."""
_QUICK_SECONDS: Final = 0.1
"""Within which a block must have been taken for the next one to be larger."""
SLOW_SECONDS: Final = 1.0
"""After which a reader is slow."""


class ReadAhead:
    """What all who read from one storage may hold together beyond the least, in bytes.

    `clock` gives seconds.
    """

    def __init__(self, ceiling: int = CEILING, *, clock: Callable[[], float] = monotonic) -> None:
        self.free = ceiling
        self.clock = clock


class Reader:
    """How much is read ahead for one of them; its owner calls `close`, twice is harmless."""

    __slots__ = ("_ahead", "_given", "_quick", "_wanted", "granted")

    def __init__(self, ahead: ReadAhead) -> None:
        self._ahead = ahead
        self._wanted = FIRST
        self._given = 0.0
        self._quick = 0
        """How many blocks in a row were taken at once."""
        self.granted = 0
        """How many bytes may be held."""

    @property
    def is_short(self) -> bool:
        """Whether only a little may be held: this reader is slow, or there are too many others."""
        return self.granted < FIRST

    @property
    def piece(self) -> int:
        """How many bytes to give at once: what was given can no longer be let go of."""
        return LEAST if self._quick < _PROVEN else self.granted

    def next(self) -> int:
        """Return how many bytes may be held from now on. The block before is taken as taken."""
        if self.granted and self._given:
            self._adapt(self._ahead.clock() - self._given)
        free = self._ahead.free + self._beyond
        fair = LEAST + free // _FAIR_SHARE
        granted = self._wanted
        while granted > fair and granted > LEAST:
            granted //= 2
        self.granted = granted
        self._ahead.free = free - self._beyond
        return granted

    def give(self) -> None:
        """Note that a block is given to the reader now."""
        self._given = self._ahead.clock()

    def keep(self, size: int) -> None:
        """Note that no more than so many bytes are held until the next block."""
        before = self._beyond
        self.granted = min(self.granted, max(size, LEAST))
        self._ahead.free += before - self._beyond

    def _adapt(self, seconds: float) -> None:
        if seconds > SLOW_SECONDS:
            self._wanted = LEAST
            self._quick = 0
        elif seconds <= _QUICK_SECONDS:
            self._quick += 1
            if self._wanted >= FIRST or self._quick >= _TRUSTED:
                self._wanted = min(2 * self._wanted, MOST)

    @property
    def _beyond(self) -> int:
        return max(0, self.granted - LEAST)

    def close(self) -> None:
        self._ahead.free += self._beyond
        self.granted = 0
