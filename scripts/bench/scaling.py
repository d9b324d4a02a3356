"""How much more two workers do than one."""

from __future__ import annotations

from typing import Final

from scripts.bench.drive import Job, drive
from scripts.bench.watch import Watch
from scripts.bench.wire import expect
from scripts.bench.zotero import BASE, PROP

CONNECTIONS: Final = 16
SMALL: Final = f"GET .prop, {CONNECTIONS} connections"
PAGE: Final = f"GET of a page that lists 64 files, {CONNECTIONS} connections"
"""What the workers are compared by. Of small files the client, too, would need a whole processor to keep two
workers busy: on a machine with two it would be what is measured."""

_FILES: Final = 64
_GETS_OF_A_JOB: Final = 5
"""Few, or at the end a single connection would still be busy with its last job."""

_PAGES: Final = 10
"""One page is fetched for so many small files."""


def many_gets(watch: Watch, number: int) -> None:
    """Fetch small files so many times, with as little work here as possible; then fewer pages."""
    wire = watch.server.wire

    def fill() -> Job:
        expect((yield wire.request("MKCOL", BASE)), "MKCOL", 201)
        for file in range(_FILES):
            expect((yield wire.request("PUT", f"{BASE}{file}.prop", PROP)), "PUT", 201)

    drive(wire, [fill()], 1)
    _fetch(watch, SMALL, [wire.request("GET", f"{BASE}{file}.prop") for file in range(_FILES)], number)
    _fetch(watch, PAGE, [wire.request("GET", BASE)], number // _PAGES)


def _fetch(watch: Watch, phase: str, requests: list[bytes], number: int) -> None:
    def gets(start: int) -> Job:
        for at in range(start, start + _GETS_OF_A_JOB):
            expect((yield requests[at % len(requests)]), "GET", 200)

    jobs = [gets(start) for start in range(0, number, _GETS_OF_A_JOB)]
    watch.jobs(phase, jobs, len(jobs) * _GETS_OF_A_JOB, CONNECTIONS)
