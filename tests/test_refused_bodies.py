"""A request that is refused before its body was read: the client must be able to read why.

Zotero's clients, as many others, write their whole body before they read anything.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from tests.proxy import nginx
from tests.requirements import program
from tests.servers import Server
from tests.stores import environment
from tests.wire import basic, connect_to, head, read_answer

MIB = 2**20
LARGE = 200 * MIB
PIECE = bytes(MIB)

pytestmark = pytest.mark.parametrize("server", ["folder"], indirect=True)


@pytest.fixture(scope="module")
def nginx_port(folder_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with nginx(folder_server.port, tmp_path_factory.mktemp("nginx")) as port:
        yield port


@pytest.fixture(params=["directly", "through-nginx"])
def port(request: pytest.FixtureRequest, server: Server) -> int:
    """The port that a client speaks to."""
    if request.param == "directly":
        return server.port
    found: int = request.getfixturevalue("nginx_port")
    return found


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse file of LARGE bytes."""
    file = tmp_path_factory.mktemp("large") / "large"
    with file.open("wb") as out:
        out.truncate(LARGE)
    return file


Client = Callable[[int, str, dict[str, str], Path], tuple[int, bytes]]
"""PUTs a file to a path on a port, with headers; returns the status and the body of the answer."""


def _curl(*options: str) -> Client:
    def put(port: int, path: str, headers: dict[str, str], file: Path) -> tuple[int, bytes]:
        sent = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
        url = f"http://[::1]:{port}{path}"
        flags = ["-gsS", "-m", "60", "-w", "\n%{http_code}", "-T", str(file), *sent, *options]
        command = [program("curl"), *flags, url]
        done = subprocess.run(command, env=environment(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body

    return put


def _http_client(port: int, path: str, headers: dict[str, str], file: Path) -> tuple[int, bytes]:
    connection = HTTPConnection("::1", port, timeout=60, blocksize=65536)
    with file.open("rb") as body:
        connection.request("PUT", path, body, {**headers, "Content-Length": str(file.stat().st_size)})
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def _write_first(port: int, path: str, headers: dict[str, str], file: Path) -> tuple[int, bytes]:
    size = file.stat().st_size
    lines = [f"{name}: {value}" for name, value in headers.items()]
    with connect_to(port) as connection:
        connection.sendall(head("PUT", path, f"Content-Length: {size}", *lines))
        for start in range(0, size, MIB):
            connection.sendall(PIECE[: size - start])
        answer = read_answer(connection, "PUT")
        return answer.status, answer.body


CLIENTS = [
    pytest.param(_curl(), id="curl"),
    pytest.param(_curl("-H", "Expect:"), id="curl-that-does-not-wait"),
    pytest.param(_curl("-H", "Transfer-Encoding: chunked", "-H", "Expect:"), id="curl-in-chunks"),
    pytest.param(_curl("-H", "Connection: close", "-H", "Expect:"), id="curl-that-closes"),
    pytest.param(_curl("--http1.0"), id="curl-in-http-1.0"),
    pytest.param(_http_client, id="http-client"),
    pytest.param(_write_first, id="writes-all-before-it-reads"),
]


@pytest.mark.parametrize("put", CLIENTS)
def test_a_client_without_credentials_can_read_the_401(
    server: Server, user: str, put: Client, port: int, large_file: Path
) -> None:
    status, body = put(port, f"/{user}.zip", {}, large_file)
    assert (status, body) == (401, b"A user name and its password are needed.\n")
    assert " 401 " in server.wait_for_line(f"/{user}.zip")


@pytest.mark.parametrize("put", CLIENTS)
@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        pytest.param("/missing/KEY.zip", {}, 409, id="409"),
        pytest.param("/old.zip", {"If-None-Match": "*"}, 412, id="412"),
        pytest.param("/folder", {}, 405, id="405"),
    ],
)
def test_a_client_can_read_why_its_file_is_refused(
    client: httpx.Client,
    user: str,
    put: Client,
    port: int,
    large_file: Path,
    path: str,
    headers: dict[str, str],
    expected: int,
) -> None:
    client.put("/old.zip", content=b"old")
    client.request("MKCOL", "/folder/")
    medium = large_file.parent / "medium"
    with medium.open("wb") as out:
        out.truncate(30 * MIB)
    status, body = put(port, path, {**headers, "Authorization": basic(user)}, medium)
    assert status == expected
    assert body.count(b"\n") == 1
    assert client.get("/old.zip").content == b"old"


def test_sixty_refusals_in_a_row_are_all_readable(port: int) -> None:
    body = bytes(8 * MIB)
    for _ in range(60):
        connection = HTTPConnection("::1", port, timeout=30)
        connection.request("PUT", "/KEY.zip", body)
        response = connection.getresponse()
        assert (response.status, response.read().count(b"\n")) == (401, 1)
        connection.close()


def test_the_connection_is_used_again_after_a_refused_body(server: Server, user: str) -> None:
    body = bytes(3 * MIB)
    request = head("PUT", "/KEY.zip", f"Content-Length: {len(body)}")
    signed = head("PUT", "/KEY.zip", f"Content-Length: {len(body)}", f"Authorization: {basic(user)}")
    with connect_to(server.port) as connection:
        for _ in range(3):
            connection.sendall(request + body)
            assert read_answer(connection, "PUT").status == 401
        connection.sendall(signed + body)
        assert read_answer(connection, "PUT").status == 201
        connection.sendall(head("GET", "/KEY.zip", f"Authorization: {basic(user)}"))
        assert read_answer(connection, "GET").body == body


def test_the_next_request_may_follow_a_refused_body_at_once(server: Server, user: str) -> None:
    # Pipelined: the server must not take the second request for a part of the body.
    refused = head("PUT", "/KEY.zip", "Content-Length: 5") + b"12345"
    following = head("OPTIONS", "/", f"Authorization: {basic(user)}", "Connection: close")
    answers = b""
    with connect_to(server.port) as connection:
        connection.sendall(refused + following)
        while piece := connection.recv(65536):
            answers += piece
    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"401", b"200"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/large.bin", 200),
        ("GET", "/missing", 404),
        ("HEAD", "/large.bin", 200),
        ("OPTIONS", "/", 200),
        ("DELETE", "/missing", 404),
        ("MKCOL", "/new/", 415),
        ("POST", "/", 405),
        ("PUT", "/%00", 400),
        ("GET", "/-/health", 200),
    ],
)
@pytest.mark.parametrize("framing", [f"Content-Length: {3 * MIB}", "Transfer-Encoding: chunked"])
def test_a_body_that_a_method_does_not_want_does_no_harm(
    client: httpx.Client, server: Server, user: str, framing: str, method: str, path: str, expected: int
) -> None:
    client.put("/large.bin", content=bytes(5 * MIB))
    body = bytes(3 * MIB)
    if framing.endswith("chunked"):
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    authorization = f"Authorization: {basic(user)}"
    with connect_to(server.port) as connection:
        for _ in range(2):
            connection.sendall(head(method, path, authorization, framing) + body)
            assert read_answer(connection, method).status == expected
        connection.sendall(head("GET", "/large.bin", authorization))
        assert len(read_answer(connection, "GET").body) == 5 * MIB


def test_a_client_that_waits_for_100_sends_no_body_and_its_connection_ends(server: Server) -> None:
    with connect_to(server.port) as connection:
        connection.sendall(head("PUT", "/KEY.zip", f"Content-Length: {LARGE}", "Expect: 100-continue"))
        answer = read_answer(connection, "PUT")
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert connection.recv(1) == b""


def test_a_client_that_waits_for_100_is_told_to_go_on(server: Server, user: str) -> None:
    lines = ("Content-Length: 5", "Expect: 100-continue", f"Authorization: {basic(user)}")
    with connect_to(server.port) as connection:
        connection.sendall(head("PUT", "/KEY.zip", *lines))
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"12345")
        assert read_answer(connection, "PUT").status == 201
