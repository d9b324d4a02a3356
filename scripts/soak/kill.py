"""A busy server that is killed again and again, without any warning."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from scripts.soak.lateness import Lateness
from scripts.soak.process import USERS, ServerProcess
from scripts.soak.record import ENDS, EXCEPTIONS, LITTER, Record
from scripts.soak.storage import Storage
from scripts.soak.worker import Worker
from tests.dav import Dav, wake
from tests.servers import PASSWORD

_SIZES: Final = (0, 7, 1000, 1000, 70_000, 300_000, 1_500_000, 6_000_000)
_LONGEST_SECONDS: Final = 0.8
"""The server works up to so long before it is killed."""

_TELL_EVERY: Final = 20
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Killing:
    times: int
    clients: int
    seed: int
    workers: int = 1
    sweep_seconds: float = 90.0
    """How long it may take until all that is left has been swept; 0 does not look."""


def kill_often(storage: Storage, folder: Path, options: Killing, say: Callable[[str], None]) -> Record:
    """Kill it so often, and compare what is there with the model after each restart."""
    record = Record(say)
    server = ServerProcess(folder, storage.variables, storage.command, options.workers)
    starts = [server.start()]
    try:
        with Lateness(lambda: server.pid) as lateness, ExitStack() as stack:
            # The first lock of a root waits for longer than this server lives.
            with httpx.Client(
                base_url=f"http://[::1]:{server.port}", auth=(USERS[1], PASSWORD), timeout=60, trust_env=False
            ) as http:
                wake(Dav(http, "/"))
            workers = _workers(server, storage, options, record, lateness)
            for worker in workers:
                stack.callback(worker.close)
                worker.begin()
            starts += _kill(server, workers, options, record, say)
            record.notes.append(("unfinished uploads before the sweep", str(len(storage.litter()))))
            if options.sweep_seconds:
                _sweep(server, storage, workers, options.sweep_seconds, record)
    finally:
        code = server.stop()
    if code != 0:
        record.defect(ENDS, f"the server ended with {code}")
    for line in server.exceptions():
        record.defect(EXCEPTIONS, line)
    starts.sort()
    record.notes += [
        ("kills", str(options.times)),
        ("seconds to start, median", f"{starts[len(starts) // 2]:.2f}"),
        ("seconds to start, longest", f"{starts[-1]:.2f}"),
    ]
    return record


def _kill(
    server: ServerProcess,
    workers: Sequence[Worker],
    options: Killing,
    record: Record,
    say: Callable[[str], None],
) -> list[float]:
    """Kill the server as often as wanted; return how long each start took."""
    dice = random.Random(options.seed)
    starts = []
    for number in range(1, options.times + 1):
        started = _work_and_die(server, workers, dice.random() * _LONGEST_SECONDS, dice)
        if started is not None:
            starts.append(started)
        for worker in workers:
            worker.verify(server.port)
        if number % _TELL_EVERY == 0:
            say(f"killed {number} times, {len(record.defects())} defects")
    return starts


def _workers(
    server: ServerProcess, storage: Storage, options: Killing, record: Record, lateness: Lateness
) -> list[Worker]:
    return [
        Worker(
            number,
            server.port,
            USERS[number % 2],
            record,
            lateness,
            seed=options.seed,
            locks=number % 2 == 1,
            kinds_apart=storage.kinds_apart,
            sizes=_SIZES,
        )
        for number in range(options.clients)
    ]


def _work_and_die(
    server: ServerProcess, workers: Sequence[Worker], seconds: float, dice: random.Random
) -> float | None:
    """Let the clients work, and kill the server; return how long it took to start again.

    Where it has several processes, one of them is killed and None returned: the others go on.
    """
    stop = threading.Event()
    threads = [threading.Thread(target=worker.run, args=(stop,)) for worker in workers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    processes = server.workers()
    # First, so that nobody asks a server that is not there.
    stop.set()
    if processes:
        os.kill(dice.choice(processes), signal.SIGKILL)
    else:
        server.kill()
    for thread in threads:
        thread.join()
    return None if processes else server.start()


def _sweep(
    server: ServerProcess, storage: Storage, workers: Sequence[Worker], seconds: float, record: Record
) -> None:
    """Let what is left look old; the next server must remove it."""
    server.stop()
    server.tell(storage.age_litter())
    server.start()
    for worker in workers:
        worker.verify(server.port)
    end = time.monotonic() + seconds
    while storage.litter() and time.monotonic() < end:
        if storage.sweeps_with_uploads:
            for worker in workers:
                worker.store_something()
        else:
            time.sleep(_LOOK_SECONDS)
    # What was promised is there after the sweep, too.
    for worker in workers:
        worker.verify(server.port)
    for what in storage.litter():
        record.defect(LITTER, what)
