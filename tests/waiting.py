"""Waiting for what a server does beside the test."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.wire import PATIENCE


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return as soon as it `holds`; fail with `what` after some seconds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
