"""Guessing passwords made slow: failed sign-ins are counted, and too many of them block for a while."""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from app.client_address import network_of, parse_address

logger: Final = logging.getLogger("zotshelf.auth")

FORGET_SECONDS: Final = 3600.0
"""After so long without a failure all is forgotten."""
LONGEST_BLOCK: Final = 900.0
MAX_REMEMBERED: Final = 4096
"""How many accounts, clients and headers are remembered at most; the oldest give way."""

_CLIENT_FACTOR: Final = 4
"""How many times more failures a client may have that tries several accounts, such as a whole campus."""
_ACCOUNT_FACTOR: Final = 10
_FULL_SECONDS: Final = 1.0
_SLOWEST: Final = 2.0
_FIRST_DELAY: Final = 0.125

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Memory(OrderedDict[K, V], Generic[K, V]):
    """Remembers what was used last, up to a number."""

    def keep(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > MAX_REMEMBERED:
            self.popitem(last=False)


@dataclass(slots=True)
class _Count:
    failures: int
    last: float


class Throttle:
    """Decides who may try to sign in now. `clock` gives seconds.

    Three counts are kept: of one account from one client, of one client, and of one account. A client
    is an IPv4 address or an IPv6 /64. The first `free` failures of an account from a client cost
    nothing but a delay; each further one blocks twice as long, up to 15 minutes. A client that tries
    several accounts has four times as many, an account that is tried from everywhere ten times, and
    then whoever has failed there before waits. A header that was good once is never kept waiting, so
    that a user's devices go on while somebody else guesses. The same wrong header counts but once: a
    client that has an old password stored guesses nothing.
    """

    def __init__(self, free: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`free` of 0 blocks nobody."""
        self._free = free
        self._clock = clock
        self._pairs: _Memory[tuple[str, str], _Count] = _Memory()
        self._clients: _Memory[str, _Count] = _Memory()
        self._accounts: _Memory[str, _Count] = _Memory()
        self._good: _Memory[bytes, None] = _Memory()
        self._bad: _Memory[bytes, None] = _Memory()
        self._underway: dict[tuple[str, str], Counter[bytes]] = {}

    def seconds_to_wait(self, user: str, address: str, key: bytes) -> float:
        """Return how long this sign-in has to wait, 0 if it may be tried; `key` stands for the header."""
        if not self._free or key in self._good:
            return 0.0
        client = network_of(address)
        underway: Counter[bytes] = self._underway.get((user, client), Counter())
        # A client that begins with many requests at once guesses but once.
        if key not in underway and len(underway) >= self._free:
            return _FULL_SECONDS
        pair = self._left(self._pairs, (user, client), 1)
        # Of all who come through a proxy that names nobody, one would block the others.
        all_accounts = 0.0 if _is_here(address) else self._left(self._clients, client, _CLIENT_FACTOR)
        account = self._left(self._accounts, user, _ACCOUNT_FACTOR) if (user, client) in self._pairs else 0.0
        return max(pair, all_accounts, account)

    @contextmanager
    def trying(self, user: str, address: str, key: bytes) -> Iterator[None]:
        """Count a sign-in as being tried within this context: many at once must not count as none."""
        pair = (user, network_of(address))
        underway = self._underway.setdefault(pair, Counter())
        underway[key] += 1
        try:
            yield
        finally:
            underway[key] -= 1
            if not underway[key]:
                del underway[key]
            if not underway:
                self._underway.pop(pair, None)

    def passed(self, user: str, address: str, key: bytes) -> None:
        """Note a sign-in that was right."""
        self._good.keep(key, None)
        self._pairs.pop((user, network_of(address)), None)

    def failed(self, user: str, address: str, key: bytes) -> float:
        """Note a sign-in that was wrong; return after how many seconds it should be answered."""
        self._good.pop(key, None)
        if not self._free or key in self._bad:
            return 0.0
        self._bad.keep(key, None)
        client = network_of(address)
        failures = self._count(self._pairs, (user, client))
        self._count(self._clients, client)
        self._count(self._accounts, user)
        left = self.seconds_to_wait(user, address, key)
        if left:
            logger.warning(
                "sign-in as %s from %s: %d failures, blocked for %.0f s",
                user,
                client,
                failures,
                left,
            )
        return min(_FIRST_DELAY * (1 << min(failures - 1, 10)), _SLOWEST)

    def _count(self, counts: _Memory[K, _Count], subject: K) -> int:
        now = self._clock()
        known = counts.get(subject)
        failures = 1 if known is None or now - known.last > FORGET_SECONDS else known.failures + 1
        counts.keep(subject, _Count(failures, now))
        return failures

    def _left(self, counts: _Memory[K, _Count], subject: K, factor: int) -> float:
        count = counts.get(subject)
        if count is None:
            return 0.0
        excess = count.failures - self._free * factor
        if excess <= 0:
            return 0.0
        block = min(float(1 << min(excess - 1, 20)), LONGEST_BLOCK)
        return max(count.last + block - self._clock(), 0.0)


def _is_here(address: str) -> bool:
    found = parse_address(address)
    return found is None or found.is_loopback
