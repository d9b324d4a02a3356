"""Calls that block, made in a bounded pool of threads so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final, ParamSpec, TypeVar

from app.path import DavPath
from app.storage.base import Busy

P = ParamSpec("P")
T = TypeVar("T")

START_SECONDS: Final = 30.0
"""How long a call waits for a free thread."""


async def in_thread(
    threads: Executor, path: DavPath, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return `call(...)`, made in a thread; `path` is the resource it is about.

    A call that has begun cannot be stopped, so it is waited for even when the caller is cancelled:
    afterwards nothing is at work any more on what the caller will free. Raises Busy.
    """
    try:
        future = threads.submit(call, *args, **kwargs)
    except RuntimeError as error:
        raise Busy(path, str(error)) from error
    # Has an effect only on a call that has not begun.
    timer = asyncio.get_running_loop().call_later(START_SECONDS, future.cancel)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if not future.cancelled():
            await _settled(future)
        elif not _is_cancelled():
            raise Busy(
                path, f"no thread came free within {START_SECONDS:.0f} s: is the disk stuck?"
            ) from None
        raise
    finally:
        timer.cancel()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def clean_up(threads: Executor, call: Callable[[], None]) -> None:
    """Make a call that must not be lost, whatever happens to the caller."""
    try:
        future = threads.submit(call)
    except RuntimeError:
        call()
    else:
        await _settled(future)


async def _settled(future: Future[Any]) -> None:
    """Wait until the call is over, however often the caller is cancelled meanwhile."""
    waiter = asyncio.wrap_future(future)
    cancelled: asyncio.CancelledError | None = None
    while not waiter.done():
        try:
            await asyncio.wait([waiter])
        except asyncio.CancelledError as error:
            cancelled = error
    if not waiter.cancelled():
        waiter.exception()  # taken note of, or asyncio would log it as overlooked
    if cancelled is not None:
        raise cancelled
