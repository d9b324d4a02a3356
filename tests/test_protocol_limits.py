"""What one connection may not do: heads that are too long or too slow, trailers, doubtful hosts."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.servers import Server, serving
from tests.stores import FolderStore
from tests.wire import Answer, basic, connect, exchange, head, read_answer

_HASTY = """
import sys
from app import cli, protocol
protocol.HEAD_SECONDS = 0.3
sys.argv = ["zotshelf", "serve", "--host", "::1", "--port", "0"]
cli.main()
"""


@pytest.fixture(scope="module")
def hasty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that gives the head of a request 0.3 seconds."""
    folder = tmp_path_factory.mktemp("hasty")
    with serving(FolderStore(folder / "data"), folder, ("-c", _HASTY)) as server:
        yield server


def sent(server: Server, *pieces: bytes) -> Answer:
    """Send as much as the server takes; return its answer."""
    with connect(server) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # refused before all was sent
        return read_answer(connection, "GET")


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def flood(prefix: bytes, piece: bytes, pieces: int) -> list[bytes]:
    return [prefix, *[piece] * pieces]


START = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(flood(START + b"X: ", b"x" * 65536, 16), id="one-header-without-end"),
        pytest.param([START + b"X: " + b"x" * 66000 + b"\r\n\r\n"], id="one-long-header"),
        pytest.param(flood(START, b"X: y\r\n" * 1000, 100), id="headers-without-end"),
        pytest.param([START + b"X: y\r\n" * 101 + b"\r\n"], id="101-headers"),
        pytest.param(flood(b"GET /", b"a" * 65536, 16), id="target-without-end"),
        pytest.param([b"GET /" + b"a" * 66000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"], id="long-target"),
        pytest.param(flood(b"", b"A" * 65536, 8), id="no-request-at-all"),
    ],
)
def test_a_head_that_is_too_long_is_refused(folder_server: Server, pieces: list[bytes]) -> None:
    answer = sent(folder_server, *pieces)
    assert answer.status in (400, 431)
    assert answer.headers["connection"] == "close"
    assert answer.body.endswith(b"\n")
    assert answer.body.count(b"\n") == 1


def test_a_head_of_60_kib_and_100_headers_passes(folder_server: Server) -> None:
    lines = "\r\n".join(f"X-{number}: {'x' * 600}" for number in range(98))
    answer = exchange(folder_server, "GET", "/", *lines.split("\r\n"))
    assert answer.status == 401


@pytest.mark.parametrize("hosts", [[], ["Host: a", "Host: b"], ["host: a", "HOST: a"]], ids=repr)
def test_a_request_has_one_host(folder_server: Server, hosts: list[str]) -> None:
    request = "\r\n".join(["GET / HTTP/1.1", *hosts, "", ""]).encode()
    assert sent(folder_server, request).status == 400


def test_http_1_0_needs_no_host(folder_server: Server) -> None:
    assert sent(folder_server, b"GET / HTTP/1.0\r\n\r\n").status == 401


def test_a_trailer_does_not_pass_for_a_header(folder_server: Server) -> None:
    user = folder_server.new_user()
    request = head("PUT", "/a.txt", f"Authorization: {basic(user)}", "Transfer-Encoding: chunked")
    with connect(folder_server) as connection:
        connection.sendall(request + b'3\r\nabc\r\n0\r\nIf-Match: "never"\r\nContent-Range: x\r\n\r\n')
        assert read_answer(connection, "PUT").status == 201
        connection.sendall(head("GET", "/a.txt", f"Authorization: {basic(user)}"))
        assert read_answer(connection, "GET").body == b"abc"


@pytest.mark.parametrize("piece", [b"X: " + b"x" * 65533, b"X: y\r\n" * 10000], ids=["one", "many"])
def test_trailers_without_end_are_cut_off(folder_server: Server, piece: bytes) -> None:
    user = folder_server.new_user()
    request = head("PUT", "/a.txt", f"Authorization: {basic(user)}", "Transfer-Encoding: chunked")
    with connect(folder_server) as connection:
        try:
            connection.sendall(request + b"3\r\nabc\r\n0\r\n")
            for _ in range(200):
                connection.sendall(piece)
        except OSError:
            pass
        else:
            assert is_closed(connection)
    assert exchange(folder_server, "GET", "/a.txt", f"Authorization: {basic(user)}").status == 404


def test_a_body_in_100_000_tiny_chunks_is_taken(folder_server: Server) -> None:
    user = folder_server.new_user()
    request = head("PUT", "/a.txt", f"Authorization: {basic(user)}", "Transfer-Encoding: chunked")
    with connect(folder_server) as connection:
        connection.sendall(request)
        connection.sendall(b"1\r\nx\r\n" * 100_000)
        connection.sendall(b"0\r\n\r\n")
        assert read_answer(connection, "PUT").status == 201


@pytest.mark.parametrize(
    "half", [b"", b"GET / HT", START, START + b"X: y"], ids=["0", "line", "host", "field"]
)
def test_a_head_that_does_not_end_in_time_ends_the_connection(hasty_server: Server, half: bytes) -> None:
    with connect(hasty_server) as connection:
        connection.sendall(half)
        if half:
            assert read_answer(connection, "GET").status == 408
        assert is_closed(connection)


def test_a_second_head_has_as_long_as_the_first(hasty_server: Server) -> None:
    with connect(hasty_server) as connection:
        for _ in range(2):
            connection.sendall(head("GET", "/"))
            assert read_answer(connection, "GET").status == 401
        connection.sendall(START)
        assert read_answer(connection, "GET").status == 408
        assert is_closed(connection)


def test_empty_lines_do_not_keep_a_connection(hasty_server: Server) -> None:
    with connect(hasty_server) as connection:
        connection.sendall(head("GET", "/"))
        assert read_answer(connection, "GET").status == 401
        connection.sendall(b"\r\n")
        assert is_closed(connection)


def test_a_body_may_take_longer_than_a_head(hasty_server: Server) -> None:
    user = hasty_server.new_user()
    request = head("PUT", "/slow.txt", f"Authorization: {basic(user)}", "Content-Length: 4")
    with connect(hasty_server) as connection, connect(hasty_server) as other:
        connection.sendall(request + b"ab")
        # When the other one has been given up, the time of a head has passed.
        assert is_closed(other)
        connection.sendall(b"cd")
        assert read_answer(connection, "PUT").status == 201
