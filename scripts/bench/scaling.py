"""How much more two workers do than one."""

from __future__ import annotations

from typing import Final

from scripts.bench.drive import Job, drive
from scripts.bench.watch import Watch
from scripts.bench.wire import expect
from scripts.bench.zotero import BASE, PROP

CONNECTIONS: Final = 16
PHASE: Final = f"GET .prop, {CONNECTIONS} connections"
_FILES: Final = 64
_GETS_OF_A_JOB: Final = 50


def many_gets(watch: Watch, number: int) -> None:
    """Fetch small files so many times, with as little work here as possible."""
    wire = watch.server.wire

    def fill() -> Job:
        expect((yield wire.request("MKCOL", BASE)), "MKCOL", 201)
        for file in range(_FILES):
            expect((yield wire.request("PUT", f"{BASE}{file}.prop", PROP)), "PUT", 201)

    drive(wire, [fill()], 1)
    requests = [wire.request("GET", f"{BASE}{file}.prop") for file in range(_FILES)]

    def gets(start: int) -> Job:
        for number in range(start, start + _GETS_OF_A_JOB):
            expect((yield requests[number % _FILES]), "GET", 200)

    jobs = [gets(start) for start in range(0, number, _GETS_OF_A_JOB)]
    watch.jobs(PHASE, jobs, len(jobs) * _GETS_OF_A_JOB, CONNECTIONS)
