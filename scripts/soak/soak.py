"""Many clients at a server whose storage fails now and then, for minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.soak.lateness import Lateness
from scripts.soak.process import USERS, ServerProcess
from scripts.soak.record import ENDS, EXCEPTIONS, Record
from scripts.soak.shared import FILES, SharedFiles, SharingWorker
from scripts.soak.storage import Storage
from scripts.soak.worker import Worker

_SHARING: Final = 4
"""One client in so many works on the shared files."""

_TELL_SECONDS: Final = 30.0
_CALM_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Options:
    seconds: float
    clients: int
    share: float
    """Of the requests to the storage that meet a fault."""
    seed: int
    workers: int = 1


def soak(storage: Storage, folder: Path, options: Options, say: Callable[[str], None]) -> Record:
    """Run it, and check all that is there at the end."""
    record = Record(say)
    server = ServerProcess(folder, storage.variables, storage.command, options.workers)
    server.start()
    try:
        with Lateness(lambda: server.pid) as lateness:
            _run(server, storage, options, record, lateness, say)
        record.notes += [("late for want of a processor", str(len(lateness.excused)))]
    finally:
        code = server.stop()
    if code != 0:
        record.defect(ENDS, f"the server ended with {code}")
    for line in server.exceptions():
        record.defect(EXCEPTIONS, line)
    record.notes += [("faults", storage.faults())]
    return record


def _run(
    server: ServerProcess,
    storage: Storage,
    options: Options,
    record: Record,
    lateness: Lateness,
    say: Callable[[str], None],
) -> None:
    files = SharedFiles()
    sharing = [
        SharingWorker(number, server.port, USERS[0], files, record, lateness, options.seed)
        for number in range(max(options.clients // _SHARING, 1))
    ]
    # Half of the others use locks, in a root of their own: where there are none the server works otherwise.
    alone = [
        Worker(
            number,
            server.port,
            USERS[number % 2],
            record,
            lateness,
            seed=options.seed,
            locks=number % 2 == 1,
            kinds_apart=storage.kinds_apart,
        )
        for number in range(max(options.clients - len(sharing), 1))
    ]
    clients: list[Worker | SharingWorker] = [*alone, *sharing]
    with ExitStack() as stack:
        for client in clients:
            stack.callback(client.close)
        for worker in alone:
            worker.begin()
        storage.fail(options.share)
        _let_work(clients, options.seconds, record, say)
        storage.fail(0)
        time.sleep(_CALM_SECONDS)
        for worker in alone:
            worker.verify()
        for file in range(FILES):
            sharing[0].get(file, faults=False)
        # What a failing store did not let the server remove is swept after a day.
        record.notes.append(("unfinished uploads left to the sweep", str(len(storage.litter()))))


def _let_work(
    clients: list[Worker | SharingWorker], seconds: float, record: Record, say: Callable[[str], None]
) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(client: Worker | SharingWorker) -> None:
        try:
            client.run(stop)
        except BaseException as error:
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0 and not stop.wait(min(left, _TELL_SECONDS)):
            say(f"{left:.0f} s left, {len(record.defects())} defects")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for failure in failures:
        raise failure
