"""Work that is done once, however many requests wait for it, and no longer than one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

STEP_SECONDS: Final = 1.0
"""How often progress is told."""


@dataclass(slots=True)
class Progress:
    """How far a piece of work is."""

    waiting: bool = True
    """Whether other work must end first."""
    listed: int = 0
    done: int = 0

    def add_listed(self, number: int) -> None:
        self.listed += number

    def add_done(self, number: int) -> None:
        self.done += number


class Work(Generic[T]):
    """One piece of work in progress."""

    def __init__(self, do: Callable[[Progress], Awaitable[T]]) -> None:
        self.progress = Progress()
        self._task = asyncio.create_task(_done(do, self.progress))
        self.takers = 0

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def result(self) -> T:
        """Wait for the result. Raises what the work raises."""
        return await asyncio.shield(self._task)

    async def steps(self) -> AsyncIterator[Progress]:
        """Yield now and then until the work is over."""
        while not self._task.done():
            yield self.progress
            await asyncio.wait({self._task}, timeout=STEP_SECONDS)

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def _done(do: Callable[[Progress], Awaitable[T]], progress: Progress) -> T:
    return await do(progress)


class SharedWork:
    """All work in progress, by what it is for. The owner calls `aclose` at the end."""

    def __init__(self) -> None:
        self._running: dict[Hashable, Work[Any]] = {}

    @asynccontextmanager
    async def join(
        self, name: Hashable, do: Callable[[Progress], Awaitable[T]]
    ) -> AsyncGenerator[Work[T], None]:
        """Take part in the work of that name, which begins with the first and breaks off with the last."""
        running: Work[T] | None = self._running.get(name)
        work = Work(do) if running is None or running.is_over else running
        self._running[name] = work
        work.takers += 1
        try:
            yield work
        finally:
            work.takers -= 1
            if not work.takers:
                if self._running.get(name) is work:
                    del self._running[name]
                await work.aclose()

    async def aclose(self) -> None:
        """Break all off."""
        for work in list(self._running.values()):
            await work.aclose()
