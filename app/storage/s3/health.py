"""What the last answers say of the store, so that an outage costs neither it nor its clients much.

While it is away nobody waits for it, save one request at a time that looks whether it is back; the first
answer, whatever it says, opens the way for all. What is repeated is paid for out of a budget that
successes fill again, as in the standard mode of Amazon's SDKs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.path import DavPath
from app.storage.base import Busy, Unavailable

MOST_WAITING: Final = 1024
"""So many requests of one process may wait for an answer of the store at a time."""

AWAY_AFTER: Final = 5
"""So many requests in a row must have had no answer before the store is taken to be away."""

PROBE_SECONDS: Final = 1.0
"""Another request may look whether the store is back when the one that looks has waited for so long."""

_BUDGET: Final = 500
_REPETITION_COSTS: Final = 5


class Health:
    """The state of one store as one process sees it."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._probes = 0
        self._probed_at = 0.0
        self._budget = _BUDGET
        self._waiting = 0

    @property
    def is_away(self) -> bool:
        return self._unanswered >= AWAY_AFTER

    @contextmanager
    def waiting(self, path: DavPath) -> Iterator[None]:
        """Wait for an answer within this context. Raises Busy or Unavailable where nobody should."""
        if self._waiting >= MOST_WAITING:
            raise Busy(path, f"{MOST_WAITING} requests are waiting for S3 already")
        probes = self.is_away
        if probes:
            self._begin_probe(path)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._probes -= probes

    def _begin_probe(self, path: DavPath) -> None:
        now = asyncio.get_running_loop().time()
        if self._probes and now < self._probed_at + PROBE_SECONDS:
            raise Unavailable(path, "S3 could not be reached just now, and another request is trying")
        self._probes += 1
        self._probed_at = now

    def answered(self) -> None:
        """Note that the store has answered, be it with an error."""
        self._unanswered = 0

    def unanswered(self) -> None:
        """Note that a request had no answer."""
        self._unanswered += 1

    def succeeded(self) -> None:
        """Note that a request had the answer it hoped for."""
        self._budget = min(self._budget + 1, _BUDGET)

    def may_repeat(self) -> bool:
        """Tell whether a failed request may be sent again, and count it."""
        if self._budget < _REPETITION_COSTS:
            return False
        self._budget -= _REPETITION_COSTS
        return True
