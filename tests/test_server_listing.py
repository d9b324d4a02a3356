"""A large collection in a bucket, listed by a server of its own: what it asks, how soon, what it holds."""

from __future__ import annotations

import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import IncompleteRead
from math import ceil
from pathlib import Path

import pytest

from scripts.bench.commands import AS_INSTALLED
from tests.processes import peak, resident
from tests.s3_faults import Held, Refuse
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import Server, serving
from tests.stores import FolderStore, S3Store
from tests.wire import basic, connect, head, read_answer

ALPHABET = "23456789ABCDEFGHIJKLMNPQRSTUVWXYZ"
COMMAND = ("-c", AS_INSTALLED, "serve", "--host", "::1", "--port", "0")
CONNECTIONS = 2000
PROPFIND = b'<propfind xmlns="DAV:"><prop><getlastmodified/></prop></propfind>'


@pytest.fixture
def store() -> Iterator[StandIn]:
    with StandIn() as s3:
        yield s3


@pytest.fixture
def server(store: StandIn, tmp_path: Path) -> Iterator[Server]:
    bucket = S3Store("stand-in", store.url, ACCESS_KEY, SECRET_KEY, BUCKET)
    with serving(bucket, tmp_path, COMMAND) as server:
        yield server


def fill(store: StandIn, count: int) -> None:
    chance = random.Random(count)
    keys = ("".join(chance.choices(ALPHABET, k=8)) for _ in range(ceil(count / 2)))
    names = [f"{key}.{ending}" for key in keys for ending in ("prop", "zip")][:count]
    store.bucket.fill(*(f"u0/zotero/{name}" for name in names))


def ask(server: Server, stack: ExitStack, body: bytes = PROPFIND) -> socket.socket:
    """Ask for all members, as Zotero does unless told otherwise, and give the connection."""
    connection = stack.enter_context(connect(server))
    length = f"Content-Length: {len(body)}"
    fields = ("Depth: 1", f"Authorization: {basic('u0')}", length)
    connection.sendall(head("PROPFIND", "/zotero/", *fields) + body)
    return connection


def listed(server: Server) -> int:
    with ExitStack() as stack:
        answer = read_answer(ask(server, stack), "PROPFIND")
    assert answer.status == 207
    return answer.body.count(b"<D:response>")


@pytest.mark.parametrize(
    ("count", "most"),
    [(999, 1), (1000, 2), (1001, 3), (2000, 3), (2001, 11), (20_000, 28)],
)
def test_a_listing_costs_a_request_for_each_thousand_and_few_more(
    store: StandIn, server: Server, count: int, most: int
) -> None:
    fill(store, count)
    store.requests.clear()
    assert listed(server) == count + 1
    # What a server tries when it starts (app.storage.s3.conditions) is none of it.
    asked = [request.operation for request in store.requests if ".zotshelf" not in request.key]
    assert set(asked) == {"GET list-type"}
    assert len(asked) <= most


def test_a_listing_of_twenty_thousand_takes_little_memory(store: StandIn, server: Server) -> None:
    fill(store, 20_000)
    before = peak(server.pid)
    assert listed(server) == 20_001
    after = peak(server.pid)
    assert after < 80
    assert after - before < 10


def test_a_client_that_reads_slowly_makes_the_server_hold_no_more(store: StandIn, server: Server) -> None:
    fill(store, 40_000)
    before = peak(server.pid)
    with ExitStack() as stack:
        # All properties, so that what the system takes off the server's hands is far from the whole.
        connection = ask(server, stack, b"")
        connection.recv(1)
        deadline = time.monotonic() + 20
        asked = -1
        # Until the server has stopped asking for more.
        while asked != (asked := len(store.requests)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert asked < 40
    assert peak(server.pid) - before < 15


def test_the_first_members_leave_before_the_second_page_has_come(store: StandIn, server: Server) -> None:
    fill(store, 3000)
    released = threading.Event()
    store.requests.clear()
    store.fail(Held("GET", query="continuation-token", so=released.is_set))
    with ExitStack() as stack:
        connection = ask(server, stack)
        received = b""
        while received.count(b"<D:response>") < 1001:
            received += (piece := connection.recv(65536))
            assert piece, "the answer broke off"
        assert store.operations() == ["GET list-type"] * 2
        released.set()
        while piece := connection.recv(65536):
            received += piece
            if received.endswith(b"0\r\n\r\n"):
                break
    assert received.count(b"<D:response>") == 3001


@pytest.mark.parametrize("page", [2, 3, 7])
def test_a_listing_that_breaks_midway_never_looks_complete(store: StandIn, server: Server, page: int) -> None:
    fill(store, 9000)
    store.fail(Refuse("GET", query="list-type", status=403, code="AccessDenied", skip=page - 1))
    with ExitStack() as stack, pytest.raises(IncompleteRead) as caught:
        read_answer(ask(server, stack), "PROPFIND")
    assert b"</D:multistatus>" not in caught.value.partial


def test_an_idle_connection_takes_a_few_kilobytes(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < CONNECTIONS + 200:
        pytest.skip("too few files may be open")
    before_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        with serving(FolderStore(tmp_path / "files"), tmp_path) as server, ExitStack() as stack:
            open_idle(server, stack)
            before = resident(server.pid)
            for _ in range(CONNECTIONS):
                open_idle(server, stack)
            assert (resident(server.pid) - before) / CONNECTIONS < 15_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before_limit)


def open_idle(server: Server, stack: ExitStack) -> None:
    """Have one request answered on a connection, and leave it alone."""
    connection = stack.enter_context(connect(server))
    connection.sendall(head("GET", "/missing.prop", f"Authorization: {basic('u0')}"))
    assert read_answer(connection, "GET").status == 404
