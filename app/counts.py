"""What is counted while requests are answered: plain numbers of one process, which cost next to nothing.

Whoever does something counts it. Who reads the numbers (app.metrics) comes now and then, or never.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection
from typing import Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
"""Seconds."""

OTHER: Final = "other"
"""What stands for every name that is not one of ours, or clients could make the numbers endlessly many."""


class Times:
    """How often something took how long."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        """How often it took at most as long as each of the bounds, and longer than the one before; the last
        of them is how often it took longer than all."""
        self.sum = 0.0
        """Seconds."""

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class Traffic:
    """The requests that have come, and those that are being answered; only `methods` are told apart."""

    def __init__(self, methods: Collection[str]) -> None:
        self._methods = frozenset(methods)
        self.requests: Counter[tuple[str, int]] = Counter()
        """Those that have ended, by method and by the status that the access log has."""
        self.times: dict[str, Times] = {}
        self.received = 0
        """Bytes of bodies, as in the access log."""
        self.sent = 0
        self.under_way = 0
        self.uploads = 0
        """Requests of which a part of the body is still to come."""
        self.downloads = 0
        """Answers of which a part has been sent."""
        self.cut = 0
        """Answers that could not be finished."""

    def ended(self, method: str, status: int, seconds: float) -> None:
        """Take note of a request that has been answered, or never will be."""
        if method not in self._methods:
            method = OTHER
        self.requests[method, status] += 1
        times = self.times.get(method)
        if times is None:
            times = self.times[method] = Times()
        times.add(seconds)
