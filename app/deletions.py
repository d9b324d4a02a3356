"""How much each user deletes: what a broken client or a thief would do is told, and can be stopped."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from app.errors import TooManyDeletions
from app.storage.base import Tally

logger: Final = logging.getLogger("zotshelf")

WINDOW_SECONDS: Final = 3600.0
MANY: Final = 1000
"""So many deletions of one user within an hour are worth a line in the log, limit or not."""
MAX_REMEMBERED: Final = 4096
"""How many users are remembered at most; who has deleted nothing for longest gives way."""

_STEP_SECONDS: Final = 60.0
_SETTING: Final = "ZOTSHELF_HOURLY_DELETIONS"


class _Deleted:
    """What one user has deleted, by the minute, and is deleting now."""

    def __init__(self) -> None:
        self._steps: deque[list[float]] = deque()
        self.underway = 0
        self.total = 0
        self.was_told = False
        self.was_refused = False

    def add(self, count: int, now: float) -> None:
        if not self._steps or now - self._steps[-1][0] >= _STEP_SECONDS:
            self._steps.append([now, 0])
        self._steps[-1][1] += count
        self.total += count

    def forget(self, now: float) -> None:
        while self._steps and now - self._steps[0][0] >= WINDOW_SECONDS + _STEP_SECONDS:
            self.total -= int(self._steps.popleft()[1])
        self.was_told = self.was_told and self.total >= MANY
        self.was_refused = self.was_refused and self.total > 0


class Deletions:
    """Counts the resources that each user deletes within an hour; `clock` gives seconds.

    `limit` is how many they may be, 0 for any number. What is overwritten is not deleted.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit: Final = limit
        self._clock = clock
        self._users: OrderedDict[str, _Deleted] = OrderedDict()

    @contextmanager
    def deleting(self, user: str, expected: int) -> Iterator[Tally]:
        """Delete within this context, and count in the tally it yields; `expected` is how many it may be.

        Raises TooManyDeletions.
        """
        deleted = self._of(user)
        self._check(user, deleted, expected)
        deleted.underway += expected
        tally = Tally()
        try:
            yield tally
        finally:
            deleted.underway -= expected
            if tally.count:
                deleted.add(tally.count, self._clock())
                self._tell(user, deleted)

    def _of(self, user: str) -> _Deleted:
        deleted = self._users.get(user)
        if deleted is None:
            deleted = self._users[user] = _Deleted()
            if len(self._users) > MAX_REMEMBERED:
                self._users.popitem(last=False)
        self._users.move_to_end(user)
        deleted.forget(self._clock())
        return deleted

    def _check(self, user: str, deleted: _Deleted, expected: int) -> None:
        before = deleted.total + deleted.underway
        if not self.limit or before + expected <= self.limit:
            return
        if not deleted.was_refused:
            deleted.was_refused = True
            logger.error(
                "user %s has deleted %d resources within an hour and was refused %d more: see whether the"
                " client is broken or the password stolen. If it is meant, raise %s=%d",
                *(user, before, expected, _SETTING, self.limit),
            )
        raise TooManyDeletions(
            f"nothing was deleted: that would make {before + expected} deletions within an hour, and this"
            f" server allows {self.limit}. If you mean it, ask its operator to raise {_SETTING}, or wait"
        )

    def _tell(self, user: str, deleted: _Deleted) -> None:
        if deleted.total >= MANY and not deleted.was_told:
            deleted.was_told = True
            logger.warning("user %s has deleted %d resources within an hour", user, deleted.total)
