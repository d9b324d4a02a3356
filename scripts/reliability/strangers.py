"""Clients that mean ill."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Final

from scripts.bench.site import PASSWORD, USER
from scripts.reliability.exchange import ask, send
from scripts.reliability.row import FILE, SMALL, Play, Row, content, get
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import MENDED, Kind, Verdict, of_download, refusal

_PART: Final = "Strangers"
_GUESSES: Final = 100
_HEADER: Final = 2 * 2**20


def _guessing(scene: Scene) -> Verdict:
    """Passwords are tried from one address; the owner, who signed in before, goes on meanwhile."""
    scene.store.keep(FILE, content(1, SMALL))
    before = get(scene)
    tried = 0
    for number in range(_GUESSES):
        heard = ask(replace(scene.wire, password=f"guess {number}"), "GET", f"/{FILE}")
        tried += heard.status == 401
        if heard.status not in (401, 429):
            return Verdict(Kind.WRONG, heard)
    owner = of_download(get(scene), content(1, SMALL))
    if tried == _GUESSES:
        return Verdict(Kind.UNLIMITED, before)
    return owner


def _large_head(scene: Scene) -> Verdict:
    """A head of two MiB."""
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    start = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {token}\r\nX-Much: ".encode()
    heard = send(scene.wire, "GET", [start, *[b"a" * 65536] * (_HEADER // 65536), b"\r\n\r\n"])
    return Verdict(Kind.UNLIMITED, heard) if 200 <= heard.status < 300 else refusal(heard)


def _page(ending: str) -> Play:
    def play(scene: Scene) -> Verdict:
        body = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
        ask(scene.wire, "PUT", f"/page.{ending}", body)
        heard = get(scene, f"page.{ending}")
        policy = heard.headers.get("content-security-policy", "")
        harmless = "sandbox" in policy and heard.headers.get("x-content-type-options") == "nosniff"
        return of_download(heard, body) if harmless else Verdict(Kind.UNLIMITED, heard)

    return play


ROWS: Final = (
    Row(
        part=_PART,
        fault=f"{_GUESSES} wrong passwords in a row, from the owner's own address",
        promise="soon 429; the device that had signed in goes on",
        tests=("test_a_guesser_is_told_429_and_the_user_is_not",),
        accepts=MENDED,
        plays={"one account": _guessing},
    ),
    Row(
        part=_PART,
        fault="A head of 2 MiB",
        promise="refused",
        tests=("test_a_head_that_is_too_long_is_refused",),
        plays={"one header": _large_head},
    ),
    Row(
        part=_PART,
        fault="A page with a script is uploaded and opened in a browser",
        promise="it cannot act in our origin",
        tests=("test_what_could_act_is_a_download_and_the_rest_is_shown_in_an_origin_of_its_own",),
        accepts=MENDED,
        plays={ending: _page(ending) for ending in ("html", "svg")},
    ),
)
