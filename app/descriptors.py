"""File descriptors: every connection takes one, and every file and connection to the store that it needs."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from typing import Any, Final

from app.crowd import Seldom

logger: Final = logging.getLogger("zotshelf")

_EACH: Final = 2
"""A client's connection, and what it is served from."""
_OTHERS: Final = 128
_NEAR: Final = 8
_USED_UP: Final = {errno.EMFILE, errno.ENFILE}

# Loaded now: it escapes what is logged, and is a file itself, which could not be opened then.
"".encode("unicode_escape")


def connections_at_once(wanted: int) -> int:
    """Let this process open as many files as it may; return how many connections that allows.

    Most systems give 1024 to a process that does not ask for more, and far more to one that does.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most == resource.RLIM_INFINITY:
        return wanted
    allowed = max((most - _OTHERS) // _EACH, 1)
    if allowed < wanted:
        logger.warning(
            "this process may open only %d files (LimitNOFILE in systemd, ulimit -Hn): it takes %d"
            " connections at once, and not %d",
            most,
            allowed,
            wanted,
        )
    return min(allowed, wanted)


class Scarcity:
    """Says in the log, once a minute, that this process can open no more files.

    Neither event loop lets that through to a protocol: uvloop closes who comes without a word, asyncio
    tries again every second and logs each of its tries, thousands of them.
    """

    def __init__(self) -> None:
        self._most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._said = Seldom()

    def given(self, descriptor: int) -> None:
        """Note the descriptor of a connection that came just now, which is the lowest that was free."""
        if descriptor >= self._most - _NEAR:
            self._say()

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Be the event loop's exception handler."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _USED_UP:
            self._say()
        else:
            loop.default_exception_handler(context)

    def _say(self) -> None:
        if self._said.due():
            logger.error(
                "this process has all %d files open that it may (LimitNOFILE in systemd, ulimit -Hn): whoever"
                " comes now is cut off or has to wait",
                self._most,
            )
