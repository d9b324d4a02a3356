"""Files that the system brings from the folder to the socket by itself, as the client sees them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from http.client import IncompleteRead, parse_headers
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO

import httpx
import pytest

from tests.servers import PASSWORD, Server, serving
from tests.stores import FolderStore
from tests.wire import basic, connect, exchange, head, read_answer

SIZE = 9 * 2**20 + 12345
_RUN = """
import errno, os, sys
from app import cli, serve

options = serve.connection_options
serve.connection_options = lambda settings: {{**options(settings), "loop": "{loop}"}}

def failing(*arguments):
    raise OSError({code}, os.strerror({code}))

if {code}:
    os.sendfile = failing
sys.argv[1:] = ["serve", "--host", "::1", "--port", "0"]
cli.main()
"""


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def pouring(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on each kind of event loop; it must have logged no traceback in the end."""
    folder = tmp_path_factory.mktemp(f"pouring-{request.param}")
    command = ("-c", _RUN.format(loop=request.param, code=0))
    with serving(FolderStore(folder / "data"), folder, command, client_timeout="1") as server:
        yield server
    assert "Traceback" not in server.errors.read_text()


@pytest.fixture
def user(pouring: Server, content: bytes) -> str:
    user = pouring.new_user()
    store(pouring, user, content)
    return user


def store(server: Server, user: str, content: bytes) -> None:
    with httpx.Client(base_url=server.url, auth=(user, PASSWORD), trust_env=False) as client:
        assert client.put("/large.zip", content=content).status_code == 201
        assert client.put("/small.zip", content=b"small").status_code == 201


def slow_download(server: Server, user: str) -> socket.socket:
    """Begin a download and take next to nothing of it."""
    connection = connect(server)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.sendall(head("GET", "/large.zip", f"Authorization: {basic(user)}"))
    assert connection.recv(1, socket.MSG_PEEK)
    return connection


def next_body(answers: BinaryIO) -> bytes:
    """Read one of several answers."""
    assert answers.readline().startswith(b"HTTP/1.1 20")
    return answers.read(int(parse_headers(answers)["content-length"]))


def descriptors(server: Server) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def test_answers_that_follow_each_other_on_a_connection_are_whole(
    pouring: Server, user: str, content: bytes
) -> None:
    authorization = f"Authorization: {basic(user)}"
    ranged = "Range: bytes=1000000-8999999"
    with connect(pouring) as connection, connection.makefile("rb") as answers:
        for _ in range(2):
            connection.sendall(
                head("GET", "/large.zip", authorization)
                + head("GET", "/small.zip", authorization)
                + head("GET", "/large.zip", authorization, ranged)
            )
            bodies = [next_body(answers) for _ in range(3)]
            assert bodies == [content, b"small", content[1000000:9000000]]


def test_the_log_counts_what_was_sent(pouring: Server, user: str) -> None:
    exchange(pouring, "GET", "/large.zip", f"Authorization: {basic(user)}")
    assert f" 200 in=0 out={SIZE} " in pouring.wait_for_line(f"{user} GET /large.zip")


def test_a_file_that_is_cut_off_midway_breaks_the_connection(pouring: Server, user: str) -> None:
    with slow_download(pouring, user) as connection:
        assert isinstance(pouring.store, FolderStore)
        os.truncate(pouring.store.path / user / "large.zip", 300000)
        with pytest.raises((IncompleteRead, ConnectionError)):
            read_answer(connection, "GET")
    assert " cut: the file was changed" in pouring.wait_for_line(f"{user} GET /large.zip")


def test_a_client_that_leaves_frees_all_descriptors(pouring: Server, user: str) -> None:
    before = descriptors(pouring)
    slow_download(pouring, user).close()
    assert " 499 " in pouring.wait_for_line(f"{user} GET /large.zip")
    deadline = monotonic() + 10
    while descriptors(pouring) > before:
        assert monotonic() < deadline
        sleep(0.01)


def test_a_client_that_takes_nothing_is_cut_off(pouring: Server, user: str) -> None:
    with slow_download(pouring, user):
        assert " 499 " in pouring.wait_for_line(f"{user} GET /large.zip")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_where_the_system_cannot_bring_it_the_file_is_read(tmp_path: Path, content: bytes, loop: str) -> None:
    command = ("-c", _RUN.format(loop=loop, code="errno.EINVAL"))
    with serving(FolderStore(tmp_path / "data"), tmp_path, command) as server:
        user = server.new_user()
        store(server, user, content)
        answer = exchange(server, "GET", "/large.zip", f"Authorization: {basic(user)}")
    assert answer.body == content


def test_a_disk_that_fails_breaks_the_connection(tmp_path: Path, content: bytes) -> None:
    command = ("-c", _RUN.format(loop="uvloop", code="errno.EIO"))
    with serving(FolderStore(tmp_path / "data"), tmp_path, command) as server:
        user = server.new_user()
        store(server, user, content)
        with pytest.raises((IncompleteRead, ConnectionError)):
            exchange(server, "GET", "/large.zip", f"Authorization: {basic(user)}")
        assert " cut: " in server.wait_for_line("GET /large.zip")
