"""How many bytes a root holds: looked up now and then, and counted on from there.

To ask the store at every write would cost more than the write. So one look sums up all that is stored, and
from then on what this process stores and deletes is added and taken off. What others do, other workers and
hosts among them, is known with the next look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.storage.base import StorageError

logger: Final = logging.getLogger("zotshelf")

REFRESH_SECONDS: Final = 3600.0
"""After so long the next write has it looked up again, in the background."""
DOUBT_SECONDS: Final = 300.0
"""The same where the count is too high or too low by what is not known."""
LOOK_SECONDS: Final = 30.0
"""While nothing is in doubt, and after a failure, nobody makes us look again so soon."""
WAIT_SECONDS: Final = 5.0
"""How long anybody waits for a look: Zotero on iOS gives up after 15."""


class Usage:
    """The bytes in one root. `look` sums them up; `clock` gives seconds. Close it at the end."""

    def __init__(
        self, look: Callable[[], Awaitable[int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._stored: int | None = None
        self._is_doubtful = False
        self._has_failed = False
        self._began = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._promised = 0
        self.refusals = 0
        """How much was refused because of what is stored, in requests."""

    @property
    def stored(self) -> int | None:
        """What is stored as far as is known, in bytes; None while nothing is."""
        return None if self._stored is None else max(self._stored, 0)

    @property
    def promised(self) -> int:
        """By how much more it will be when all is stored that is on its way."""
        return self._promised

    def promise(self, size: int) -> None:
        """Take note of what is on its way, or (less than 0) no more."""
        self._promised += size

    def change(self, by: int) -> None:
        """Take note of what has been stored or (less than 0) deleted."""
        if self._stored is not None:
            self._stored += by
        if self._looking is not None:  # which may have seen it or not
            self._is_doubtful = True

    def doubt(self) -> None:
        """Take note that something changed by nobody knows how much."""
        self._is_doubtful = True

    async def follow(self) -> None:
        """Keep the count up to date at little cost: wait only while nothing is known at all."""
        age = self._clock() - self._began
        if self._stored is None:
            await self.look_again()
        elif age > (DOUBT_SECONDS if self._is_doubtful else REFRESH_SECONDS):
            self._begin()

    async def settle(self) -> None:
        """Look again where the count is in doubt."""
        if self._stored is None or self._is_doubtful:
            await self.look_again()

    async def look_again(self) -> None:
        """Look how it really is, unless that was done a moment ago; wait for it, but not for long."""
        # Where it is in doubt a look costs no more than the listing that any client may ask for.
        may_help = self._is_doubtful and not self._has_failed
        if self._looking is None and not may_help and self._clock() - self._began < LOOK_SECONDS:
            return
        await asyncio.wait([self._begin()], timeout=WAIT_SECONDS)

    def _begin(self) -> asyncio.Task[None]:
        if self._looking is None:
            self._began = self._clock()
            self._looking = asyncio.create_task(self._run())
        return self._looking

    async def _run(self) -> None:
        # What happens from now on may be seen or not.
        self._is_doubtful = False
        try:
            # Not added to it: what was stored meanwhile. Better a quota that is passed by one file until the
            # next look than a file that is refused for having been counted twice.
            self._stored = await self._look()
            self._has_failed = False
        except StorageError as error:
            self._is_doubtful = self._has_failed = True
            logger.warning("what is stored cannot be summed up for the quota: %s", error)
        finally:
            self._looking = None

    async def aclose(self) -> None:
        """Break off the look that is being made."""
        looking = self._looking
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
