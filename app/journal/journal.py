"""The numbered journal: every change of state creates the record with the next number.

Creating a record that must not exist yet is the one thing that every storage does atomically, so the
one who creates number n+1 has seen number n, and nobody else can have changed anything between. The
newest record is never deleted. Old ones are swept, long after; a server that slept through all of that
could create a number that was used and swept before, so each record names its predecessor and a new
one is looked at once more before it counts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from app.journal.state import Change, Locked, State, WriteUnderWay
from app.path import RESERVED, DavPath
from app.storage.base import Busy, Denied, Records, StorageError, Unavailable

logger: Final = logging.getLogger("zotshelf")

T = TypeVar("T")

FOLDER: Final = "journal"
TRUST_SECONDS: Final = 2.0
"""How long 'there are no locks and no dead properties' is trusted, from when the question was sent."""

SNAPSHOT_EVERY: Final = 64
"""Records whose number leaves 1 when divided by this hold the whole state, not only the change."""

_SWEEP_AGE_SECONDS: Final = 600.0
_SWEEP_EVERY_SECONDS: Final = 300.0
_CLOCK_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 10.0
_READS_AT_ONCE: Final = 16
_DIGITS: Final = 16

Decide = Callable[[State, float], tuple[list[Change], T]]
"""From the state and the store's time to the changes to make and the answer; may refuse by raising."""


class NoRecords:
    """The records of a storage that can keep none: always empty."""

    async def create(self, name: str, content: bytes) -> bool:  # noqa: ARG002
        raise Denied(DavPath((RESERVED,)), "this storage keeps no locks and no properties")

    async def read(self, name: str) -> bytes | None:  # noqa: ARG002
        return None

    async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:  # noqa: ARG002
        none: tuple[str, ...] = ()
        for name in none:
            yield name

    async def delete(self, name: str) -> None:
        pass

    async def now(self) -> float:
        return time.time()


class _Stale(Exception):
    """What is known does not join with what is stored: everything must be read anew."""


class Journal:
    """The journal of one root. All servers of that root have one each; together they agree."""

    def __init__(self, records: Records, clock: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._clock = clock
        self._mutex = asyncio.Lock()
        self._state = State()
        self._number = 0
        self._nonce = ""
        self._trusted_until = float("-inf")
        self._offset = 0.0
        self._offset_until = float("-inf")
        self._swept = clock()
        self._commits: set[asyncio.Future[None]] = set()

    @property
    def trusted(self) -> State | None:
        """The state, if it may be trusted without asking: that there are no locks. Else None.

        Whether there are no dead properties either is for the caller to see.
        """
        return self._state if self._clock() < self._trusted_until else None

    async def state(self) -> State:
        """Return the state as it is in the storage now."""
        async with self._turn():
            await self._catch_up()
            return self._state

    async def now(self) -> float:
        """Return the store's time."""
        if self._clock() >= self._offset_until:
            asked = self._clock()
            found = await self._records.now()
            heard = self._clock()
            self._offset = found - (asked + heard) / 2
            self._offset_until = heard + _CLOCK_SECONDS
        return self._clock() + self._offset

    async def change(self, decide: Decide[T]) -> T:
        """Make the changes that `decide` names, as one record, on exactly the state that it saw.

        `decide` may be asked several times. What it raises is raised only when it saw the newest state.
        """
        async with self._turn():
            fresh = False
            while True:
                now = await self.now()
                try:
                    changes, result = decide(self._state, now)
                except (Locked, WriteUnderWay, StorageError):
                    if fresh:
                        raise
                    changes = []
                if changes and await self._append(changes, now):
                    return result
                if not changes and fresh:
                    return result
                await self._catch_up()
                fresh = True

    @asynccontextmanager
    async def trusting_commit(self) -> AsyncIterator[None]:
        """Mark a commit that relies on trust; a lock taken by this very server waits for it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.add(done)
        try:
            yield
        finally:
            self._commits.discard(done)
            done.set_result(None)

    async def commits_over(self) -> None:
        """Wait until the commits of this server that rely on trust, begun before now, are over."""
        if self._commits:
            await asyncio.wait(set(self._commits), timeout=_PATIENCE_SECONDS)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._mutex.acquire()
        except TimeoutError:
            raise Busy(DavPath((RESERVED,)), "too many changes of locks and properties at once") from None
        try:
            yield
        finally:
            self._mutex.release()

    async def _append(self, changes: list[Change], now: float) -> bool:
        """Create the next record; False when somebody else did, or when ours does not count."""
        number, nonce = self._number + 1, secrets.token_hex(8)
        record: dict[str, Any] = {"nonce": nonce, "after": self._nonce, "at": now, "changes": changes}
        if number % SNAPSHOT_EVERY == 1:
            record["state"] = self._state.dump()
        if not await self._records.create(_name(number), json.dumps(record).encode()):
            return False
        # Ours counts if it is the newest now, or if the next one was built upon it.
        later = await self._numbers(after=number - 1)
        if later[:1] != [number] or (len(later) > 1 and not await self._is_after(later[1], number, nonce)):
            logger.warning("a record was created too late to count; trying again")
            await self._records.delete(_name(number))
            self._number = 0
            return False
        self._take(number, record)
        await self._sweep_sometimes()
        return True

    async def _is_after(self, later: int, number: int, nonce: str) -> bool:
        if later != number + 1:
            return False
        record = await self._read(later)
        return bool(record["after"] == nonce)

    def _take(self, number: int, record: dict[str, Any]) -> None:
        self._trusted_until = float("-inf")
        for change in record["changes"]:
            self._state.apply(change, record["at"])
        self._number, self._nonce = number, record["nonce"]

    async def _catch_up(self) -> None:
        """Read what has been recorded since we last looked."""
        asked = self._clock()
        for _ in range(5):
            try:
                await self._read_news()
                break
            except _Stale:
                self._number, self._nonce, self._state = 0, "", State()
        else:
            raise Unavailable(
                DavPath((RESERVED,)), "the journal of locks and properties changes too fast to be read"
            )
        if self._state.at_rest:
            self._trusted_until = asked + TRUST_SECONDS

    async def _read_news(self) -> None:
        numbers = await self._numbers(after=self._number)
        if not numbers:
            return
        if not self._number:
            await self._start_from(numbers)
            numbers = [number for number in numbers if number > self._number]
        if numbers and numbers != list(range(self._number + 1, self._number + 1 + len(numbers))):
            raise _Stale
        for start in range(0, len(numbers), _READS_AT_ONCE):
            batch = numbers[start : start + _READS_AT_ONCE]
            records = await asyncio.gather(*map(self._read, batch))
            for number, record in zip(batch, records, strict=True):
                if record["after"] != self._nonce:
                    raise _Stale
                self._take(number, record)

    async def _start_from(self, numbers: list[int]) -> None:
        """Load the newest record that holds the whole state."""
        starts = [number for number in numbers if number % SNAPSHOT_EVERY == 1]
        number = starts[-1] if starts else numbers[0]
        record = await self._read(number)
        if starts:
            self._state = State.load(record["state"])
        else:
            # Somebody deleted records by hand. What they said is lost, but nothing else need be.
            logger.warning("the journal under .zotshelf/ has lost its beginning; going on without it")
        self._take(number, record)

    async def _numbers(self, after: int) -> list[int]:
        found: list[int] = []
        async for name in self._records.list(FOLDER, _name(after) if after else ""):
            digits = name.rpartition("/")[2]
            if digits.isdigit():
                found.append(int(digits))
        return found

    async def _read(self, number: int) -> dict[str, Any]:
        content = await self._records.read(_name(number))
        if content is None:
            raise _Stale
        try:
            record: dict[str, Any] = json.loads(content)
        except ValueError:
            raise Unavailable(
                DavPath((RESERVED,)), f"the record {_name(number)} under .zotshelf/ is damaged"
            ) from None
        return record

    async def _sweep_sometimes(self) -> None:
        if self._clock() - self._swept < _SWEEP_EVERY_SECONDS:
            return
        self._swept = self._clock()
        try:
            await self._sweep()
        except (StorageError, _Stale) as error:
            logger.warning("old records of the journal could not be swept: %s", error)

    async def _sweep(self) -> None:
        """Delete what lies before a whole state that has been the newest long ago."""
        now = await self.now()
        numbers = await self._numbers(after=0)
        starts = [number for number in numbers if number % SNAPSHOT_EVERY == 1]
        for start in reversed(starts[:-1]):
            if (await self._read(start))["at"] < now - _SWEEP_AGE_SECONDS:
                for number in [number for number in numbers if number < start]:
                    await self._records.delete(_name(number))
                return


def _name(number: int) -> str:
    return f"{FOLDER}/{number:0{_DIGITS}d}"
