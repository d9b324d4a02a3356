"""By when a request must be answered, known to whatever works on it without being handed down.

Zotero on iOS gives up 15 seconds after it has sent its last byte, so an answer, good or bad, begins
before that. Where the method's work takes longer it is cancelled.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self

ANSWER_SECONDS: Final = 11.0
"""How long a request may be worked on after the last byte of it has come: 12 with what is left to do then."""

_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class OutOfTime(Exception):
    """A request could not be answered in time."""


class Deadline:
    """A context for the work on one request; raises OutOfTime when `seconds` are over.

    It stands still while the client is waited for.
    """

    def __init__(self, seconds: float = ANSWER_SECONDS) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)
        self._began = 0.0
        self._spent: float | None = None
        self._is_lifted = False

    async def __aenter__(self) -> Self:
        self._began = asyncio.get_running_loop().time()
        self._token = _current.set(self)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise OutOfTime from error

    @property
    def is_over(self) -> bool:
        return self._timeout.expired()

    @property
    def seconds_left(self) -> float | None:
        """None while it stands still, and when it was lifted."""
        end = self._timeout.when()
        return None if end is None else end - asyncio.get_running_loop().time()

    def stop(self) -> None:
        """The client is waited for. What was spent before the first of its bytes stays spent."""
        if not self._is_lifted:
            if self._spent is None:
                self._spent = asyncio.get_running_loop().time() - self._began
            self._timeout.reschedule(None)

    def go_on(self) -> None:
        """Bytes of the client have come, perhaps the last ones."""
        if not self._is_lifted:
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._seconds - (self._spent or 0))

    def extend(self, seconds: float) -> None:
        """Allow more for what honestly takes longer."""
        end = self._timeout.when()
        if end is not None and not self.is_over:
            self._timeout.reschedule(end + seconds)

    def lift(self) -> None:
        """Allow any time."""
        self._is_lifted = True
        if not self.is_over:
            self._timeout.reschedule(None)


def lift_deadline() -> None:
    """The request at hand is about a whole tree, which no time can be set for."""
    deadline = _current.get()
    if deadline is not None:
        deadline.lift()


def extend_deadline(seconds: float) -> None:
    """The request at hand honestly takes so many seconds longer than others."""
    deadline = _current.get()
    if deadline is not None:
        deadline.extend(seconds)


def is_out_of_time() -> bool:
    """Tell whether the request at hand has been given up, so that nothing new should be begun for it."""
    deadline = _current.get()
    return deadline is not None and deadline.is_over


def seconds_left() -> float | None:
    """Return for how long the request at hand may still be worked on; None where no end is set."""
    deadline = _current.get()
    return None if deadline is None else deadline.seconds_left
