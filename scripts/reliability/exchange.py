"""One request to a server, and all that was heard in answer."""

from __future__ import annotations

import http.client
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Final

from scripts.bench.wire import Wire

PATIENCE: Final = 60.0
"""Seconds of silence after which we stop listening."""

_PIECE: Final = 65536


@dataclass(frozen=True)
class Heard:
    """What came in answer to one request."""

    status: int
    """0 where no whole head of an answer came."""
    seconds: float
    """From the last byte sent to the answer's head, or until we stopped waiting for it."""
    body: bytes = b""
    whole: bool = False
    """Whether the body is as long as it was announced."""
    silent: bool = False
    """Whether the server said nothing more though the connection was open."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""


def ask(wire: Wire, method: str, path: str, body: bytes | None = None, headers: str = "") -> Heard:
    """Send a request on a connection of its own and listen to the end; each of `headers` ends with CRLF."""
    return send(wire, method, [wire.request(method, path, body, headers)])


def send(wire: Wire, method: str, pieces: Iterable[bytes]) -> Heard:
    """Send the bytes of a request and listen to the end."""
    try:
        with connected(wire) as connection:
            try:
                for piece in pieces:
                    connection.sendall(piece)
            except TimeoutError:
                return Heard(0, PATIENCE, silent=True)
            except OSError:
                pass  # The server may have answered before it closed.
            return listen(connection, method)
    except OSError:
        return Heard(0, 0)


def listen(connection: socket.socket, method: str) -> Heard:
    """Read one answer to its end, however it ends."""
    began = time.monotonic()
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
    except TimeoutError:
        return Heard(0, PATIENCE, silent=True)
    except (OSError, http.client.HTTPException):
        return Heard(0, time.monotonic() - began)
    seconds = time.monotonic() - began
    with closing(response):
        return _body(response, seconds)


def _body(response: http.client.HTTPResponse, seconds: float) -> Heard:
    body, whole, silent = bytearray(), False, False
    try:
        while piece := response.read(_PIECE):
            body += piece
        whole = not response.length
    except TimeoutError:
        silent = True
    except http.client.IncompleteRead as broken:
        body += broken.partial
    except (OSError, http.client.HTTPException):
        whole = False
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Heard(response.status, seconds, bytes(body), whole, silent, headers)


@contextmanager
def connected(wire: Wire) -> Iterator[socket.socket]:
    connection = wire.connect()
    connection.settimeout(PATIENCE)
    with closing(connection):
        yield connection


def reset(connection: socket.socket) -> None:
    """Close a connection by a reset, as a client does that dies."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
