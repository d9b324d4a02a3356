"""Locks as a client knows them, and leave to write (RFC 4918 sections 6, 7, 9.10 and 9.11)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from app.journal.journal import Journal
from app.journal.state import Change, Lock, Locked, Scope, State, Touch, WriteUnderWay, dump_lock, dump_write
from app.path import RESERVED, DavPath
from app.storage.base import Busy, StorageError, Unavailable

logger: Final = logging.getLogger("zotshelf")

LONGEST_SECONDS: Final = 86400
SHORTEST_SECONDS: Final = 5
DEFAULT_SECONDS: Final = 600
MOST_LOCKS: Final = 1000
MOST_OWNERS: Final = 2**20
"""How many characters the owners of all locks of a root may have together."""

COMMIT_SECONDS: Final = 3.0
"""How long a commit may go on that relies on trust, unless it is asked again or recorded."""

_MARGIN_SECONDS: Final = 0.5
"""For what is still on its way to the store when a commit is broken off."""

_LOOK_SECONDS: Final = 1.0
_WRITE_SECONDS: Final = 60.0
_RENEW_SECONDS: Final = 20.0
_WAIT_FOR_WRITES_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05

Finder = Callable[[DavPath], list[Lock]]
"""From a path to the locks that bind it, inherited ones too; their `seconds` are those that are left."""


class NoSuchLock(Exception):
    """No lock of that token binds the resource."""


class NotTheOwner(Exception):
    """The lock was taken by another user."""


@dataclass(slots=True)
class _Leave:
    """Leave to change what is touched, `until` a moment by the journal's clock."""

    touches: Collection[Touch]
    tokens: Collection[str]
    user: str
    name: str = ""
    """Of the record that tells others of the write; empty while none is needed."""
    inside: list[DavPath] | None = None
    until: float = 0.0


class Locks:
    """The locks of one root. `commit` must be the same for all servers of a root."""

    def __init__(self, journal: Journal, commit: float = COMMIT_SECONDS) -> None:
        self._journal = journal
        self._commit = commit

    async def lock(self, touch: Touch, scope: Scope, owner: str, user: str, seconds: int) -> Lock:
        """Grant a lock; `owner` is XML, `seconds` what is asked for.

        Waits for writes that are under way. Raises Locked when another lock stands in the way.
        """
        wanted = Lock(
            token=f"urn:uuid:{uuid.uuid4()}",
            path=DavPath(touch.path.segments),
            deep=touch.deep,
            scope=scope,
            owner=owner,
            user=user,
            seconds=bounded(seconds),
            expires=0.0,
        )

        def decide(state: State, now: float) -> tuple[list[Change], Lock | None]:
            if state.at_rest:
                return [{"wake": True}], None
            state.check_lock(wanted, now)
            _check_room(state, wanted)
            if not state.heard and self._unheard_seconds() > 0:
                return [], None
            granted = replace(wanted, expires=now + wanted.seconds)
            return [*state.litter(now), {"lock": dump_lock(granted)}], granted

        deadline = float("inf")
        while True:
            try:
                granted = await self._journal.change(decide)
            except WriteUnderWay:
                deadline = min(deadline, self._journal.clock() + _WAIT_FOR_WRITES_SECONDS)
                if self._journal.clock() > deadline:
                    raise Locked([wanted.path]) from None
                await asyncio.sleep(_POLL_SECONDS)
            else:
                if granted is not None:
                    return granted
                await asyncio.sleep(max(self._unheard_seconds(), 0))

    def _unheard_seconds(self) -> float:
        """Return for how long a server may still be writing that has not heard of the end of the rest."""
        return self._journal.trust + self._commit + _MARGIN_SECONDS - self._journal.awake_seconds

    async def refresh(self, path: DavPath, tokens: Collection[str], user: str, seconds: int) -> Lock:
        """Begin a lock's time anew; exactly one of `tokens` must bind `path`.

        Raises NoSuchLock, NotTheOwner.
        """

        def decide(state: State, now: float) -> tuple[list[Change], Lock]:
            lock = _binding(state, path, tokens, user, now)
            lock = replace(lock, seconds=bounded(seconds), expires=now + bounded(seconds))
            return [{"lock": dump_lock(lock)}], lock

        return await self._journal.change(decide)

    async def unlock(self, path: DavPath, token: str, user: str) -> None:
        """Remove a lock. Raises NoSuchLock, NotTheOwner."""

        def decide(state: State, now: float) -> tuple[list[Change], None]:
            lock = _binding(state, path, (token,), user, now)
            litter = [change for change in state.litter(now) if change != {"unlock": token}]
            return [{"unlock": lock.token}, *litter], None

        await self._journal.change(decide)

    async def finder(self, since: float | None = None) -> Finder:
        """Return what finds the locks that bind a path, as known now or at some time after `since`."""
        if self._journal.at_rest_at is None:
            state = await self._journal.state(since)
            if self._journal.at_rest_at is None:
                return _finder(state, await self._journal.now())
        return lambda _path: []

    async def check(
        self, touches: Iterable[Touch], tokens: Collection[str], user: str, since: float | None = None
    ) -> None:
        """See, before a body is read, whether a write would be allowed; see State.check_write."""
        if self._journal.at_rest_at is None:
            state = await self._journal.state(since)
            if self._journal.at_rest_at is None:
                state.check_write(touches, tokens, user, await self._journal.now())

    async def are_none(self) -> bool:
        """Tell whether there have surely been no locks for a while, asking the storage only now and then."""
        return await self._at_rest_at() is not None

    async def _at_rest_at(self) -> float | None:
        if self._journal.at_rest_at is None and self._journal.was_at_rest:
            await self._journal.state()
        return self._journal.at_rest_at

    @asynccontextmanager
    async def writing(
        self, touches: Collection[Touch], tokens: Collection[str], user: str
    ) -> AsyncIterator[list[DavPath]]:
        """Leave to change what is touched: within this context nobody is granted a lock on it.

        Yields the locked members below deep touches, which must be left alone. Raises Locked. Leave that
        cannot be kept up ends: whatever is then under way in this context is cancelled, and Busy raised.
        """
        leave = _Leave(touches, tokens, user)
        await self._obtain(leave)
        keepers: list[asyncio.Task[None]] = []
        limit = asyncio.timeout(None)

        def keep() -> None:
            keepers.append(asyncio.create_task(self._keep_up(leave, limit)))

        # Nearly every write is over before the first look, which sets the limit: a timer costs less than a
        # task, and one less than two.
        timer = asyncio.get_running_loop().call_later(min(_LOOK_SECONDS, max(self._left(leave), 0)), keep)
        try:
            async with limit:
                try:
                    yield leave.inside or []
                finally:
                    timer.cancel()
                    for keeper in keepers:
                        keeper.cancel()
                        await asyncio.gather(keeper, return_exceptions=True)
        except TimeoutError:
            if limit.expired():
                raise Busy(_path(touches), "leave to write could not be kept up") from None
            raise
        except (Unavailable, asyncio.CancelledError):
            # What was sent may still take effect: the record of the write expires by itself.
            raise
        except Exception:
            await self._end(leave)
            raise
        await self._end(leave)

    async def _keep_up(self, leave: _Leave, limit: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        limit.reschedule(loop.time() + self._left(leave))
        while True:
            if not leave.name or self._left(leave) < _WRITE_SECONDS - _RENEW_SECONDS:
                try:
                    await self._obtain(leave)
                except (Locked, StorageError) as error:
                    logger.warning("leave to write could not be renewed yet: %s", error)
            # Each time: the loop's clock stands still while the machine is suspended.
            limit.reschedule(loop.time() + self._left(leave))
            await asyncio.sleep(_LOOK_SECONDS)

    def _left(self, leave: _Leave) -> float:
        return leave.until - self._journal.clock()

    async def _obtain(self, leave: _Leave) -> None:
        """Get leave to write or renew it: by trust while the journal is at rest, else by a record."""
        known_at = None if leave.name else await self._at_rest_at()
        if known_at is not None:
            leave.until = known_at + self._journal.trust + self._commit
            return
        began = self._journal.clock()
        leave.name, leave.inside = await self._journal.change(lambda state, now: _begun(leave, state, now))
        leave.until = began + _WRITE_SECONDS

    async def _end(self, leave: _Leave) -> None:
        if not leave.name:
            return

        def decide(state: State, now: float) -> tuple[list[Change], None]:
            own: Change = {"written": leave.name}
            rest: list[Change] = [{"rest": True}] if state.may_rest(now) else []
            return [own, *(change for change in state.litter(now) if change != own), *rest], None

        try:
            await self._journal.change(decide)
        except StorageError as error:
            # What was written is written; the record of it expires by itself.
            logger.warning("a write could not be noted as finished: %s", error)


def _begun(leave: _Leave, state: State, now: float) -> tuple[list[Change], tuple[str, list[DavPath]]]:
    if not leave.name:
        inside = state.check_write(leave.touches, leave.tokens, leave.user, now)
        name = secrets.token_hex(8)
    elif leave.name in state.writes:
        name, inside = leave.name, leave.inside or []
    else:
        raise Busy(_path(leave.touches), "the record of a write was given up for lost")
    return [{"write": dump_write(name, leave.touches, now + _WRITE_SECONDS)}], (name, inside)


def _path(touches: Collection[Touch]) -> DavPath:
    return next((touch.path for touch in touches), DavPath((RESERVED,)))


def _check_room(state: State, wanted: Lock) -> None:
    owners = sum(len(lock.owner) for lock in state.locks.values())
    if len(state.locks) >= MOST_LOCKS or owners + len(wanted.owner) > MOST_OWNERS:
        raise Busy(wanted.path, "there are too many locks")


def _binding(state: State, path: DavPath, tokens: Collection[str], user: str, now: float) -> Lock:
    found = [lock for lock in state.locks_on(path, now) if lock.token in tokens and lock.expires > now]
    if len(found) != 1:
        raise NoSuchLock
    if found[0].user != user:
        raise NotTheOwner
    return found[0]


def _finder(state: State, now: float) -> Finder:
    by_path: dict[tuple[str, ...], list[Lock]] = defaultdict(list)
    for lock in state.live_locks(now):
        left = max(ceil(lock.expires - now), 0)
        by_path[lock.path.segments].append(replace(lock, seconds=left))

    def find(path: DavPath) -> list[Lock]:
        above = (path.segments[:depth] for depth in range(len(path.segments) + 1))
        return [lock for segments in above for lock in by_path.get(segments, ()) if lock.covers(path)]

    return find


def bounded(seconds: int) -> int:
    """Return the time-out that is granted when `seconds` are asked for."""
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
