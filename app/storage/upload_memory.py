"""The memory that all uploads of this process together may take, and who waits for it.

A part is reserved whole before its first byte is read, so that no two half-read parts can wait for
each other. Small bodies have a share of their own: a few large uploads never hold up Zotero's props.
Whoever fills a part so slowly that others wait for it is told so (TooSlow) and loses it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from app.deadline import seconds_left
from app.path import DavPath
from app.storage.base import Busy, TooSlow

SMALL_BYTES: Final = 1048576
"""A body of at most this size, announced, is served from the share for small ones."""

WAIT_SECONDS: Final = 60.0
"""How long memory is waited for where no client waits for an answer, as by commands."""
_SPEAK_SECONDS: Final = 1.0
"""So long before a request is out of time its wait ends, so that it is told, and logged, what was missing."""
_GRACE_SECONDS: Final = 10.0
_SLOWEST: Final = 131072
"""Bytes a second below which a sender is slow, if others wait."""
_SMALL_SHARE: Final = 6
_LOOK_SECONDS: Final = 1.0
_SPARE_SHARE: Final = 4
"""One part in so many is left to those who come, by those who have enough."""


class Reservation:
    """Memory for one body or part. `size` is fixed; `filled` says how many bytes have come in.

    `content` is what has been gathered. It lives here and in no other variable that outlives its use,
    so that giving the memory back is one thing with letting go of it.
    """

    def __init__(self, share: _Share, path: DavPath, size: int) -> None:
        self._share = share
        self._path = path
        self.size = size
        self.filled = 0
        self.content: bytes | memoryview = b""
        self._since = 0.0
        self._seen = 0
        self._moved = 0.0
        self._timeout: asyncio.Timeout | None = None

    @asynccontextmanager
    async def filling(self) -> AsyncIterator[None]:
        """Within this context the sender is at work; raises TooSlow when it must yield to others."""
        self._since = self._moved = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as timeout:
                self._timeout = timeout
                yield
        except TimeoutError:
            if timeout.expired():
                raise TooSlow(self._path) from None
            raise
        finally:
            self._timeout = None

    def is_slow(self, now: float) -> bool:
        """Tell whether the sender has been too slow on the whole, or silent since it was looked at."""
        if self._timeout is None:
            return False
        if self.filled != self._seen:
            self._seen, self._moved = self.filled, now
        return (
            now - self._moved > _GRACE_SECONDS or now - self._since > _GRACE_SECONDS + self.filled / _SLOWEST
        )

    def revoke(self, now: float) -> None:
        """End the filling with TooSlow."""
        if self._timeout is not None:
            self._timeout.reschedule(now)

    def release(self) -> None:
        """Give the memory back; twice is harmless."""
        self.content = b""
        self._share.give_back(self)


class _Share:
    """A part of the ceiling, given out first come, first served."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = size
        self._held: set[Reservation] = set()
        self._waiting: deque[tuple[asyncio.Future[None], Reservation]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def take(self, reservation: Reservation) -> None:
        if self._waiting or reservation.size > self.free:
            await self._wait(reservation)
        else:
            self._give(reservation)

    def take_spare(self, reservation: Reservation) -> bool:
        """Take what nobody waits for, unless too little would be left; tell whether that was so."""
        if self._waiting or self.free - reservation.size < self.size // _SPARE_SHARE:
            return False
        self._give(reservation)
        return True

    def _give(self, reservation: Reservation) -> None:
        self.free -= reservation.size
        self._held.add(reservation)

    async def _wait(self, reservation: Reservation) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, reservation))
        self._look_soon()
        try:
            async with asyncio.timeout(_patience()):
                await turn
        except BaseException:
            self._leave(turn, reservation)
            raise

    def _leave(self, turn: asyncio.Future[None], reservation: Reservation) -> None:
        if (turn, reservation) in self._waiting:
            self._waiting.remove((turn, reservation))
            self._serve()
        else:  # the turn came at the very moment the waiting ended
            self.give_back(reservation)

    def give_back(self, reservation: Reservation) -> None:
        if reservation in self._held:
            self._held.remove(reservation)
            self.free += reservation.size
            self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][1].size <= self.free:
            turn, reservation = self._waiting.popleft()
            self._give(reservation)
            if not turn.done():
                turn.set_result(None)
            else:
                self.give_back(reservation)

    def _look_soon(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for reservation in self._held:
            if reservation.is_slow(now):
                reservation.revoke(now)
        self._look_soon()


def _patience() -> float:
    left = seconds_left()
    return WAIT_SECONDS if left is None else max(left - _SPEAK_SECONDS, 0)


class UploadMemory:
    """The ceiling over all uploads, in bytes. Of one process: several workers have one each."""

    def __init__(self, ceiling: int) -> None:
        self._small = _Share(ceiling // _SMALL_SHARE)
        self._large = _Share(ceiling - self._small.size)

    @property
    def ceiling(self) -> int:
        return self._small.size + self._large.size

    @property
    def taken(self) -> int:
        """How many bytes of it are reserved."""
        return self.ceiling - self._small.free - self._large.free

    @property
    def waiting(self) -> int:
        """How many bodies and parts wait for some."""
        return self._small.waiting + self._large.waiting

    @property
    def largest(self) -> int:
        """The largest single reservation that can be had, in bytes."""
        return self._large.size

    async def reserve(self, path: DavPath, size: int) -> Reservation:
        """Wait for `size` bytes; the caller releases them.

        Raises Busy when there is none in the time that the request at hand has (app.deadline).
        """
        share = self._share_for(size)
        reservation = Reservation(share, path, size)
        try:
            await share.take(reservation)
        except TimeoutError:
            raise Busy(
                path, "the memory for uploads was full for too long: raise ZOTSHELF_UPLOAD_MEMORY"
            ) from None
        return reservation

    def spare(self, path: DavPath, size: int) -> Reservation | None:
        """Return `size` bytes for one who has some already, None if others may want them."""
        share = self._share_for(size)
        reservation = Reservation(share, path, size)
        return reservation if share.take_spare(reservation) else None

    def _share_for(self, size: int) -> _Share:
        return self._small if size <= min(SMALL_BYTES, self._small.size) else self._large
