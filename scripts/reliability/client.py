"""Faults of the client while it sends a file."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from scripts.reliability.exchange import Heard, connected, listen, reset, send
from scripts.reliability.row import FILE, LARGE, SMALL, Play, Row, content
from scripts.reliability.scene import Scene
from scripts.reliability.verdict import HONEST, Kind, Verdict
from scripts.reliability.writing import stored

_PART: Final = "The client"
_PIECE: Final = 65536
_NOTICED: Final = 3.0
"""Seconds after which a server has made of a broken connection what it makes of it."""
_OLD_SIZE: Final = 30_000

_ENDS: Final[dict[str, Callable[[socket.socket], None]]] = {
    "closed": socket.socket.close,
    "reset": reset,
    "half closed": lambda connection: connection.shutdown(socket.SHUT_WR),
}


def _breaking_off(size: int, end: str, *, over: bool, chunked: bool = False) -> Play:
    def play(scene: Scene) -> Verdict:
        old, new = content(1, _OLD_SIZE) if over else None, content(2, size)
        if old is not None:
            scene.store.keep(FILE, old)
        half = new[: size // 2]
        with connected(scene.wire) as connection:
            if chunked:
                head = scene.wire.head("PUT", f"/{FILE}", None, "Transfer-Encoding: chunked\r\n")
                connection.sendall(head + b"".join(_chunks(half)))
            else:
                connection.sendall(scene.wire.head("PUT", f"/{FILE}", size) + half)
            # So that the server is in the midst of it.
            time.sleep(0.5)
            _ENDS[end](connection)
            heard = listen(connection, "PUT") if end == "half closed" else Heard(0, 0)
        time.sleep(_NOTICED)
        verdict = stored(scene, heard, old, new)
        if verdict.kind is Kind.LOST and scene.store.read(FILE) == half:
            return Verdict(Kind.CUT, heard)
        return Verdict(Kind.KEPT, heard) if verdict.kind in HONEST else verdict

    return play


def _chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), _PIECE):
        piece = body[start : start + _PIECE]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)


def _too_long(size: int, *, over: bool) -> Play:
    """More is sent than was announced: the rest is another request, and no good one."""

    def play(scene: Scene) -> Verdict:
        old, new = content(1, _OLD_SIZE) if over else None, content(2, size)
        if old is not None:
            scene.store.keep(FILE, old)
        heard = send(scene.wire, "PUT", [scene.wire.head("PUT", f"/{FILE}", size), new, b"\1" * 100])
        time.sleep(1)
        return stored(scene, heard, old, new)

    return play


def _broken_chunks(size: int, *, over: bool) -> Play:
    """A chunk whose size is no number comes in the middle of the body."""

    def play(scene: Scene) -> Verdict:
        old, new = content(1, _OLD_SIZE) if over else None, content(2, size)
        if old is not None:
            scene.store.keep(FILE, old)
        head = scene.wire.head("PUT", f"/{FILE}", None, "Transfer-Encoding: chunked\r\n")
        heard = send(scene.wire, "PUT", [head, *_chunks(new[: size // 2]), b"nonsense\r\n", b"0\r\n\r\n"])
        time.sleep(_NOTICED)
        return stored(scene, heard, old, new)

    return play


_BROKEN_OFF: Final = {
    f"{name}, {end}, {framing}, {'over another' if over else 'new'}": (
        _breaking_off(size, end, over=over, chunked=framing == "chunked")
    )
    for name, size in (("small", SMALL), ("large", LARGE))
    for end in _ENDS
    for framing in ("announced", "chunked")
    for over in (False, True)
}
_WRONG: Final = {
    f"{what}, {name}, {'over another' if over else 'new'}": make(size, over=over)
    for what, make in (("longer", _too_long), ("nonsense", _broken_chunks))
    for name, size in (("small", SMALL), ("large", LARGE))
    for over in (False, True)
}

ROWS: Final = (
    Row(
        part=_PART,
        fault="An upload breaks off in the middle: closed, reset, half closed; with a length or in chunks",
        promise="the old content or none, nothing left over",
        tests=("test_an_upload_that_breaks_off_leaves_what_was_there",),
        plays=_BROKEN_OFF,
    ),
    Row(
        part=_PART,
        fault="The same with a folder",
        promise="the old content or none, nothing left over",
        tests=("test_an_upload_that_breaks_off_leaves_what_was_there",),
        on="disk",
        plays={name: play for name, play in _BROKEN_OFF.items() if name.startswith("small")},
    ),
    Row(
        part=_PART,
        fault="A body longer than announced; a chunk whose size is no number",
        promise="what was announced, or the old content",
        tests=(
            "test_what_follows_the_announced_bytes_is_no_part_of_the_file",
            "test_a_body_that_is_not_framed_well_leaves_what_was_there",
        ),
        plays=_WRONG,
    ),
)
