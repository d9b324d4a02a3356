"""A script that starts many programs: it says what it does, and stops them all when it is stopped."""

from __future__ import annotations

import resource
import signal
import sys
from types import FrameType


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def prepare() -> None:
    """End by SystemExit on SIGTERM, and allow as many connections as there may be."""
    signal.signal(signal.SIGTERM, _stop)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # called by signal with both
    # Not at once, so that every program that was started is stopped.
    say("stopped by a signal")
    sys.exit(128 + number)
