"""Requests hidden in others (RFC 9112 section 11.2): never carried out, directly or behind nginx."""

from __future__ import annotations

import itertools
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from scripts.fuzz.reference import read
from scripts.fuzz.smuggled import smuggled
from tests.host_front import Front, fronted
from tests.servers import Server
from tests.wire import basic, exchange, logged

PATIENCE = 3.0
"""Seconds; only a stream that leaves the server waiting for more of a body is given up."""
AUTHORIZATION = f"Authorization: {basic('u0')}"
HIDDEN = f"DELETE /hidden0000 HTTP/1.1\r\nHost: a\r\n{AUTHORIZATION}\r\n\r\n".encode()
STREAMS = smuggled(HIDDEN, AUTHORIZATION.encode())
END = f"GET /end HTTP/1.1\r\nHost: a\r\n{AUTHORIZATION}\r\nConnection: close\r\n\r\n".encode()
_LINE = re.compile(r"(POST|GET|HEAD|CONNECT|DELETE) (\S+)")
_numbers = itertools.count()


def name(stream: bytes) -> str:
    """Return what is odd about a stream."""
    shown = stream.replace(HIDDEN, b"").replace(AUTHORIZATION.encode() + b"\r\n", b"")
    return repr(shown.replace(b"POST /open HTTP/1.1\r\nHost: a\r\n", b""))[2:-1]


each_stream = pytest.mark.parametrize(
    "stream", [pytest.param(one, id=f"{number}-{name(one)}") for number, one in enumerate(STREAMS)]
)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """nginx as `zotshelf host` sets it up, as a part of a site without TLS."""
    with fronted(tmp_path_factory.mktemp("front"), "--nginx", "snippet") as front:
        yield front


@dataclass
class Sent:
    """What became of a stream, with /open and /hidden of its own."""

    stream: bytes
    answers: list[int]
    lines: list[tuple[str, str]]
    """Method and path of what the server has logged, in order."""
    kept: bool
    """Whether the file is still there that the hidden request deletes."""


def send(server: Server, port: int, stream: bytes) -> Sent:
    number = next(_numbers)
    hidden = f"/hidden{number:04}"
    own = (stream + END).replace(b"/hidden0000", hidden.encode())  # equally long, so that lengths stay right
    assert exchange(server, "PUT", hidden, AUTHORIZATION, body=b"x").status == 201
    with logged(server) as lines:
        answers = answers_to(port, own)
    kept = exchange(server, "HEAD", hidden, AUTHORIZATION).status == 200
    found = [_LINE.search(line) for line in lines]
    return Sent(own, answers, [(one[1], one[2]) for one in found if one], kept)


def answers_to(port: int, stream: bytes) -> list[int]:
    """Return the statuses of all answers until the connection ends."""
    received = b""
    with socket.create_connection(("::1", port), timeout=PATIENCE) as connection:
        connection.sendall(stream)
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def openly(stream: bytes) -> list[tuple[str, str]]:
    """Return the requests that stand in the stream by the letter of RFC 9112."""
    paths = [(one.method.decode(), one.target.decode()) for one in read(stream).requests]
    return [(method, path.removeprefix("http://b")) for method, path in paths]


@each_stream
def test_what_is_hidden_is_not_carried_out(folder_server: Server, stream: bytes) -> None:
    sent = send(folder_server, folder_server.port, stream)
    expected = openly(sent.stream)
    assert sent.lines == expected[: len(sent.lines)]
    assert sent.kept or any(method == "DELETE" for method, _ in expected)
    # One answer for each, and perhaps a refusal at the end.
    assert len(sent.answers) <= len(sent.lines) + 1


@each_stream
def test_what_is_hidden_from_nginx_is_not_carried_out(front: Front, stream: bytes) -> None:
    before = len(nginx_lines(front))
    sent = send(front.server, front.ports["http_port"], stream)
    # nginx may read more into a stream than its letter says, but the server sees nothing else than it.
    deadline = time.monotonic() + PATIENCE
    while len(seen := nginx_lines(front)[before:]) < len(sent.answers) and time.monotonic() < deadline:
        time.sleep(0.002)
    passed = iter(seen)
    assert all(line in passed for line in sent.lines), (seen, sent.lines)
    assert sent.kept or any(method == "DELETE" for method, _ in sent.lines)
    assert len(sent.answers) <= len(seen)


def nginx_lines(front: Front) -> list[tuple[str, str]]:
    lines = (front.folder / "access.log").read_text(errors="replace").splitlines()
    found = [re.search(r'"(\S+) +(?:http://b)?([^\s"]+)', line) for line in lines]
    return [(one[1], one[2]) for one in found if one]
