"""All connections of this process: how many there may be, and which of them give way.

Every connection takes memory and a file descriptor, and there are fewer of both than of clients. When
there are too many, one that waits for its next request gives way to the one that comes, the one that has
waited longest first; where all are at work, who comes is told to try again. A client that takes nothing of
what was sent to it is cut off, also where its answer has ended and only lies in the socket's buffer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Final, Protocol

from app.crowd import Seldom

logger: Final = logging.getLogger("zotshelf.connections")

TOLD: Final = 64
"""So many beyond the limit are told so before they are closed; further ones are closed at once."""
_LOOKS: Final = 4
"""How often in the time of their patience connections are looked at."""


class Connection(Protocol):
    """What a connection must be able to do to be one of many."""

    def unsent(self) -> int:
        """Return how many bytes the client has not taken yet, as far as this process holds them."""
        ...

    def cut(self) -> None:
        """Break the connection, whatever is unsent."""
        ...


class Connections:
    """At most `most` at a time; one that takes nothing for `patience` seconds is cut."""

    def __init__(self, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._all: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        """Those without a request, in the order in which they came to be so."""
        self._refused: set[Connection] = set()
        self._unsent: dict[Connection, tuple[int, float]] = {}
        """How much each that is behind had not taken when it was looked at, and since when that is so."""
        self._timer: asyncio.TimerHandle | None = None
        self._said = Seldom()
        self.refusals: Counter[int] = Counter()
        """How many requests were answered before they reached the application, by status."""

    @property
    def all(self) -> int:
        """How many connections there are."""
        return len(self._all)

    @property
    def waiting(self) -> int:
        """How many of them wait for a request."""
        return len(self._idle)

    def admit(self, connection: Connection) -> bool:
        """Take in one that comes; False if it must be refused. `leave` follows in either case."""
        self._look_later()
        if len(self._all) >= self._most and not self._make_room():
            self._refused.add(connection)
            if self._said.due():
                logger.warning(
                    "all %d connections are at work: further ones are told to come again; see"
                    " ZOTSHELF_CONNECTIONS",
                    self._most,
                )
            return False
        self._all.add(connection)
        self._idle[connection] = None
        return True

    def _make_room(self) -> bool:
        if not self._idle:
            return False
        oldest = next(iter(self._idle))
        self.leave(oldest)
        oldest.cut()
        return True

    def may_be_told(self) -> bool:
        """Tell whether one that was refused may stay until it has read why."""
        return len(self._refused) <= TOLD

    def busy(self, connection: Connection) -> None:
        """Note that there is a request on a connection."""
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """Note that a connection waits for its next request."""
        if connection in self._all:
            self._idle[connection] = None

    def leave(self, connection: Connection) -> None:
        """Forget one that is closed; twice is harmless."""
        self._all.discard(connection)
        self._refused.discard(connection)
        self._idle.pop(connection, None)
        self._unsent.pop(connection, None)

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience / _LOOKS, self._look)

    def _look(self) -> None:
        """Cut those who have taken nothing for too long; look again while there are any."""
        self._timer = None
        now = time.monotonic()
        for connection in [*self._all, *self._refused]:
            size = connection.unsent()
            before, since = self._unsent.get(connection, (0, now))
            if not size:
                self._unsent.pop(connection, None)
            elif size != before:
                self._unsent[connection] = size, now
            elif now - since >= self._patience:
                connection.cut()
        if self._all or self._refused:
            self._look_later()

    def close(self) -> None:
        """Look at them no more."""
        if self._timer is not None:
            self._timer.cancel()
