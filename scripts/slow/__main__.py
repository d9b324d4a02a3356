"""Measure what a thousand slow writers and a thousand slow readers do to a server.

`python -m scripts.slow` tries a folder, with `--on s3` the S3 service that AWS_ENDPOINT_URL_S3 names, or a
real one where its starter is found (S3_LAB), or moto. Printed are the server's peak memory and the
latencies of a client that is not slow, before and meanwhile. Kernel memory (what sockets hold) is not
counted: it belongs to no process, and the kernel bounds it by itself (net.ipv4.tcp_mem).
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import bcrypt
import typer

from scripts.bench.commands import zotshelf
from scripts.bench.drive import Job, drive
from scripts.bench.processes import BenchError
from scripts.bench.running import say
from scripts.bench.server import Server, serving
from scripts.bench.site import PASSWORD, USER, Command, Place, S3Place, Site
from scripts.bench.store import bucket
from scripts.bench.wire import Wire, expect
from scripts.slow.clients import Crowd, SlowClients

WRITE_SIZE: Final = 65536
READ_SIZE: Final = 1 << 20
_USERS: Final = 20
_PAUSE_SECONDS: Final = 0.01
_BEFORE_SECONDS: Final = 10.0
_OPERATIONS: Final = ("GET", "PUT", "PROPFIND")


def slow(
    writers: Annotated[int, typer.Option(min=0)] = 1000,
    readers: Annotated[int, typer.Option(min=0)] = 1000,
    seconds: Annotated[float, typer.Option(help="How long they go on.")] = 60,
    on: Annotated[str, typer.Option(help="folder or s3.")] = "folder",
) -> None:
    """Print the peak memory, how the slow ones ended, and the latencies of one that is not slow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="zotshelf-slow-") as folder:
        work = Path(folder)
        with _place(on, work) as place, serving(_start, sys.executable, place, work) as server:
            _measure(server, writers, readers, seconds)


@contextmanager
def _place(on: str, work: Path) -> Iterator[Place]:
    if on == "folder":
        (work / "data").mkdir()
        yield work / "data"
    elif on == "s3":
        with bucket(work) as store:
            say(f"on {store.store}")
            yield S3Place(store, "slow")
    else:
        raise typer.BadParameter("must be folder or s3", param_hint="--on")


def _start(site: Site) -> Command:
    """Start the server with more users: what one may take together has bounds."""
    command = zotshelf(site)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    with (site.work / "users.htpasswd").open("a") as users:
        users.writelines(f"{USER}{number}:{hashed}\n" for number in range(_USERS))
    return command


def _measure(server: Server, writers: int, readers: int, seconds: float) -> None:
    wire, tree = server.wire, server.tree
    _fill(wire)
    before = _latencies(wire, _BEFORE_SECONDS)
    say(f"at rest {tree.resident_bytes() / 1e6:.0f} MB")
    tree.reset_peak()
    clients = SlowClients(_crowd(wire, writers, readers))
    meanwhile = _latencies(wire, seconds)
    outcomes = clients.stop()
    say(f"peak {tree.peak_mb():.0f} MB, at the end {tree.resident_bytes() / 1e6:.0f} MB")
    say(f"after {seconds:.0f} s: {_told(outcomes)}; in the end: {_told(clients.finish())}")
    for name in _OPERATIONS:
        old, new = statistics.median(before[name]), statistics.median(meanwhile[name])
        worst = max(meanwhile[name])
        say(
            f"{name}: median {old * 1000:.2f} ms before, {new * 1000:.2f} ms meanwhile ({new / old:.2f}x),"
            f" longest {worst * 1000:.0f} ms, of {len(meanwhile[name])}"
        )
    say(f"peak in all {tree.peak_mb():.0f} MB, afterwards {tree.resident_bytes() / 1e6:.0f} MB")


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{number} {outcome or 'going on'}" for outcome, number in outcomes.most_common())


def _fill(wire: Wire) -> None:
    def put(name: str, size: int) -> Job:
        expect((yield wire.request("PUT", name, bytes(size))), "PUT", 201, 204)

    faults = drive(wire, [put("/big", READ_SIZE), put("/small", WRITE_SIZE)], 1).faults
    if faults:
        raise BenchError(f"the server could not be filled: {faults}")


def _crowd(wire: Wire, writers: int, readers: int) -> Crowd:
    users = [Wire(wire.host, wire.port, f"{USER}{number}", PASSWORD) for number in range(_USERS)]
    return Crowd(
        wire.port,
        [users[number % _USERS].head("PUT", f"/slow-{number}", WRITE_SIZE) for number in range(writers)],
        WRITE_SIZE,
        [users[number % _USERS].head("GET", "/big") for number in range(readers)],
        READ_SIZE,
    )


def _latencies(wire: Wire, seconds: float) -> dict[str, list[float]]:
    """Return the seconds that each request of a normal client takes, by method."""
    found: dict[str, list[float]] = {name: [] for name in _OPERATIONS}
    requests = {
        "GET": wire.request("GET", "/small"),
        "PUT": wire.request("PUT", "/own", bytes(WRITE_SIZE)),
        "PROPFIND": wire.request("PROPFIND", "/small", None, "Depth: 0\r\n"),
    }

    def job(name: str) -> Job:
        began = time.perf_counter()
        expect((yield requests[name]), name, 200, 201, 204, 207)
        found[name].append(time.perf_counter() - began)

    def jobs() -> Iterator[Job]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name in _OPERATIONS:
                time.sleep(_PAUSE_SECONDS)
                yield job(name)

    faults = drive(wire, jobs(), 1).faults
    if faults:
        say(f"the normal client met {dict(faults)}")
    return found


if __name__ == "__main__":
    try:
        typer.run(slow)
    except BenchError as error:
        sys.exit(f"slow: {error}")
