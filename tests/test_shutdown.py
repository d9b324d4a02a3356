"""SIGTERM: no new requests, what is under way may finish within a set time, then the end, with code 0."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from scripts.bench.processes import free_port
from tests.stores import environment
from tests.waiting import wait_until
from tests.wire import PATIENCE, Answer, basic, connect_to, head, read_answer

SERVE = ("-m", "app", "serve")
GUNICORN = ("-m", "gunicorn", "-c", "python:app.gunicorn_config", "app.main:app")
LARGE = bytes(range(256)) * (32 * 4096)
"""More than the buffers of a connection take."""

starters = pytest.mark.parametrize(
    ("command", "workers"),
    [
        pytest.param(SERVE, 1, id="zotshelf serve"),
        pytest.param(SERVE, 2, id="zotshelf serve with two workers"),
        pytest.param(GUNICORN, 1, id="gunicorn"),
        pytest.param(GUNICORN, 2, id="gunicorn with two workers"),
    ],
)
CREDENTIALS = f"Authorization: {basic('ann', 'secret')}"


@dataclass
class Served:
    process: subprocess.Popen[bytes]
    port: int
    data: Path
    log: Path

    def connect(self) -> socket.socket:
        return connect_to(self.port)

    def ask(self, method: str, target: str, body: bytes = b"") -> Answer:
        with self.connect() as connection:
            connection.sendall(head(method, target, CREDENTIALS, f"Content-Length: {len(body)}") + body)
            return read_answer(connection, method)

    def begin_upload(self, target: str, size: int, first: bytes) -> socket.socket:
        """Send the beginning of an upload, and wait until some of it is on the disk."""
        connection = self.connect()
        connection.sendall(head("PUT", target, CREDENTIALS, f"Content-Length: {size}") + first)
        wait_until(lambda: any(found.stat().st_size for found in self.uploads()), "no upload began")
        return connection

    def begin_download(self, target: str) -> socket.socket:
        connection = self.connect()
        connection.sendall(head("GET", target, CREDENTIALS))
        assert connection.recv(15, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 200 OK"
        return connection

    def uploads(self) -> list[Path]:
        return list((self.data / ".zotshelf" / "uploads").glob("*"))

    def told_to_stop(self) -> None:
        """Send SIGTERM and wait until nobody can connect any more."""
        self.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not self.can_connect(), "it still listens")

    def can_connect(self) -> bool:
        with socket.socket(socket.AF_INET6) as probe:
            return probe.connect_ex(("::1", self.port)) != errno.ECONNREFUSED


Start = Callable[..., Served]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(command: tuple[str, ...], workers: int, **settings: str) -> Served:
            (tmp_path / "users").write_text(f"ann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
            port, log, data = free_port(), tmp_path / "log", tmp_path / "data"
            given = {"storage": f"file:{data}", "users_file": str(tmp_path / "users"), "host": "::1"}
            given |= {"port": str(port), "workers": str(workers), **settings}
            variables = environment(**{f"ZOTSHELF_{name.upper()}": value for name, value in given.items()})
            with log.open("wb") as written:
                process = subprocess.Popen(
                    [sys.executable, *command], cwd=tmp_path, env=variables, stdout=written, stderr=written
                )
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.terminate)
            served = Served(process, port, data, log)
            wait_until(served.can_connect, "it does not listen")
            assert served.ask("PUT", "/large", LARGE).status == 201
            return served

        yield begin


@starters
def test_what_is_under_way_is_finished_and_nothing_new_begun(
    start: Start, command: tuple[str, ...], workers: int
) -> None:
    served = start(command, workers)
    with (
        served.connect() as idle,
        served.begin_upload("/new", len(LARGE), LARGE[:5_000_000]) as upload,
        served.begin_download("/large") as download,
    ):
        idle.sendall(head("GET", "/-/health"))
        assert read_answer(idle, "GET").status == 200
        served.told_to_stop()
        assert idle.recv(1) == b""
        assert served.process.poll() is None
        upload.sendall(LARGE[5_000_000:])
        assert read_answer(upload, "PUT").status == 201
        assert read_answer(download, "GET").body == LARGE
        assert served.process.wait(PATIENCE) == 0
    assert (served.data / "new").read_bytes() == LARGE
    assert served.uploads() == []
    assert "Traceback" not in served.log.read_text()


@starters
def test_what_takes_longer_than_is_set_is_broken_off_and_leaves_nothing(
    start: Start, command: tuple[str, ...], workers: int
) -> None:
    served = start(command, workers, shutdown_seconds="1")
    assert served.ask("PUT", "/old", b"old").status == 201
    with (
        served.begin_upload("/old", len(LARGE), LARGE[:5_000_000]) as upload,
        served.begin_download("/large") as download,
    ):
        served.told_to_stop()
        assert served.process.wait(PATIENCE) == 0
        assert b" 201 " not in everything_from(upload)
        assert len(everything_from(download)) < len(LARGE)
    assert (served.data / "old").read_bytes() == b"old"
    assert served.uploads() == []


def everything_from(connection: socket.socket) -> bytes:
    """Return what comes until the connection ends, in whatever way."""
    received = bytearray()
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)
