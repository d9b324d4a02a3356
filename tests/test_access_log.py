"""The access log: one line a request, whatever the client sends and whenever it leaves."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.access import AccessLog
from app.client_address import ClientAddresses
from app.counts import Traffic
from tests.servers import PASSWORD, Server, serving
from tests.stores import FolderStore
from tests.wire import basic, connect, exchange, head, logged, read_answer

MIB = 2**20
_TEXT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<client>\S+) (?P<user>.+) (?P<method>[A-Z]+)"
    r" (?P<path>\S+) (?P<status>\d{3}) in=(?P<bytes_in>\d+) out=(?P<bytes_out>\d+) (?P<ms>\d+\.\d)ms"
)
_UVICORN = (
    *("-m", "uvicorn", "app.main:app", "--host", "::1", "--port", "0", "--no-access-log", "--ws", "none"),
    "--loop",
)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def looped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on each kind of event loop; it must have logged no traceback in the end."""
    folder = tmp_path_factory.mktemp(f"log-{request.param}")
    with serving(FolderStore(folder / "data"), folder, (*_UVICORN, request.param)) as server:
        yield server
    errors = server.errors.read_text()
    assert "Traceback" not in errors, errors
    assert "rror" not in errors.replace("uvicorn.error", ""), errors


@pytest.fixture(scope="module")
def with_json(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("log-json")
    with serving(FolderStore(folder / "data"), folder, log_format="json") as server:
        yield server


def some_requests(server: Server, user: str) -> list[dict[str, str]]:
    """Make some requests and return what their lines must say."""
    with httpx.Client(base_url=server.url, auth=(user, PASSWORD), trust_env=False) as client:
        client.put("/a%20b.zip", content=b"12345")
        client.get("/a%20b.zip")
        client.head("/a%20b.zip")
        client.get("/missing.prop")
        client.request("MKCOL", f"{server.url}//folder//")
        client.get("/a%20b.zip?query=secret", auth=(user, "wrong"))
        client.get("/%2e%2e", auth=None)
        client.get("/-/health", auth=None)
    found = [
        (user, "PUT", "/a%20b.zip", 201, 5, 0),
        (user, "GET", "/a%20b.zip", 200, 0, 5),
        (user, "HEAD", "/a%20b.zip", 200, 0, 0),
        (user, "GET", "/missing.prop", 404, 0, 27),
        (user, "MKCOL", "//folder//", 201, 0, 0),
        ("-", "GET", "/a%20b.zip", 401, 0, 41),
        ("-", "GET", "/%2e%2e", 401, 0, 41),
        ("-", "GET", "/-/health", 200, 0, 3),
    ]
    names = ("user", "method", "path", "status", "bytes_in", "bytes_out")
    return [dict(zip(names, map(str, each), strict=True)) for each in found]


def test_every_request_is_one_line_of_text(looped: Server) -> None:
    with logged(looped) as lines:
        expected = some_requests(looped, looped.new_user())
    found = [match.groupdict() for line in lines if (match := _TEXT.fullmatch(line))]
    assert len(found) == len(lines)
    assert [{name: each[name] for name in expected[0]} for each in found] == expected


def test_every_request_is_one_object_of_json(with_json: Server) -> None:
    with logged(with_json) as lines:
        expected = some_requests(with_json, with_json.new_user())
    found = [json.loads(line) for line in lines]
    assert [{name: str(each[name]) for name in expected[0]} for each in found] == expected
    for each in found:
        assert isinstance(each["ms"], float)
        assert isinstance(each["status"], int)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", each["time"])
        assert each["logger"] == "zotshelf.access"
        assert "secret" not in str(each)


def reset(connection: socket.socket) -> None:
    """Close with a reset in place of an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def close(connection: socket.socket) -> None:
    connection.close()


LEAVING = pytest.mark.parametrize("leave", [close, reset])


@LEAVING
@pytest.mark.parametrize(
    "sent", [pytest.param(0, id="before-the-body"), pytest.param(5 * MIB, id="within-the-body")]
)
def test_a_client_that_leaves_its_upload_is_one_line(looped: Server, leave: object, sent: int) -> None:
    user, path = looped.new_user(), f"/{looped.new_user()}.zip"
    with connect(looped) as connection:
        connection.sendall(head("PUT", path, f"Authorization: {basic(user)}", f"Content-Length: {10 * MIB}"))
        connection.sendall(bytes(sent))
        assert callable(leave)
        leave(connection)
    line = looped.wait_for_line(path)
    match = _TEXT.fullmatch(line)
    assert match is not None, line
    assert (match["user"], match["method"], match["status"], match["bytes_out"]) == (user, "PUT", "499", "0")
    assert int(match["bytes_in"]) <= sent
    assert len(looped.lines(path)) == 1
    # The server goes on, and nothing of the upload is there.
    assert exchange(looped, "GET", path, f"Authorization: {basic(user)}").status == 404


@LEAVING
def test_a_client_that_leaves_its_download_is_one_line(looped: Server, leave: object) -> None:
    user, path = looped.new_user(), f"/{looped.new_user()}.bin"
    authorization = f"Authorization: {basic(user)}"
    with httpx.Client(auth=(user, PASSWORD), trust_env=False) as client:
        client.put(looped.url + path, content=bytes(64 * MIB)).raise_for_status()
    with connect(looped) as connection:
        connection.sendall(head("GET", path, authorization))
        assert connection.recv(100_000).startswith(b"HTTP/1.1 200 OK\r\n")
        assert callable(leave)
        leave(connection)
    looped.wait_for_line(f"GET {path}")
    (line,) = looped.lines(f"GET {path}")
    match = _TEXT.fullmatch(line)
    assert match is not None, line
    assert match["status"] == "499"
    assert 0 < int(match["bytes_out"]) < 64 * MIB
    assert exchange(looped, "HEAD", path, authorization).status == 200


@LEAVING
def test_a_client_that_leaves_a_listing_is_one_line(looped: Server, leave: object) -> None:
    user = looped.new_user()
    authorization = f"Authorization: {basic(user)}"
    folder = looped.store.path / user / "many" if isinstance(looped.store, FolderStore) else None
    assert folder is not None
    folder.mkdir(parents=True)
    for number in range(20_000):
        (folder / f"{'n' * 200}{number}").touch()
    with connect(looped) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(head("PROPFIND", "/many/", authorization, "Depth: 1", "Content-Length: 0"))
        assert connection.recv(20_000).startswith(b"HTTP/1.1 207 ")
        assert callable(leave)
        leave(connection)
    looped.wait_for_line(f"{user} PROPFIND /many/")
    (line,) = looped.lines(f"{user} PROPFIND /many/")
    assert " 499 " in line


def test_a_client_that_leaves_before_its_refusal_is_one_line(looped: Server) -> None:
    path = f"/{looped.new_user()}.zip"
    with connect(looped) as connection:
        connection.sendall(head("PUT", path, f"Content-Length: {10 * MIB}") + bytes(MIB))
        # It may have read the answer by then or not; that it left is not worth another line.
    assert re.search(r" (401|499) ", looped.wait_for_line(path))
    assert len(looped.lines(path)) == 1


FORGED = "2026-01-01T00:00:00.000Z admin GET /forged 200 in=0 out=0 1.0ms"


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(f"/%0A{FORGED.replace(' ', '%20')}".encode(), id="encoded-line-feed"),
        pytest.param(f"/%0D%0A{FORGED.replace(' ', '%20')}".encode(), id="encoded-line-end"),
        pytest.param(f"/\n{FORGED}".encode(), id="line-feed"),
        pytest.param(f"/\r{FORGED}".encode(), id="carriage-return"),
        pytest.param(b"/\xc2\x85next-line", id="next-line"),
        pytest.param("/\u2028line-separator".encode(), id="line-separator"),
        pytest.param(b"/\x1b[2Jescape", id="terminal-escape"),
        pytest.param(b"/\x9b2Jescape", id="terminal-escape-of-eight-bits"),
        pytest.param(b"/\xff\xfe", id="not-utf-8"),
        pytest.param("/\u202eright-to-left".encode(), id="right-to-left"),
        pytest.param(b'/"}{"quotes', id="quotes"),
    ],
)
@pytest.mark.parametrize(
    "headers", [pytest.param((), id="stranger"), pytest.param((f"Authorization: {basic('u0')}",), id="user")]
)
def test_no_path_can_forge_a_line(
    looped: Server, with_json: Server, target: bytes, headers: tuple[str, ...]
) -> None:
    for server in (looped, with_json):
        with logged(server) as lines:
            answer = exchange(server, "GET", target, *headers, "Connection: close")
        assert answer.status in (200, 400, 401, 404, 505)
        # A request that is refused for its form has no line at all.
        assert len(lines) <= 1
        for line in lines:
            assert line.isprintable()
            if server is with_json:
                assert json.loads(line)["path"]
            else:
                assert _TEXT.fullmatch(line)


def test_users_and_headers_cannot_forge_a_line(looped: Server) -> None:
    with logged(looped) as lines:
        for user in (f"u0\n{FORGED}", "u0\x1b[2J", "u0\u2028"):
            assert exchange(looped, "GET", "/", f"Authorization: {basic(user)}").status == 401
    assert len(lines) == 3
    assert all(_TEXT.fullmatch(line) for line in lines)


def test_no_secret_is_logged(looped: Server) -> None:
    user = looped.new_user()
    for password in (PASSWORD, "not-the-password"):
        answer = exchange(looped, "GET", "/?token=secret-token", f"Authorization: {basic(user, password)}")
        assert answer.status in (200, 401)
    logged = looped.output.read_text() + looped.errors.read_text()
    for secret in (PASSWORD, "not-the-password", "secret-token", basic(user)[6:]):
        assert secret not in logged


def test_a_stranger_who_asks_for_a_websocket_is_refused_in_one_line(looped: Server) -> None:
    headers = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    with logged(looped) as lines:
        answer = exchange(looped, "GET", "/socket", *headers, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert answer.status == 401
    assert [line.partition(" in=")[0].partition(" ")[2] for line in lines] == ["::1 - GET /socket 401"]


async def test_a_websocket_that_a_server_would_open_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Message] = []

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it went further")

    async def receive() -> Message:
        raise AssertionError("it was read")

    async def send(message: Message) -> None:
        sent.append(message)

    with caplog.at_level("INFO", "zotshelf.access"):
        scope = {"type": "websocket", "raw_path": b"/socket", "headers": [], "client": ("::1", 1)}
        await AccessLog(never, ClientAddresses([]), Traffic(["GET"]))(scope, receive, send)
    assert sent == [{"type": "websocket.close"}]
    assert [record.getMessage().partition(" in=")[0] for record in caplog.records] == [
        "::1 - GET /socket 403"
    ]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that does not wait for clients."""
    folder = tmp_path_factory.mktemp("log-impatient")
    store = FolderStore(folder / "data")
    with serving(store, folder, client_timeout="0.3", discard_seconds="0.1") as server:
        yield server
    assert "Traceback" not in server.errors.read_text()


def test_a_silent_client_is_told_408_and_logged_once(impatient: Server) -> None:
    user = impatient.new_user()
    authorization = f"Authorization: {basic(user)}"
    with connect(impatient) as connection:
        connection.sendall(head("PUT", "/silent.zip", authorization, "Content-Length: 10") + b"12345")
        assert read_answer(connection, "PUT").status == 408
    assert " 408 in=5 " in impatient.wait_for_line("/silent.zip")
    assert exchange(impatient, "GET", "/silent.zip", authorization).status == 404
    assert impatient.store.litter(user) == []


def test_a_client_that_takes_nothing_is_cut_off_and_logged_once(impatient: Server) -> None:
    user = impatient.new_user()
    assert isinstance(impatient.store, FolderStore)
    # Not sent: on a busy machine we would ourselves fall silent for longer than this server waits.
    file = impatient.store.path / user / "taken.bin"
    file.parent.mkdir()
    file.touch()
    os.truncate(file, 64 * MIB)
    with connect(impatient) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(head("GET", "/taken.bin", f"Authorization: {basic(user)}"))
        line = impatient.wait_for_line("GET /taken.bin")
        received = 0
        with suppress(ConnectionError):
            while piece := connection.recv(MIB):
                received += len(piece)
    assert " 499 " in line
    assert 0 < received < 64 * MIB
