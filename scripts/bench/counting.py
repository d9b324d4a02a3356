"""How many requests to S3 each single operation costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scripts.bench.drive import Job
from scripts.bench.watch import Watch
from scripts.bench.wire import expect
from scripts.bench.zotero import BASE, probe_request

PART: Final = "single operations"
GET: Final = "GET of a .zip"
HEAD: Final = "HEAD of a .zip"
GET_OTHER: Final = "GET of another name"
GET_MISSING: Final = "GET of a missing .prop"
GET_MISSING_OTHER: Final = "GET of another missing name"
PUT_NEW: Final = "PUT of a new name"
PUT_EXISTING: Final = "PUT of an existing name"
PROPFIND_FILE: Final = "PROPFIND, Depth 0, of a .zip"
PROPFIND_OTHER: Final = "PROPFIND, Depth 0, of another name"
PROPFIND_COLLECTION: Final = "PROPFIND, Depth 0, of the collection"
DELETE: Final = "DELETE of a .zip"
PREPARATION: Final = "preparation"
_TIMES: Final = 10


def count_requests(watch: Watch) -> None:
    """Do each operation ten times, on ten files.

    What is asked once in a while, and not for each operation, has been asked by a write just before.
    """
    wire = watch.server.wire
    body = b"x" * 65536

    def each(phase: str, job: Callable[[int], Job]) -> None:
        watch.jobs(phase, map(job, range(_TIMES)), _TIMES, 1)

    def ask(method: str, name: str, *statuses: int, data: bytes | None = None) -> Callable[[int], Job]:
        def job(number: int) -> Job:
            path = BASE + name.format(number)
            expect((yield wire.request(method, path, data)), f"{method} {name}", *statuses)

        return job

    def probe(path: str) -> Callable[[int], Job]:
        def job(number: int) -> Job:
            expect((yield probe_request(wire, path.format(number))), "PROPFIND", 207)

        return job

    def prepare() -> None:
        each(PREPARATION, ask("PUT", "note{}", 200, 201, 204, data=body))

    each(PREPARATION, ask("MKCOL", "", 201, 405))
    prepare()
    each(PUT_NEW, ask("PUT", "AAAAAAA{}.zip", 200, 201, data=body))
    prepare()
    each(PUT_EXISTING, ask("PUT", "AAAAAAA{}.zip", 200, 201, 204, data=body))
    each(GET, ask("GET", "AAAAAAA{}.zip", 200))
    each(HEAD, ask("HEAD", "AAAAAAA{}.zip", 200))
    each(GET_OTHER, ask("GET", "note{}", 200))
    each(GET_MISSING, ask("GET", "MISSING{}.prop", 404))
    each(GET_MISSING_OTHER, ask("GET", "missing{}", 404))
    each(PROPFIND_FILE, probe(BASE + "AAAAAAA{}.zip"))
    each(PROPFIND_OTHER, probe(BASE + "note{}"))
    each(PROPFIND_COLLECTION, probe(BASE))
    prepare()
    each(DELETE, ask("DELETE", "AAAAAAA{}.zip", 200, 204))
