"""Records in memory, what may happen on the way to any records, and what tests do with a journal."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable

from app.journal.journal import Journal
from app.journal.state import Change
from app.path import DavPath
from app.storage.base import Records, Unavailable


class Clock:
    """A clock that stands until it is moved: of a server, and of the store."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class MemoryRecords:
    """See app.storage.base.Records; `clock` is the store's."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.content: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._clock = clock

    def names(self) -> list[str]:
        return sorted(self.content)

    async def create(self, name: str, content: bytes) -> bool:
        self.requests.append(f"create {name}")
        return self.content.setdefault(name, content) is content

    async def read(self, name: str) -> bytes | None:
        self.requests.append(f"read {name}")
        return self.content.get(name)

    async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:
        self.requests.append(f"list after {after}")
        for name in sorted(self.content):
            if name.startswith(f"{folder}/") and name > after:
                yield name

    async def delete(self, name: str) -> None:
        self.requests.append(f"delete {name}")
        self.content.pop(name, None)

    async def now(self) -> float:
        self.requests.append("now")
        return self._clock()


class Hazards:
    """Pauses of random length, and how often one is long and a request goes wrong."""

    def __init__(
        self, dice: random.Random, longest: float, failures: float = 0.0, often: float = 0.01
    ) -> None:
        self._dice = dice
        self._longest = longest
        self._failures = failures
        self._often = often

    async def pause(self) -> None:
        """Wait mostly for a millisecond or two, as often as said for up to `longest` seconds."""
        scale = self._longest if self._dice.random() < self._often else 0.004
        await asyncio.sleep(self._dice.random() * scale)

    def strikes(self) -> bool:
        return self._dice.random() < self._failures


class HazardousRecords:
    """Records that are slow, fail, do what was asked without saying so, or do it too late."""

    def __init__(self, records: Records, hazards: Hazards) -> None:
        self._records = records
        self._hazards = hazards
        self._late: set[asyncio.Task[bool]] = set()

    async def create(self, name: str, content: bytes) -> bool:
        await self._hazards.pause()
        self._fail()
        if self._hazards.strikes():
            late = asyncio.create_task(self._create_late(name, content))
            self._late.add(late)
            raise _unavailable()
        created = await self._records.create(name, content)
        await self._hazards.pause()
        self._fail()
        return created

    async def _create_late(self, name: str, content: bytes) -> bool:
        await self._hazards.pause()
        return await self._records.create(name, content)

    async def read(self, name: str) -> bytes | None:
        await self._hazards.pause()
        self._fail()
        content = await self._records.read(name)
        await self._hazards.pause()
        return content

    async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:
        await self._hazards.pause()
        self._fail()
        names = [name async for name in self._records.list(folder, after)]
        await self._hazards.pause()
        for name in names:
            yield name

    async def delete(self, name: str) -> None:
        await self._hazards.pause()
        self._fail()
        await self._records.delete(name)
        await self._hazards.pause()

    async def now(self) -> float:
        await self._hazards.pause()
        now = await self._records.now()
        await self._hazards.pause()
        return now

    def _fail(self) -> None:
        if self._hazards.strikes():
            raise _unavailable()

    async def settle(self) -> None:
        """Wait for what comes late."""
        await asyncio.gather(*self._late)


def _unavailable() -> Unavailable:
    return Unavailable(DavPath(), "lost on the way")


def prop(name: str, where: str = "f") -> Change:
    return {"props": {"path": [where], "set": {name: "<x/>"}, "remove": []}}


async def note(journal: Journal, name: str) -> None:
    """Make a change that can be told from all others."""
    await journal.change(lambda _state, _now: ([prop(name)], None))


async def notes(journal: Journal) -> list[str]:
    """Return what has been noted, in order."""
    return list((await journal.state()).props.get(DavPath(("f",)), ()))


async def wake(journal: Journal) -> None:
    await journal.change(lambda state, _now: ([{"wake": True}] if state.at_rest else [], None))


async def numbers(records: Records) -> list[int]:
    return [int(name[-16:]) async for name in records.list("journal")]
