"""Locks as a client knows them, and leave to write (RFC 4918 sections 6, 7, 9.10 and 9.11)."""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from app.journal.journal import TRUST_SECONDS, Journal
from app.journal.state import (
    Change,
    Lock,
    Locked,
    Scope,
    State,
    Touch,
    WriteUnderWay,
    dump_lock,
    dump_write,
)
from app.path import DavPath
from app.storage.base import Busy, StorageError

logger: Final = logging.getLogger("zotshelf")

LONGEST_SECONDS: Final = 86400
SHORTEST_SECONDS: Final = 5
DEFAULT_SECONDS: Final = 600
MOST_LOCKS: Final = 1000

COMMIT_SECONDS: Final = 2.0
"""How long a commit that relies on trust may take before a lock that it does not know is granted."""

CLOCK_ERROR_SECONDS: Final = 1.5
"""S3 tells the time in whole seconds."""

_WRITE_SECONDS: Final = 60.0
_RENEW_SECONDS: Final = 20.0
_WAIT_FOR_WRITES_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05


class NoSuchLock(Exception):
    """No lock of that token binds the resource."""


class NotTheOwner(Exception):
    """The lock was taken by another user."""


class Locks:
    """The locks of one root."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

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

        def decide(state: State, now: float) -> tuple[list[Change], Lock]:
            state.check_lock(wanted, now)
            if len(state.locks) >= MOST_LOCKS:
                raise Busy(wanted.path, "there are too many locks")
            granted = replace(wanted, expires=now + wanted.seconds)
            return [*state.litter(now), {"lock": dump_lock(granted)}], granted

        deadline = asyncio.get_running_loop().time() + _WAIT_FOR_WRITES_SECONDS
        while True:
            try:
                granted = await self._journal.change(decide)
                break
            except WriteUnderWay:
                if asyncio.get_running_loop().time() > deadline:
                    raise Locked([wanted.path]) from None
                await asyncio.sleep(_LOOK_SECONDS)
        await self._await_trusting()
        return granted

    async def _await_trusting(self) -> None:
        """Wait until no server can be writing any more that has not heard of locks."""
        state = await self._journal.state()
        await self._journal.commits_over()
        left = (
            state.awake_since
            + TRUST_SECONDS
            + COMMIT_SECONDS
            + CLOCK_ERROR_SECONDS
            - await self._journal.now()
        )
        if left > 0:
            await asyncio.sleep(left)

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
            return [{"unlock": lock.token}, *state.litter(now)], None

        await self._journal.change(decide)

    async def on(self, path: DavPath) -> list[Lock]:
        """Return the locks that bind `path`, inherited ones too."""
        state = await self._journal.state()
        return state.locks_on(path, await self._journal.now())

    async def finder(self) -> Callable[[DavPath], list[Lock]]:
        """Return what finds the locks that bind a path, by what is known now."""
        if await self.are_none():
            return lambda _path: []
        state, now = await self._journal.state(), await self._journal.now()
        return lambda path: state.locks_on(path, now)

    async def are_none(self) -> bool:
        """Tell whether there have been no locks for a while, asking the storage only now and then."""
        if self._journal.trusted is None:
            await self._journal.state()
        return self._journal.trusted is not None

    async def check(self, touches: Iterable[Touch], tokens: Collection[str], user: str) -> list[DavPath]:
        """See, before a body is read, whether a write would be allowed; see State.check_write."""
        if await self.are_none():
            return []
        state = await self._journal.state()
        return state.check_write(touches, tokens, user, await self._journal.now())

    @asynccontextmanager
    async def writing(
        self, touches: Collection[Touch], tokens: Collection[str], user: str
    ) -> AsyncIterator[list[DavPath]]:
        """Leave to change what is touched: within this context nobody is granted a lock on it.

        Yields the locked members below deep touches, which must be left alone. Raises Locked.
        """
        if await self.are_none():
            async with self._journal.trusting_commit():
                yield []
            return
        name, inside = await self._begin(touches, tokens, user)
        if not name:
            yield inside
            return
        renewal = asyncio.create_task(self._renew(name, touches))
        try:
            yield inside
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            await self._end(name)

    async def _end(self, name: str) -> None:
        def decide(state: State, now: float) -> tuple[list[Change], None]:
            rest: list[Change] = [{"rest": True}] if state.may_rest(now, but=name) else []
            return [{"written": name}, *state.litter(now), *rest], None

        try:
            await self._journal.change(decide)
        except StorageError as error:
            # What was written is written; the note of it expires by itself.
            logger.warning("a write could not be noted as finished: %s", error)

    async def _begin(
        self, touches: Collection[Touch], tokens: Collection[str], user: str
    ) -> tuple[str, list[DavPath]]:
        """Record that a write is under way; an empty name where a lock of the writer's own guards it."""
        name = secrets.token_hex(8)

        def decide(state: State, now: float) -> tuple[list[Change], tuple[str, list[DavPath]]]:
            inside = state.check_write(touches, tokens, user, now)
            if state.is_held(touches, tokens, user, now):
                return [], ("", inside)
            return [{"write": dump_write(name, touches, now + _WRITE_SECONDS)}], (name, inside)

        return await self._journal.change(decide)

    async def _renew(self, name: str, touches: Collection[Touch]) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._journal.change(
                lambda _state, now: ([{"write": dump_write(name, touches, now + _WRITE_SECONDS)}], None)
            )


def _binding(state: State, path: DavPath, tokens: Collection[str], user: str, now: float) -> Lock:
    found = [lock for lock in state.locks_on(path, now) if lock.token in tokens and lock.expires > now]
    if len(found) != 1:
        raise NoSuchLock
    if found[0].user != user:
        raise NotTheOwner
    return found[0]


def bounded(seconds: int) -> int:
    """Return the time-out that is granted when `seconds` are asked for."""
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
