"""The memory that connections take which nobody is using."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

from scripts.bench.figures import Sample
from scripts.bench.watch import Watch
from scripts.bench.wire import AnswerReader, Wire

PHASE: Final = "idle keep-alive connections"
_SETTLE_SECONDS: Final = 0.5


def idle_memory(watch: Watch, number: int) -> None:
    """Open so many connections, send one request on each, and leave them alone."""
    tree = watch.server.tree
    with ExitStack() as stack:
        _open(watch.server.wire, stack)
        time.sleep(_SETTLE_SECONDS)
        before = tree.resident_bytes()
        for _ in range(number):
            _open(watch.server.wire, stack)
        time.sleep(_SETTLE_SECONDS)
        metrics = {"bytes_per_connection": (tree.resident_bytes() - before) / number}
    watch.samples.append(Sample(watch.part, PHASE, watch.name, watch.run, metrics))


def _open(wire: Wire, stack: ExitStack) -> None:
    connection = stack.enter_context(wire.connect())
    request = wire.request("GET", "/missing.prop")
    connection.sendall(request)
    reader = AnswerReader(request)
    while reader.feed(connection.recv(65536)) is None:
        pass
