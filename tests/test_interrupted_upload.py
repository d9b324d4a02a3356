"""An upload that breaks off leaves what was there, byte for byte, and no litter; on every storage."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

import httpx
import pytest

from tests.servers import Server
from tests.wire import PATIENCE, basic, connect, exchange, head

MIB = 2**20
OLD = b"what was there before" * 1000


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def end(connection: socket.socket) -> None:
    """Say that nothing more will come, and go on listening."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


LEAVING = [close, reset, end]

ANNOUNCED = f"Content-Length: {40 * MIB}"
CHUNKED = "Transfer-Encoding: chunked"


def chunk(size: int) -> bytes:
    return b"%x\r\n%s\r\n" % (size, bytes(size))


BROKEN = [
    pytest.param(ANNOUNCED, b"", id="before-the-body"),
    pytest.param(ANNOUNCED, b"x", id="after-a-byte"),
    pytest.param(ANNOUNCED, bytes(5 * MIB), id="in-the-first-part"),
    pytest.param(ANNOUNCED, bytes(20 * MIB), id="in-a-later-part"),
    pytest.param(ANNOUNCED, bytes(40 * MIB - 1), id="before-the-last-byte"),
    pytest.param(CHUNKED, chunk(100), id="chunked-in-the-first-part"),
    pytest.param(CHUNKED, chunk(10 * MIB) * 2, id="chunked-in-a-later-part"),
    pytest.param(CHUNKED, chunk(100)[:-3], id="within-a-chunk"),
]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize(("framing", "body"), BROKEN)
def test_an_upload_that_breaks_off_leaves_what_was_there(
    server: Server,
    user: str,
    client: httpx.Client,
    framing: str,
    body: bytes,
    leave: Callable[[socket.socket], None],
) -> None:
    before = client.put("/old.zip", content=OLD).headers["etag"]
    for path in ("/old.zip", "/new.zip"):
        with connect(server) as connection:
            connection.sendall(head("PUT", path, f"Authorization: {basic(user)}", framing) + body)
            leave(connection)
    for path in ("/old.zip", "/new.zip"):
        # Once the line is there, the server is done with the request.
        server.wait_for_line(f" {user} PUT {path} 499 ")
    found = client.get("/old.zip")
    assert (found.content, found.headers["etag"]) == (OLD, before)
    assert client.get("/new.zip").status_code == 404
    assert server.store.litter(user) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"nonsense\r\n", id="no-chunk"),
        pytest.param(chunk(100) + b"zz\r\n", id="no-chunk-after-a-chunk"),
        pytest.param(b"fffffffffffffffff\r\nx", id="absurd-size"),
    ],
)
def test_a_body_that_is_not_framed_well_leaves_what_was_there(
    server: Server, user: str, client: httpx.Client, body: bytes
) -> None:
    client.put("/old.zip", content=OLD)
    with connect(server) as connection:
        connection.sendall(head("PUT", "/old.zip", f"Authorization: {basic(user)}", CHUNKED) + body)
        answer = connection.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    server.wait_for_line(f" {user} PUT /old.zip 499 ")
    assert client.get("/old.zip").content == OLD
    assert server.store.litter(user) == []


def test_what_follows_the_announced_bytes_is_no_part_of_the_file(
    server: Server, user: str, client: httpx.Client
) -> None:
    headers = (f"Authorization: {basic(user)}", "Content-Length: 5")
    with connect(server) as connection:
        connection.sendall(head("PUT", "/long.zip", *headers) + b"12345and more")
        # It is taken for a second request, and a bad one, which may end the connection first.
        assert connection.recv(65536).startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 400 "))
    server.wait_for_line(f" {user} PUT /long.zip ")
    assert client.get("/long.zip").content in (b"12345", b"There is no such resource.\n")
    assert server.store.litter(user) == []


def wait_for_litter(server: Server, user: str) -> None:
    """Wait until an upload has begun to store: what it has in hand then would be litter afterwards."""
    deadline = time.monotonic() + PATIENCE
    while not server.store.litter(user):
        assert time.monotonic() < deadline, "the store does not show what is under way"
        time.sleep(0.01)


def test_readers_see_the_old_file_until_the_new_one_is_whole(
    server: Server, user: str, client: httpx.Client
) -> None:
    client.put("/file.zip", content=OLD)
    new = bytes(20 * MIB)
    lines = (f"Authorization: {basic(user)}", f"Content-Length: {len(new)}")
    with connect(server) as connection:
        connection.sendall(head("PUT", "/file.zip", *lines) + new[:-1])
        wait_for_litter(server, user)
        assert client.get("/file.zip").content == OLD
        names = client.request("PROPFIND", "/", headers={"Depth": "1"}).text
        assert names.count("<D:response>") == 2
        connection.sendall(new[-1:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")
    assert client.get("/file.zip").content == new
    assert server.store.litter(user) == []
    assert exchange(server, "GET", "/file.zip", f"Authorization: {basic(user)}").body == new
