"""A server that is being measured."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.processes import (
    START_SECONDS,
    BenchError,
    Tree,
    environment,
    free_port,
    running,
    wait_until_listening,
)
from scripts.bench.site import PASSWORD, USER, Command, Place, Site
from scripts.bench.transfer import fetch
from scripts.bench.wire import Unexpected, Wire


@dataclass(frozen=True)
class Server:
    """Where it listens, and its processes."""

    wire: Wire
    tree: Tree


@contextmanager
def serving(start: Callable[[Site], Command], program: str, place: Place, work: Path) -> Iterator[Server]:
    """Run a server over `place`; it has answered one request of its user. Raises BenchError."""
    folder = Path(tempfile.mkdtemp(dir=work))
    folder.chmod(0o755)
    site = Site(program, folder, free_port(), place)
    command = start(site)
    variables = environment(folder) | dict(command.variables)
    with running(command.arguments, variables, folder) as process:
        wait_until_listening(process, site.port)
        server = Server(Wire("::1", site.port, USER, PASSWORD), Tree(process.pid))
        _wait_until_ready(server.wire)
        yield server


def _wait_until_ready(wire: Wire) -> None:
    # A server may listen before it is ready to answer. This shows no file, so that nothing is warmed up.
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            status = fetch(wire, wire.request("OPTIONS", "/")).answer.status
        except Unexpected as error:
            status, reason = 500, str(error)
        else:
            reason = str(status)
        if status < 400:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"the server does not become ready: OPTIONS / ends with {reason}")
        time.sleep(0.05)
