"""What a server takes of memory, as a process of its own, while much goes through it to S3 and back."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import peak
from tests.s3_opened import hollow_store
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import Server, serving
from tests.stores import S3Store
from tests.wire import basic, read_answer

MIB = 1048576
MB = 1000000
GIB = 1024 * MIB


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse file of 256 MiB."""
    file = tmp_path_factory.mktemp("zeros") / "zeros"
    file.touch()
    os.truncate(file, 256 * MIB)
    return file


def request(server: Server, method: str, path: str, size: int | None = None) -> socket.socket:
    """Begin a request, and give its connection."""
    connection = socket.create_connection(("::1", server.port), timeout=60)
    length = "" if size is None else f"Content-Length: {size}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('u0')}\r\n{length}\r\n"
    connection.sendall(head.encode())
    return connection


def put(server: Server, path: str, zeros: Path, size: int) -> int:
    """Store so many zeros, and return the status."""
    with request(server, "PUT", path, size) as connection, zeros.open("rb") as file:
        connection.sendfile(file, 0, size)
        return read_answer(connection, "PUT").status


def put_at_once(server: Server, zeros: Path, count: int, size: int) -> list[int]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda number: put(server, f"/{number}.zip", zeros, size), range(count)))


@pytest.mark.parametrize(
    ("size", "ceiling", "least", "most"),
    [
        pytest.param(256 * MB, "96MiB", 130, 220, id="with-the-default-ceiling"),
        # With twice the ceiling eight uploads take what the default one denies them.
        pytest.param(48 * MB, "192MiB", 190, 260, id="with-twice-the-ceiling"),
    ],
)
def test_eight_uploads_at_once_stay_below_the_ceiling(
    tmp_path: Path, zeros: Path, size: int, ceiling: str, least: float, most: float
) -> None:
    with hollow_store() as store, serving(store, tmp_path, upload_memory=ceiling) as server:
        assert put_at_once(server, zeros, 8, size) == [201] * 8
        assert least < peak(server.pid) < most


def test_a_download_of_a_gibibyte_takes_next_to_nothing(tmp_path: Path) -> None:
    with hollow_store(**{"u0/big.zip": GIB}) as store, serving(store, tmp_path) as server:
        before = peak(server.pid)
        with request(server, "GET", "/big.zip") as connection:
            buffer, received = bytearray(MIB), 0
            while received < GIB:
                read = connection.recv_into(buffer)
                assert read, "the answer broke off"
                received += read
        assert peak(server.pid) < min(90, before + 10)


def test_thirty_uploads_at_once_all_end(tmp_path: Path, zeros: Path) -> None:
    with hollow_store() as store, serving(store, tmp_path) as server:
        assert put_at_once(server, zeros, 30, 20 * MB) == [201] * 30


def test_uploads_that_trickle_and_pause_outlast_the_stores_patience(tmp_path: Path) -> None:
    content = os.urandom(12 * MIB)
    pauses = {"in-the-first-part": 6 * MIB, "between-parts": 8 * MIB, "in-the-second-part": 9 * MIB}

    def trickle(server: Server, name: str) -> int:
        with request(server, "PUT", f"/{name}.zip", len(content)) as connection:
            for start in range(0, len(content), MIB):
                if start == pauses[name]:
                    time.sleep(2)
                connection.sendall(content[start : start + MIB])
                time.sleep(0.05)
            return read_answer(connection, "PUT").status

    with StandIn(idle=0.5) as s3:
        store = S3Store("stand-in", s3.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        with serving(store, tmp_path) as server, ThreadPoolExecutor() as threads:
            assert list(threads.map(lambda name: trickle(server, name), pauses)) == [201] * 3
        assert [s3.bucket.content(f"u0/{name}.zip") == content for name in pauses] == [True] * 3
        assert [one.operation for one in s3.requests].count("PUT partNumber") == 6
