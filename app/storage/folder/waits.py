"""A thread that is about to wait for the disk lets another one take over, where such waits are long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LONG_SECONDS: Final = 0.001
"""Shorter waits cost less than a second thread does, which fights over the interpreter with the first."""

_WEIGHT: Final = 0.2


class _Here(threading.local):
    hand_over: Callable[[], None] | None = None
    seconds: float = 0.0
    """What a wait took of late."""


_here: Final = _Here()


def hand_over_by(call: Callable[[], None]) -> None:
    """Say how this thread lets another one take over what is not yet begun."""
    _here.hand_over = call


@contextmanager
def waiting_for_disk() -> Iterator[None]:
    """Wait for the disk within this context."""
    if _here.hand_over is not None and _here.seconds > _LONG_SECONDS:
        _here.hand_over()
    began = time.perf_counter()
    try:
        yield
    finally:
        _here.seconds += _WEIGHT * (time.perf_counter() - began - _here.seconds)
