"""HTTP as the tests speak it: whole answers by httpx, and raw requests where that would normalise."""

from __future__ import annotations

import base64
import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse

import httpx

from tests.servers import PASSWORD, Server

PATIENCE = 30.0
"""Seconds that a raw client waits for the server; only a broken one is waited for so long."""


def check_answer(response: httpx.Response) -> None:
    """Assert what holds for every answer on a WebDAV path."""
    headers = response.headers
    assert "set-cookie" not in headers
    assert response.status_code == 304 or not 300 <= response.status_code < 400
    assert "location" not in headers
    if response.status_code >= 400:
        response.read()
        if headers.get("content-type") == 'application/xml; charset="utf-8"':
            assert "<D:error" in response.text
        elif response.request.method != "HEAD":
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert response.text.endswith("\n")
            assert response.text.count("\n") == 1


def basic(user: str, password: str = PASSWORD) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True)
class Answer:
    """What a raw request got."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


def connect(server: Server) -> socket.socket:
    return connect_to(server.port)


def connect_to(port: int) -> socket.socket:
    return socket.create_connection(("::1", port), timeout=PATIENCE)


def read_answer(connection: socket.socket, method: str) -> Answer:
    """Read one answer. Raises http.client's errors when it is broken off."""
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


def head(method: str, target: str | bytes, *headers: str) -> bytes:
    """Return the head of a request, nothing in it encoded or normalised."""
    line = target.encode() if isinstance(target, str) else target
    lines = ["Host: localhost", *headers]
    return method.encode() + b" " + line + b" HTTP/1.1\r\n" + "\r\n".join([*lines, "", ""]).encode()


def exchange(server: Server, method: str, target: str | bytes, *headers: str, body: bytes = b"") -> Answer:
    """Send one request on a connection of its own, its target byte for byte as given."""
    if body:
        headers = (*headers, f"Content-Length: {len(body)}")
    with connect(server) as connection:
        connection.sendall(head(method, target, *headers) + body)
        return read_answer(connection, method)


_marks = itertools.count()


def _mark(server: Server) -> int:
    """Make a request of its own kind; return the number of access lines up to and with its own."""
    path = f"/mark-{next(_marks)}"
    exchange(server, "GET", path)
    server.wait_for_line(f" {path} ")
    return len(server.lines())


@contextmanager
def logged(server: Server) -> Iterator[list[str]]:
    """Yield a list that has, when the context is left, the access lines of what was asked within.

    An answer is there before its line is.
    """
    lines: list[str] = []
    before = _mark(server)
    yield lines
    after = _mark(server)
    lines += server.lines()[before : after - 1]
