"""Calls that block, made in a bounded pool of threads so that the event loop never waits for a disk.

What costs here is not the calls but the threads' quarrel over Python's interpreter lock: every system
call gives it up, and wakes whoever waits for it for nothing. So one thread, on its shift, takes what
waits in turn, begins when the loop has done its round, and its results come back together. Only when it
is stuck in one call, or waits for a slow disk, does another thread take over.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, Generic, ParamSpec, TypeVar

from app.path import DavPath
from app.storage.base import Busy
from app.storage.folder.root import sync_folder
from app.storage.folder.waits import hand_over_by

P = ParamSpec("P")
T = TypeVar("T")

START_SECONDS: Final = 8.0
"""How long a call waits for a free thread: Zotero on iOS gives up after 15."""

_TOGETHER: Final = 16
"""So many calls at most wait for each other's changes before all are made durable."""

STUCK_SECONDS: Final = 0.003
"""A thread that is in one call for longer, up to twice as long, is stuck: others do not wait for it."""


class NoThread(Exception):
    """All threads were stuck for too long."""


@dataclass(slots=True)
class Unsynced(Generic[T]):
    """What a call returns whose `result` counts when a folder is durable, by `fsync` of one for many."""

    result: T
    folder: int
    """An open descriptor, which is closed when that is done."""


class _Call:
    """A call on its way: made by a thread, awaited in the event loop."""

    __slots__ = ("_error", "_make", "_result", "due", "future", "is_over", "unsynced")

    def __init__(self, make: Callable[[], object], loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._make = make
        self.due = loop.time() + seconds
        """When it must have begun, by the loop's clock."""
        self._result: object = None
        self.unsynced: Unsynced[Any] | None = None
        self._error: BaseException | None = None
        self.future: asyncio.Future[Any] = loop.create_future()
        self.is_over = False

    def run(self) -> None:
        """Make the call, in a thread. It is not yet over if there is something `unsynced` then."""
        try:
            result = self._make()
        except BaseException as error:
            self._error = error
            return
        if isinstance(result, Unsynced):
            self.unsynced, self._result = result, result.result
        else:
            self._result = result

    def synced(self, error: OSError | None) -> None:
        """Note that what was unsynced is durable, or why it is not."""
        if self.unsynced is not None:
            with suppress(OSError):
                os.close(self.unsynced.folder)
            self.unsynced = None
        # One for each, as a traceback will be added to it.
        self._error = None if error is None else OSError(*error.args)

    def settle(self) -> None:
        """Say, in the event loop, what became of it."""
        self.is_over = True
        error, self._error = self._error, None  # or the traceback would hold what holds it
        if self.future.done():  # cancelled with the task that waited, or given up
            return
        if error is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(error)

    async def settled(self) -> None:
        """Wait until it is over, however often the caller is cancelled meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        while not self.is_over:
            if self.future.done():
                self.future = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait([self.future])
            except asyncio.CancelledError as error:
                cancelled = error
        if not self.future.cancelled():
            self.future.exception()  # taken note of, or asyncio would log it as overlooked
        if cancelled is not None:
            raise cancelled


class _Shift:
    """The time in which one thread takes the calls that wait."""

    __slots__ = ("begun", "is_relieved", "seen")

    def __init__(self) -> None:
        self.begun = 0
        """How many calls were begun in it."""
        self.seen = -1
        """How many that were when the loop looked last."""
        self.is_relieved = False


class Threads:
    """At most `count` threads, started as they are needed.

    All but what `_work` calls is for one event loop alone.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[Thread] = []
        self._waiting: deque[_Call] = deque()
        self._unsynced: deque[_Call] = deque()
        self._made: deque[_Call] = deque()
        self._shifts: SimpleQueue[_Shift | None] = SimpleQueue()
        self._shift: _Shift | None = None
        self._at_work = 0
        self._is_looking = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._all_made = asyncio.Event()

    def submit(self, make: Callable[[], object], seconds: float = float("inf")) -> _Call:
        """Have a thread make a call; NoThread comes of it when none is free within so many seconds.

        Raises RuntimeError when the pool is closed.
        """
        if self._is_closed:
            raise RuntimeError("the server is stopping")
        if not self._waiting or self._loop is None:
            self._loop = asyncio.get_running_loop()
        call = _Call(make, self._loop, seconds)
        if not self._waiting:
            # Not at once: the thread would only fight over the interpreter with the loop's present round.
            self._loop.call_soon(self._begin)
        self._waiting.append(call)
        return call

    def take_back(self, call: _Call) -> bool:
        """Prevent a call from being made; False if it has begun."""
        try:
            self._waiting.remove(call)
        except ValueError:
            return False
        return True

    def _begin(self) -> None:
        """Begin a shift if calls wait, nobody takes them and somebody could."""
        if self._loop is None or not (self._waiting or self._unsynced):
            return
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_later(STUCK_SECONDS, self._look)
        if self._shift is not None or self._at_work == self._count:
            return
        self._shift = shift = _Shift()
        self._at_work += 1
        if self._at_work > len(self._threads):
            # No call is lost when it dies with the process: `aclose` has waited for all.
            thread = Thread(target=self._work, args=(self._loop,), name="folder", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._shifts.put(shift)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (shift := self._shifts.get()) is not None:
            hand_over_by(partial(self._hand_over, shift, loop))
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                while not shift.is_relieved and (self._waiting or self._unsynced):
                    self._make_calls(shift)
                    self._sync_together(loop)
                loop.call_soon_threadsafe(self._end, shift)

    def _hand_over(self, shift: _Shift, loop: asyncio.AbstractEventLoop) -> None:
        """End a shift from within it. What is submitted after that begins another by itself."""
        shift.is_relieved = True
        if self._shift is shift:
            self._shift = None
            if self._waiting:
                loop.call_soon_threadsafe(self._begin)

    def _make_calls(self, shift: _Shift) -> None:
        while not shift.is_relieved and len(self._unsynced) < _TOGETHER:
            call = _next(self._waiting)
            if call is None:
                return
            shift.begun += 1
            call.run()
            (self._made if call.unsynced is None else self._unsynced).append(call)

    def _sync_together(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make durable what calls have changed, each folder once: all changes were made before."""
        if self._unsynced and self._made:
            loop.call_soon_threadsafe(self._settle)  # they need not wait
        failures: dict[tuple[int, int], OSError | None] = {}
        calls = list(iter(lambda: _next(self._unsynced), None))
        for call in calls:
            if call.unsynced is not None:
                call.synced(_sync(call.unsynced.folder, failures))
        self._made.extend(calls)
        if calls and self._waiting:
            loop.call_soon_threadsafe(self._settle)

    def _end(self, shift: _Shift) -> None:
        self._at_work -= 1
        if self._shift is shift:
            self._shift = None
        self._settle()
        self._begin()
        if self._is_closed and not self._at_work:
            self._all_made.set()

    def _settle(self) -> None:
        while self._made:
            self._made.popleft().settle()

    def _look(self) -> None:
        """Relieve the thread on its shift if it is still in the call that it was in before."""
        shift = self._shift
        if shift is not None and shift.begun == shift.seen:
            shift.is_relieved = True
            self._shift = None
            self._begin()
        elif shift is not None:
            shift.seen = shift.begun
        # Nor do those wait for it whose calls it made before.
        self._settle()
        if self._loop is None:
            return
        self._give_up(self._loop.time())
        self._is_looking = self._shift is not None or bool(self._waiting)
        if self._is_looking:
            self._loop.call_later(STUCK_SECONDS, self._look)

    def _give_up(self, now: float) -> None:
        """Let those go for whom no thread came free in time."""
        for call in list(self._waiting):
            if call.due <= now and self.take_back(call) and not call.future.done():
                call.future.set_exception(NoThread())

    async def aclose(self) -> None:
        """Wait until all calls have been made, and end the threads; safe to call twice."""
        self._is_closed = True
        if self._waiting or self._at_work:
            await self._all_made.wait()
        for _ in self._threads:
            self._shifts.put(None)
        threads, self._threads = self._threads, []
        for thread in threads:
            await asyncio.to_thread(thread.join)


def _next(calls: deque[_Call]) -> _Call | None:
    try:
        return calls.popleft()
    except IndexError:  # another thread was faster
        return None


def _sync(folder: int, failures: dict[tuple[int, int], OSError | None]) -> OSError | None:
    """Make a folder durable unless that was done or tried; return why it failed."""
    try:
        status = os.fstat(folder)
    except OSError as error:
        return error
    identity = status.st_dev, status.st_ino
    if identity not in failures:
        failures[identity] = None
        try:
            sync_folder(folder)
        except OSError as error:
            failures[identity] = error
    return failures[identity]


async def in_thread(
    threads: Threads, path: DavPath, call: Callable[P, T | Unsynced[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return `call(...)`, made in a thread; `path` is the resource it is about.

    Of what is `Unsynced` it returns the result when it is durable, or raises the OSError of `fsync`.

    A call that has begun cannot be stopped, so it is waited for even when the caller is cancelled:
    afterwards nothing is at work any more on what the caller will free. Raises Busy.
    """
    try:
        made = threads.submit(partial(call, *args, **kwargs), START_SECONDS)
    except RuntimeError as error:
        raise Busy(path, str(error)) from error
    try:
        result: T = await made.future
    except asyncio.CancelledError:
        if not threads.take_back(made):
            await made.settled()
        raise
    except NoThread:
        text = f"no thread came free within {START_SECONDS:.0f} s: is the disk stuck?"
        raise Busy(path, text) from None
    return result


async def clean_up(threads: Threads, call: Callable[[], None]) -> None:
    """Make a call that must not be lost, whatever happens to the caller."""
    try:
        made = threads.submit(call)
    except RuntimeError:
        call()
    else:
        await made.settled()
