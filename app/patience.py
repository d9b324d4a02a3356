"""Waiting for at most so long, at no price where there is nothing to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float | None, awaitable: Awaitable[T]) -> T:
    """Await something for at most `seconds`, with None as long as it takes. Raises TimeoutError.

    A timer costs more than most of what is awaited here: data that has come, and a send buffer with room.
    So it is set only when there is a wait.
    """
    steps = awaitable.__await__()
    try:
        waits_for = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    async with asyncio.timeout(seconds):
        return await _rest(steps, waits_for)


@coroutine
def _rest(steps: Generator[Any, Any, T], waits_for: object) -> Generator[Any, Any, T]:
    """Go on with what has come to its first wait, and is not to be begun again."""
    try:
        while True:
            try:
                given = yield waits_for
            except BaseException as error:
                waits_for = steps.throw(error)
            else:
                waits_for = steps.send(given)
    except StopIteration as end:
        result: T = end.value
        return result
