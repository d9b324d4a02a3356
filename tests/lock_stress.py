"""Many clients fight for locks on two servers, everything they get is noted, and a judge looks at it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Protocol

from app.journal.locks import NoSuchLock
from app.journal.state import SKEW_SECONDS, Lock, Locked, Scope, Touch
from app.path import DavPath
from app.storage.base import StorageError
from tests.journal_store import Hazards
from tests.storages import path

PATHS = tuple(path(tree + inside) for tree in "abcde" for inside in ("", "/f", "/f/g", "/f/h", "/i"))
CLIENTS = 32


class LockServer(Protocol):
    """One server's locks: app.journal.locks.Locks, or a scheme to compare it with."""

    async def lock(self, touch: Touch, scope: Scope, owner: str, user: str, seconds: int) -> Lock: ...

    async def refresh(self, path: DavPath, tokens: Collection[str], user: str, seconds: int) -> Lock: ...

    async def unlock(self, path: DavPath, token: str, user: str) -> None: ...

    def writing(
        self, touches: Collection[Touch], tokens: Collection[str], user: str
    ) -> AbstractAsyncContextManager[list[DavPath]]: ...


@dataclass
class Grant:
    """A lock that a client was told it has, from `begin` until `end`, by the store's clock."""

    lock: Lock
    begin: float
    end: float

    def holds_at(self, moment: float) -> bool:
        return self.begin < moment < self.end


@dataclass(frozen=True)
class Write:
    """A change that took effect at a moment, made by one who showed some tokens."""

    touches: Sequence[Touch]
    left_alone: Sequence[DavPath]
    tokens: frozenset[str]
    user: str
    began: float
    """When leave to write was had."""
    moment: float


@dataclass
class Log:
    grants: list[Grant] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def conflicts(self) -> list[tuple[Grant, Grant]]:
        """Return the pairs of grants that exclude each other and were held at the same time."""
        return [
            (one, other)
            for one, other in combinations(self.grants, 2)
            if max(one.begin, other.begin) < min(one.end, other.end)
            and one.lock.region.overlaps(other.lock.region)
            and Scope.EXCLUSIVE in (one.lock.scope, other.lock.scope)
        ]

    def forbidden(self) -> list[tuple[Write, Grant]]:
        """Return the writes that took effect while a lock forbade them, each with such a lock."""
        return [(write, grant) for write in self.writes for grant in self._against(write)]

    def _against(self, write: Write) -> list[Grant]:
        held = [grant for grant in self.grants if grant.holds_at(write.moment)]
        against: list[Grant] = []
        for touch in write.touches:
            covering = [grant for grant in held if grant.lock.covers(touch.path)]
            if not self._may(write, covering):
                against += covering
            if touch.deep:
                inside = [grant for grant in held if touch.path.contains(grant.lock.path)]
                inside = [grant for grant in inside if grant.lock.path not in write.left_alone]
                against += [
                    grant
                    for grant in inside
                    if not self._may(write, [one for one in held if one.lock.covers(grant.lock.path)])
                ]
        return against

    def _may(self, write: Write, covering: list[Grant]) -> bool:
        """Tell whether a write may change what the `covering` locks cover."""
        if all(grant.lock.scope is Scope.SHARED for grant in covering):
            # Who shared the lock may finish, still among those who share it, what was begun in time.
            mine = [grant for grant in self.grants if grant.end + SKEW_SECONDS > write.began]
            return not covering or any(_opens(write, grant) for grant in mine)
        return any(_opens(write, grant) for grant in covering)


def _opens(write: Write, grant: Grant) -> bool:
    return grant.lock.token in write.tokens and grant.lock.user == write.user


@dataclass
class Fight:
    """What all clients share: two servers, the store's true time, and what is noted."""

    servers: Sequence[LockServer]
    stamp: Callable[[], float]
    hazards: Hazards
    time_outs: tuple[int, int]
    """The shortest and the longest that clients ask for, in seconds."""
    paths: Sequence[DavPath]
    quiet: float
    """The part of the time in which nobody asks for a lock, so that the journal comes to rest."""
    cycle: float = 4.0
    log: Log = field(default_factory=Log)

    async def run(self, seconds: float, seed: int = 1) -> Log:
        """Let all clients fight for so long."""
        began = asyncio.get_running_loop().time()
        clients = [
            _Client(self, f"user{number % 4}", random.Random(f"{seed} {number}")) for number in range(CLIENTS)
        ]
        await asyncio.gather(*(client.run(began, seconds) for client in clients))
        return self.log


class _Client:
    def __init__(self, fight: Fight, user: str, dice: random.Random) -> None:
        self._fight = fight
        self._log = fight.log
        self._user = user
        self._dice = dice
        self._held: Grant | None = None
        self._known: set[str] = set()

    async def run(self, began: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        while (passed := loop.time() - began) < seconds:
            is_quiet = passed % self._fight.cycle > self._fight.cycle * (1 - self._fight.quiet)
            try:
                await self._act(is_quiet=is_quiet)
            except Locked:
                self._log.counts["refused"] += 1
            except NoSuchLock:
                self._log.counts["lock had gone"] += 1
            except StorageError:
                self._log.counts["failed"] += 1
            await asyncio.sleep(self._dice.random() * 0.05)

    async def _act(self, *, is_quiet: bool) -> None:
        if is_quiet:
            await (self._write() if self._held is None else self._unlock())
        elif self._held is None:
            await self._dice.choices((self._lock, self._write), (3, 1))[0]()
        else:
            moves = (
                self._write_with_token,
                self._write,
                self._refresh,
                self._unlock,
                self._abandon,
                self._lock,
            )
            await self._dice.choices(moves, (5, 1, 2, 2, 2, 1))[0]()

    @property
    def _server(self) -> LockServer:
        return self._dice.choice(self._fight.servers)

    def _seconds(self) -> int:
        return self._dice.randint(*self._fight.time_outs)

    async def _lock(self) -> None:
        touch = Touch(self._dice.choice(self._fight.paths), self._dice.random() < 0.4)
        scope = self._dice.choice((Scope.EXCLUSIVE, Scope.EXCLUSIVE, Scope.SHARED))
        granted = await self._server.lock(touch, scope, "", self._user, self._seconds())
        self._held = Grant(granted, self._fight.stamp(), granted.expires)
        self._known.add(granted.token)
        self._log.grants.append(self._held)
        self._log.counts["granted"] += 1

    async def _refresh(self) -> None:
        assert self._held is not None
        lock = self._held.lock
        refreshed = await self._server.refresh(lock.path, {lock.token}, self._user, self._seconds())
        self._held.end = refreshed.expires
        self._log.counts["refreshed"] += 1

    async def _unlock(self) -> None:
        assert self._held is not None
        held, self._held = self._held, None
        held.end = min(held.end, self._fight.stamp())
        await self._server.unlock(held.lock.path, held.lock.token, self._user)
        self._log.counts["unlocked"] += 1

    async def _abandon(self) -> None:
        self._held = None
        self._log.counts["abandoned"] += 1

    async def _write(self) -> None:
        known = frozenset(self._known) if self._dice.random() < 0.3 else frozenset()
        await self._change(self._dice.choice(self._fight.paths), known)

    async def _write_with_token(self) -> None:
        assert self._held is not None
        lock = self._held.lock
        inside = [one for one in self._fight.paths if lock.covers(one)]
        await self._change(self._dice.choice(inside), frozenset({lock.token}))

    async def _change(self, where: DavPath, tokens: frozenset[str]) -> None:
        touches = [Touch(where, self._dice.random() < 0.2)]
        if self._dice.random() < 0.3:
            touches.append(Touch(where.parent))
        async with self._server.writing(touches, tokens, self._user) as left_alone:
            began = self._fight.stamp()
            await self._fight.hazards.pause()
            if self._dice.random() < 0.01:
                await asyncio.sleep(self._dice.random() * 3)
            moment = self._fight.stamp()
            self._log.writes.append(Write(touches, tuple(left_alone), tokens, self._user, began, moment))
            await self._fight.hazards.pause()
        self._log.counts["written"] += 1
