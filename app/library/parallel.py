"""The same work on many things, so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def each(things: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do `work` on every one of `things`; the first failure ends all, and is raised."""
    left = iter(things)

    async def do_the_next() -> None:
        for thing in left:
            await work(thing)

    tasks = [asyncio.create_task(do_the_next()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
