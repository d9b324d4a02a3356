"""Faults of the store while a collection is listed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from scripts.reliability.exchange import Heard, ask
from scripts.reliability.row import Play, Row
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import LATEST, MENDED, Kind, Verdict, refusal
from tests.s3_faults import ALWAYS, HTML, Altered, Close, Cut, Fault, Garbled, Pause, Refuse, Stall

_PART: Final = "Listing a collection"
_HREF: Final = re.compile(rb"<(?:\w+:)?href[ >]", re.IGNORECASE)

LISTED: Final = {"listed-2500": 2500, "listed-20000": 20000}
"""The prefixes that have to be there, and how many objects are below each."""

COLLECTION: Final = "files"


def _list(scene: Scene, count: int) -> Verdict:
    heard = ask(scene.wire, "PROPFIND", f"/{COLLECTION}/", None, "Depth: 1\r\n")
    return _judged(heard, count)


def _judged(heard: Heard, count: int) -> Verdict:
    if heard.status != 207:
        return refusal(heard)
    if not heard.whole:
        return Verdict(Kind.SILENT if heard.silent else Kind.BROKEN, heard)
    if len(_HREF.findall(heard.body)) != count + 1:
        return Verdict(Kind.CUT, heard)
    return Verdict(Kind.LATE if heard.seconds > LATEST else Kind.KEPT, heard)


def listing(place: str, *faults: Fault) -> Play:
    def play(scene: Scene) -> Verdict:
        scene.proxy.fail(*faults)
        return _list(scene, LISTED[place])

    return play


def _later_page(make: Callable[[str], Fault]) -> tuple[Fault, ...]:
    # By either version of the request a page after the first is asked for.
    return make("continuation-token"), make("marker")


def _pages(**faults: Callable[[str], Fault]) -> dict[str, Play]:
    return {
        f"{name.replace('_', ' ')}, {page}": listing("listed-2500", *rules)
        for name, make in faults.items()
        for page, rules in (("first page", (make("delimiter"),)), ("later page", _later_page(make)))
    }


def _faults(times: int) -> dict[str, Callable[[str], Fault]]:
    return {
        "reset": lambda query: Close("GET", query=query, times=times),
        "error": lambda query: Refuse("GET", query=query, times=times),
        "SlowDown": lambda query: Refuse("GET", query=query, times=times, status=503, code="SlowDown"),
        "broken_off": lambda query: Cut("GET", query=query, times=times, size=5000),
        "silence": lambda query: Stall("GET", query=query, times=times),
        "silence_within": lambda query: Pause("GET", query=query, times=times, size=5000),
    }


_GARBAGE: Final[dict[str, Callable[[str], Fault]]] = {
    "a_web_page": lambda query: Altered(
        "GET", query=query, times=ALWAYS, body=HTML, headers={"Content-Type": "text/html"}
    ),
    "nothing": lambda query: Altered("GET", query=query, times=ALWAYS, body=b""),
    "half_an_answer": lambda query: Garbled(
        "GET", query=query, times=ALWAYS, change=lambda body: body[: len(body) // 2]
    ),
}

ROWS: Final = (
    Row(
        part=_PART,
        fault="A page of the store's listing: reset, 500, SlowDown, broken off, silence; once",
        promise="asked again: the whole list",
        tests=("test_a_listing_that_fails_once_is_whole",),
        accepts=MENDED,
        place="listed-2500",
        plays={"no fault": listing("listed-2500")} | _pages(**_faults(1)),
    ),
    Row(
        part=_PART,
        fault="The same without end",
        promise="503 within 12 s, or a broken connection: a part never looks whole",
        tests=("test_a_listing_that_breaks_midway_never_looks_complete",),
        place="listed-2500",
        plays=_pages(**_faults(ALWAYS)),
    ),
    Row(
        part=_PART,
        fault="A page that is garbage: a web page, nothing, half an answer",
        promise="503 or a broken connection: neither an empty list nor a 404",
        tests=("test_a_listing_that_cannot_be_read_is_a_failure",),
        place="listed-2500",
        plays=_pages(**_GARBAGE),
    ),
    Row(
        part=_PART,
        fault="20,000 files, and a later page fails once",
        promise="the whole list, begun within 12 s",
        tests=("test_a_listing_that_fails_once_is_whole",),
        accepts=MENDED,
        place="listed-20000",
        plays={
            "no fault": listing("listed-20000"),
            "error": listing("listed-20000", *_later_page(lambda query: Refuse("GET", query=query, skip=9))),
        },
    ),
)
