"""File descriptors: every connection takes one, and every file and connection to the store that it needs."""

from __future__ import annotations

import logging
import resource
from typing import Final

logger: Final = logging.getLogger("zotshelf")

_EACH: Final = 2
"""A client's connection, and what it is served from."""
_OTHERS: Final = 128


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
