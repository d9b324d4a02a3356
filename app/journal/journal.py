"""The numbered journal: every change of state creates the record with the next number.

Creating a record that must not exist yet is the one thing that every storage does atomically, so the
one who creates number n+1 has seen number n, and nobody else can have changed anything between. The
newest record is never deleted. Old ones are swept, long after; a server that slept through all of that
could create a number that was used and swept before, so each record names its predecessor, and what a
server builds on knowledge that is not fresh is looked at once more before it counts.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from app.journal.clock import Since, StoreClock, clock
from app.journal.record import FOLDER, SNAPSHOT_EVERY, Record, holds_state, name_of, number_of
from app.journal.state import Change, State
from app.journal.sweep import SWEEP_AGE_SECONDS, sweep
from app.path import RESERVED, DavPath
from app.storage.base import Busy, Records, StorageError, Unavailable

logger: Final = logging.getLogger("zotshelf")

T = TypeVar("T")

TRUST_SECONDS: Final = 2.0
"""How long 'there are no locks and no dead properties' is trusted, from when the question was sent."""

FRESH_SECONDS: Final = SWEEP_AGE_SECONDS / 10
"""Nothing can have been created and swept since a question that was sent so recently."""

_PATIENCE_SECONDS: Final = 10.0
_READS_AT_ONCE: Final = 16
_DELAYS: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
_NEVER: Final = float("-inf")
_PATH: Final = DavPath((RESERVED,))
_ADVICE: Final = f"if somebody deleted it, stop all servers and delete the rest of {RESERVED}/{FOLDER}/ too"

Decide = Callable[[State, float], tuple[list[Change], T]]
"""From the state and the store's time to the changes to make and the answer; may refuse by raising."""


class _Stale(Exception):
    """What is known does not join with what is stored: everything must be read anew."""


class Journal:
    """The journal of one root. All servers of that root have one each; together they agree.

    `clock` counts seconds of this machine. `trust` must be the same for all servers of a root.
    """

    def __init__(
        self, records: Records, clock: Callable[[], float] = clock, trust: float = TRUST_SECONDS
    ) -> None:
        self._records = records
        self.clock = clock
        self.trust = trust
        self._store_clock = StoreClock(records, clock)
        self._mutex = asyncio.Lock()
        self._state = State()
        self._number = 0
        self._nonce = ""
        self._known_at = _NEVER
        self._awake = Since(clock)
        self._filled = Since(clock)
        self._must_sweep = False

    @property
    def at_rest_at(self) -> float | None:
        """The moment by `clock` as of which the journal was at rest, if that may still be trusted."""
        trusted = self._state.at_rest and self.clock() < self._known_at + self.trust
        return self._known_at if trusted else None

    @property
    def was_at_rest(self) -> bool:
        """Whether it was at rest, or nothing is known of it, when this server last heard of it."""
        return self._state.at_rest

    @property
    def has_no_properties(self) -> bool:
        """Whether it may be trusted, without asking, that there are neither locks nor properties."""
        return self.at_rest_at is not None and not self._state.props

    @property
    def awake_seconds(self) -> float:
        """For how long this server has known of the last end of a rest."""
        return self._awake.seconds

    @property
    def filled_seconds(self) -> float:
        """For how long this server has known that there are properties, since last there were none."""
        return self._filled.seconds

    async def state(self, since: float | None = None) -> State:
        """Return the state as it is in the storage now, or was at some time after `since` by `clock`.

        It goes on changing in the caller's hands.
        """
        if since is None:
            since = self.clock()
        async with self._turn():
            # Whoever waited for the same answer as others need not ask again.
            if self._known_at <= since:
                await self._catch_up()
            return self._state

    async def now(self) -> float:
        """Return the store's time."""
        return await self._store_clock.now()

    async def change(self, decide: Decide[T]) -> T:
        """Make the changes that `decide` names, as one record, on exactly the state that it saw.

        `decide` may be asked several times. What it raises is raised only when it saw the newest state.
        Raises Busy where others are always faster.
        """
        began = self.clock()
        async with self._turn():
            result = await self._change(decide, began)
            must_sweep, self._must_sweep = self._must_sweep, False
        if must_sweep:
            await self._sweep()
        return result

    async def _change(self, decide: Decide[T], began: float) -> T:
        fresh = self._known_at > began
        if self._known_at == _NEVER:
            await self._catch_up()
            fresh = True
        while self.clock() < began + 2 * _PATIENCE_SECONDS:
            now = await self.now()
            try:
                changes, result = decide(self._state, now)
            except Exception:
                if fresh:
                    raise
            else:
                if changes and await self._append(changes, now):
                    return result
                if not changes and fresh:
                    return result
            await self._catch_up()
            fresh = True
        raise _busy()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._mutex.acquire()
        except TimeoutError:
            raise _busy() from None
        try:
            yield
        finally:
            self._mutex.release()

    async def _append(self, changes: list[Change], now: float) -> bool:
        """Create the next record; False when somebody else did, or when ours does not count."""
        number, nonce = self._number + 1, secrets.token_hex(8)
        state = self._state.dump() if holds_state(number) else None
        record = Record(number, nonce, self._nonce, now, changes, state)
        sent = self.clock()
        if not await self._records.create(name_of(number), record.encode()):
            return False
        if self.clock() > self._known_at + FRESH_SECONDS and not await self._counts(record):
            # Left where it is, below all that is ever read: the next sweep takes it.
            logger.warning("a record of the journal was created too late to count; trying again")
            self._forget()
            return False
        self._take([record])
        self._known_at = sent
        self._must_sweep = state is not None
        return True

    async def _counts(self, record: Record) -> bool:
        """Tell whether a record of ours is the newest, or the next one was built upon it."""
        if not await self._numbers(after=record.number):
            return True
        following = await self._find(record.number + 1)
        return following is not None and following.after == record.nonce

    def _take(self, records: list[Record]) -> None:
        """Go on from the present state by the records that follow it."""
        try:
            for record in records:
                record.apply_to(self._state)
        except Unavailable:
            self._forget()
            raise
        self._number, self._nonce = records[-1].number, records[-1].nonce
        self._note()

    def _note(self) -> None:
        self._awake.see(self._state.wakes)
        self._filled.see(self._state.fills)

    def _forget(self) -> None:
        self._state, self._number, self._nonce = State(), 0, ""
        self._known_at = _NEVER

    async def _catch_up(self) -> None:
        """Read what has been recorded since we last looked."""
        reason = ""
        for delay in _DELAYS:
            await asyncio.sleep(delay)
            asked = self.clock()
            try:
                await self._read_news()
            except _Stale as stale:
                reason = str(stale)
                self._forget()
            else:
                self._known_at = asked
                return
        raise Unavailable(_PATH, f"the locks and properties cannot be read: {reason}; {_ADVICE}")

    async def _read_news(self) -> None:
        # Our newest record too: should it be gone, somebody has put another journal in its place.
        numbers = await self._numbers(after=self._number - 1)
        if self._number and numbers[:1] != [self._number]:
            raise _Stale(f"{name_of(self._number)}, which was the newest, is gone")
        if not self._number or len(numbers) > SNAPSHOT_EVERY:
            await self._read_all(numbers)
        elif len(numbers) > 1:
            self._take(self._joined(self._nonce, await self._read(numbers[1:])))

    async def _read_all(self, numbers: list[int]) -> None:
        """Begin with the newest record that holds the whole state."""
        if not numbers:
            self._note()
            return
        first = max(filter(holds_state, numbers), default=None)
        if first is None:
            # Somebody deleted records by hand. What they said is lost, but nothing else need be.
            logger.warning("the journal under %s/ has lost its beginning; going on without it", RESERVED)
        records = await self._read([number for number in numbers if number >= (first or 0)])
        self._joined(records[0].after, records)
        self._state = records[0].load() if first is not None else State(at_rest=False, wakes=-1, fills=-1)
        self._take(records)

    def _joined(self, nonce: str, records: list[Record]) -> list[Record]:
        for record in records:
            if record.after != nonce:
                raise _Stale(f"{name_of(record.number)} was not built upon its predecessor")
            nonce = record.nonce
        return records

    async def _numbers(self, after: int) -> list[int]:
        start = name_of(after) if after > 0 else ""
        names = [name async for name in self._records.list(FOLDER, start)]
        return [number for number in map(number_of, names) if number is not None]

    async def _read(self, numbers: list[int]) -> list[Record]:
        """Return records that follow each other."""
        records: list[Record] = []
        for expected, number in enumerate(numbers, numbers[0]):
            if number != expected:
                raise _Stale(f"{name_of(expected)} is missing")
        for start in range(0, len(numbers), _READS_AT_ONCE):
            batch = numbers[start : start + _READS_AT_ONCE]
            for number, record in zip(batch, await asyncio.gather(*map(self._find, batch)), strict=True):
                if record is None:
                    raise _Stale(f"{name_of(number)} is missing")
                records.append(record)
        return records

    async def _find(self, number: int) -> Record | None:
        content = await self._records.read(name_of(number))
        return None if content is None else Record.decode(number, content)

    async def _sweep(self) -> None:
        try:
            await sweep(self._records, await self.now())
        except StorageError as error:
            logger.warning("old records of the journal could not be swept: %s", error)


def _busy() -> Busy:
    return Busy(_PATH, "too many changes of locks and properties at once")
