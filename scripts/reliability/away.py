"""The store is away, or refuses everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from scripts.reliability.exchange import Heard, ask
from scripts.reliability.row import FILE, LARGE, SMALL, Play, Row, content, get, worst
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import MENDED, Kind, Verdict, of_download, of_upload, refusal
from tests.s3_faults import ALWAYS, HTML, Answer, Fault, Refuse, Stall

_PART: Final = "The store as a whole"
_OTHER: Final = "other.zip"
_AT_ONCE: Final = 200
_AWAY_SECONDS: Final = 20.0

_REQUESTS: Final[dict[str, tuple[str, str, int | None, str]]] = {
    "GET": ("GET", FILE, None, ""),
    "HEAD": ("HEAD", FILE, None, ""),
    "PUT over another": ("PUT", FILE, SMALL, ""),
    "PUT, new": ("PUT", _OTHER, SMALL, ""),
    "PUT, large": ("PUT", FILE, LARGE, ""),
    "DELETE": ("DELETE", FILE, None, ""),
    "MOVE": ("MOVE", FILE, None, "Destination: http://{}/moved.zip\r\n"),
    "COPY": ("COPY", FILE, None, "Destination: http://{}/moved.zip\r\n"),
    "MKCOL": ("MKCOL", "made/", None, ""),
    "PROPFIND of a file": ("PROPFIND", FILE, None, "Depth: 0\r\n"),
    "PROPFIND": ("PROPFIND", "", None, "Depth: 1\r\n"),
}


@dataclass
class _Page(Fault):
    """A web page instead of the store's answer, as from the sign-in of a hotel's network."""

    def before(self) -> Answer:
        return Answer(200, {"Content-Type": "text/html"}, HTML)


def _request(what: str, begin: Callable[[Scene], None]) -> Play:
    method, name, size, header = _REQUESTS[what]

    def play(scene: Scene) -> Verdict:
        old = content(1, SMALL)
        scene.store.keep(FILE, old)
        begin(scene)
        body = None if size is None else content(2, size)
        heard = ask(scene.wire, method, f"/{name}", body, header.format(scene.wire.authority))
        stored = scene.store.read(name) if name else old
        if method == "PUT":
            verdict = of_upload(heard, stored, old if name == FILE else None, body or b"")
            return Verdict(Kind.LEFTOVER, heard) if scene.store.leftovers() else verdict
        if 200 <= heard.status < 300:
            return _success(method, heard, scene, stored)
        if stored != old and method != "MKCOL":
            return Verdict(Kind.LOST, heard)
        return refusal(heard)

    return play


def _success(method: str, heard: Heard, scene: Scene, stored: bytes | None) -> Verdict:
    """Judge a 2xx of a server whose store answers nothing that is true."""
    true = {
        "DELETE": stored is None,
        "MOVE": stored is None and scene.store.read("moved.zip") is not None,
        "COPY": scene.store.read("moved.zip") is not None,
    }
    # A collection or a listing cannot have been confirmed by anybody.
    return Verdict(Kind.KEPT if true.get(method, False) else Kind.WRONG, heard)


def _all(*faults: Fault) -> dict[str, Play]:
    return {what: _request(what, lambda scene: scene.proxy.fail(*faults)) for what in _REQUESTS}


def _pile(scene: Scene) -> Verdict:
    """Many ask at once while the store is silent."""
    scene.store.keep(FILE, content(1, SMALL))
    scene.proxy.fail(Stall(times=ALWAYS))
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        heard = list(threads.map(lambda _: get(scene), range(_AT_ONCE)))
    return worst([refusal(one) for one in heard])


def _recovery(method: str) -> Play:
    """The store comes back while a client asks again and again; the first request after that counts."""

    def play(scene: Scene) -> Verdict:
        old, new = content(1, SMALL), content(2, SMALL)
        scene.store.keep(FILE, old)
        # Those who still wait for an answer then must not delay the one that counts.
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            with scene.proxy.away():
                until = time.monotonic() + _AWAY_SECONDS
                while time.monotonic() < until:
                    threads.submit(get, scene)
                    time.sleep(0.5)
            if method == "GET":
                return of_download(get(scene), old)
            heard = ask(scene.wire, "PUT", f"/{FILE}", new)
            return of_upload(heard, scene.store.read(FILE), old, new)

    return play


ROWS: Final = (
    Row(
        part=_PART,
        fault="Connections to the store are refused",
        promise="503 within 12 s, nothing damaged",
        tests=("test_every_method_tells_when_to_come_again",),
        plays={what: _request(what, lambda scene: scene.proxy.leave()) for what in _REQUESTS},
    ),
    Row(
        part=_PART,
        fault="The store takes requests and says nothing",
        promise="503 within 12 s, nothing damaged",
        tests=("test_what_takes_too_long_is_ended_and_begins_nothing_new",),
        plays=_all(Stall(times=ALWAYS)),
    ),
    Row(
        part=_PART,
        fault=f"The same, and {_AT_ONCE} ask at once",
        promise="each has its 503 within 12 s",
        tests=(
            "test_while_the_store_is_away_one_request_looks_and_nobody_else_waits",
            "test_more_requests_than_may_wait_are_refused_as_overload",
        ),
        plays={"GET": _pile},
    ),
    Row(
        part=_PART,
        fault=f"The store comes back after {_AWAY_SECONDS:.0f} s in which clients went on asking",
        promise="the next request is as ever",
        tests=("test_the_first_request_after_an_outage_succeeds",),
        accepts=MENDED,
        plays={method: _recovery(method) for method in ("GET", "PUT")},
    ),
    Row(
        part=_PART,
        fault="The credentials have expired",
        promise="an error within 12 s that is no 404",
        tests=("test_the_client_is_told_a_status_and_a_line_of_text",),
        plays=_all(Refuse(times=ALWAYS, status=400, code="ExpiredToken")),
    ),
    Row(
        part=_PART,
        fault="The bucket refuses everything (403)",
        promise="an error within 12 s that is no 404",
        tests=("test_the_client_is_told_a_status_and_a_line_of_text",),
        plays=_all(Refuse(times=ALWAYS, status=403, code="AccessDenied")),
    ),
    Row(
        part=_PART,
        fault="The bucket is missing",
        promise="an error within 12 s that is no 404",
        tests=("test_a_missing_bucket_is_no_missing_file",),
        plays=_all(Refuse(times=ALWAYS, status=404, code="NoSuchBucket")),
    ),
    Row(
        part=_PART,
        fault="Something else than S3 answers: 200 and a web page",
        promise="an error within 12 s; no success, no 404",
        tests=("test_an_answer_from_something_else_than_s3_is_a_failure",),
        plays=_all(_Page(times=ALWAYS)),
    ),
)
