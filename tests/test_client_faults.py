"""Clients that leave, half-close, pipeline or lie about lengths: no leftovers, and others undisturbed."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from tests.processes import descriptors, resident
from tests.servers import Server
from tests.waiting import wait_until
from tests.wire import basic, connect, exchange, head, read_answer

MIB = 2**20
OLD = b"what was there before" * 1000
CHUNKED = "Transfer-Encoding: chunked"

pytestmark = pytest.mark.parametrize("server", ["folder", "moto"], indirect=True)


def signed(user: str) -> str:
    return f"Authorization: {basic(user)}"


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def all_answers(server: Server, data: bytes) -> list[bytes]:
    """Send all, say that it was all, and return the answers' statuses in order."""
    answers = b""
    with connect(server) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            answers += piece
    return re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)


# Half-closed


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        pytest.param("GET", "/large.zip", b"", 200, id="download"),
        pytest.param("GET", "/missing", b"", 404, id="refusal"),
        pytest.param("PROPFIND", "/", b"", 207, id="listing"),
        pytest.param("PUT", "/new.zip", bytes(3 * MIB), 201, id="upload"),
    ],
)
def test_who_says_all_and_closes_that_side_is_answered(
    server: Server, user: str, client: httpx.Client, method: str, path: str, body: bytes, status: int
) -> None:
    client.put("/large.zip", content=bytes(5 * MIB))
    length = (f"Content-Length: {len(body)}",) if body else ()
    with connect(server) as connection:
        connection.sendall(head(method, path, signed(user), "Depth: 1", *length) + body)
        connection.shutdown(socket.SHUT_WR)
        answer = read_answer(connection, method)
        assert answer.status == status
        assert connection.recv(1) == b""
    if method == "GET" and status == 200:
        assert answer.body == bytes(5 * MIB)


def test_who_half_closes_without_a_request_is_closed(server: Server) -> None:
    for data in (b"", b"GET / HT", head("PUT", "/a.zip", "Content-Length: 5") + b"123"):
        with connect(server) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


# Pipelined


def test_pipelined_requests_are_answered_in_order_each_with_its_own(
    server: Server, user: str, client: httpx.Client
) -> None:
    for name in ("a", "b"):
        client.put(f"/{name}.zip", content=name.encode() * 100_000)
    requests = [
        ("GET", "/a.zip", b""),
        ("GET", "/b.zip", b""),
        ("PUT", "/c.zip", b"new"),
        ("GET", "/c.zip", b""),
        ("DELETE", "/c.zip", b""),
        ("GET", "/c.zip", b""),
    ]
    data = b"".join(
        head(method, path, signed(user), f"Content-Length: {len(body)}") + body
        for method, path, body in requests
    )
    with connect(server) as connection:
        connection.sendall(data)
        # One reader for all: what one takes too much of belongs to the next.
        file = connection.makefile("rb")
        answers = []
        for _ in requests:
            status = int(file.readline().split()[1])
            size = 0
            while (line := file.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    size = int(line.partition(b":")[2])
            answers.append((status, file.read(size)))
    assert [status for status, _ in answers] == [200, 200, 201, 200, 204, 404]
    assert answers[0][1] == b"a" * 100_000
    assert answers[1][1] == b"b" * 100_000
    assert answers[3][1] == b"new"


def test_thousands_of_pipelined_requests_take_no_memory(server: Server, user: str) -> None:
    burst = head("GET", "/missing", signed(user)) * 1000
    exchange(server, "GET", "/missing", signed(user))
    before = resident(server.pid)
    for _ in range(10):
        statuses = all_answers(server, burst)
        assert 1 < len(statuses) <= 18
        assert set(statuses) == {b"404"}
    assert resident(server.pid) - before < 10 * MIB


def test_nothing_after_connection_close_is_heeded(server: Server, user: str, client: httpx.Client) -> None:
    client.put("/kept.zip", content=OLD)
    first = head("GET", "/kept.zip", signed(user), "Connection: close")
    assert all_answers(server, first + head("DELETE", "/kept.zip", signed(user))) == [b"200"]
    assert client.get("/kept.zip").content == OLD


# Other ways to ask


def test_what_is_no_request_of_ours_is_refused_or_ignored(server: Server, user: str) -> None:
    assert exchange(server, "TRACE", "/", signed(user)).status == 405
    upgrade = (
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Connection: Upgrade, HTTP2-Settings",
    )
    answer = exchange(server, "OPTIONS", "/", signed(user), *upgrade)
    assert (answer.status, "upgrade" in answer.headers) == (200, False)
    absolute = exchange(server, "OPTIONS", "http://localhost/", signed(user))
    assert absolute.status == 200
    with connect(server) as connection:
        connection.sendall(b"OPTIONS / HTTP/1.0\r\n" + signed(user).encode() + b"\r\n\r\n")
        assert read_answer(connection, "OPTIONS").status == 200
        assert connection.recv(1) == b""


def test_who_asks_for_100_and_sends_at_once_is_served(
    server: Server, user: str, client: httpx.Client
) -> None:
    request = head("PUT", "/eager.zip", signed(user), "Content-Length: 5", "Expect: 100-continue")
    with connect(server) as connection:
        connection.sendall(request + b"12345")
        data = b""
        while b"HTTP/1.1 201" not in data:
            piece = connection.recv(65536)
            assert piece, data
            data += piece
    assert client.get("/eager.zip").content == b"12345"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"-5\r\nabcde\r\n0\r\n\r\n", id="negative-size"),
        pytest.param(b"5\r\nabcdeXX0\r\n\r\n", id="no-line-end-after-a-chunk"),
        pytest.param(b"10000000000000000\r\nabc", id="size-of-65-bits"),
        pytest.param(b"5;" + b"x" * 200_000, id="huge-extension"),
        pytest.param(b"0x5\r\nabcde\r\n0\r\n\r\n", id="size-with-a-prefix"),
        pytest.param(b"\r\n5\r\nabcde\r\n0\r\n\r\n", id="empty-line-first"),
    ],
)
def test_broken_chunks_store_nothing(server: Server, user: str, client: httpx.Client, body: bytes) -> None:
    client.put("/old.zip", content=OLD)
    with connect(server) as connection:
        try:
            connection.sendall(head("PUT", "/old.zip", signed(user), CHUNKED) + body)
            answer = connection.recv(65536)
        except OSError:
            answer = b""
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    server.wait_for_line(f" {user} PUT /old.zip 499 ")
    assert client.get("/old.zip").content == OLD
    assert server.store.litter(user) == []


# Leaving


@pytest.mark.parametrize("leave", [close, reset])
def test_hundreds_that_leave_at_any_moment_leave_nothing_behind(
    server: Server, user: str, client: httpx.Client, leave: Callable[[socket.socket], None]
) -> None:
    client.put("/old.zip", content=OLD)
    client.put("/large.zip", content=bytes(3 * MIB))
    put = head("PUT", "/old.zip", signed(user), f"Content-Length: {MIB}")
    moments = [
        put,
        put + bytes(1000),
        put + bytes(MIB - 1),
        put[:30],
        head("PUT", "/old.zip", signed(user), CHUNKED) + b"100\r\nabc",
        head("GET", "/large.zip", signed(user)),
        head("PROPFIND", "/", signed(user), "Depth: 1"),
        head("LOCK", "/old.zip", signed(user), "Content-Length: 100") + b"<lock",
    ]

    def round_of(times: int, *, after: int) -> None:
        for number in range(times):
            with connect(server) as connection:
                connection.sendall(moments[number % len(moments)])
                if after:
                    connection.settimeout(0.02)
                    with suppress(TimeoutError):
                        connection.recv(after)
                leave(connection)

    round_of(80, after=0)
    before, memory = descriptors(server.pid), resident(server.pid)
    round_of(240, after=0)
    round_of(len(moments) * 3, after=1000)
    wait_until(lambda: descriptors(server.pid) <= before + 4, "files or sockets stay open")
    assert resident(server.pid) - memory < 15 * MIB
    wait_until(lambda: server.store.litter(user) == [], "an upload was left behind")
    assert client.get("/old.zip").content == OLD
    assert client.put("/old.zip", content=b"new").status_code == 204
