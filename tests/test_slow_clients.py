"""Hundreds of slow writers and readers: what they cost, and that another client hardly notices."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scripts.slow.clients import Crowd, SlowClients
from tests.processes import peak, reset_peak
from tests.s3_opened import hollow_store
from tests.servers import Server, serving
from tests.stores import FolderStore
from tests.wire import basic, exchange, head

KIB = 1024
MIB = 1024 * KIB
EACH = 200
USERS = 4


@pytest.fixture(params=["folder", "s3"])
def slow_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        store = (
            FolderStore(tmp_path / "data")
            if request.param == "folder"
            else stack.enter_context(hollow_store(**{f"u{user}/big": MIB for user in range(USERS)}))
        )
        yield stack.enter_context(serving(store, tmp_path))


def crowd(server: Server) -> Crowd:
    def heads(method: str, path: str, *headers: str) -> list[bytes]:
        return [
            head(method, path.format(number), f"Authorization: {basic(f'u{number % USERS}')}", *headers)
            for number in range(EACH)
        ]

    writes = heads("PUT", "/slow-{}", f"Content-Length: {64 * KIB}")
    return Crowd(server.port, writes, 64 * KIB, heads("GET", "/big"), MIB)


def test_slow_clients_take_little_memory_and_all_end_well_beside_quick_ones(slow_server: Server) -> None:
    server = slow_server
    if server.store.name == "folder":
        for user in range(USERS):
            body = bytes(MIB)
            assert (
                exchange(server, "PUT", "/big", f"Authorization: {basic(f'u{user}')}", body=body).status
                == 201
            )
    signed = f"Authorization: {basic('u5')}"
    reset_peak(server.pid)
    before = peak(server.pid)
    clients = SlowClients(crowd(server))
    end = time.monotonic() + 4
    answers: Counter[int] = Counter()
    while time.monotonic() < end or answers[200] < 5:
        answers[exchange(server, "PUT", "/quick", signed, body=bytes(100 * KIB)).status] += 1
        answers[exchange(server, "GET", "/quick", signed).status] += 1
    assert clients.stop() == {"": 2 * EACH}
    # A block for each reader as quick ones have it would be 79 MB more.
    assert peak(server.pid) - before < 50
    assert set(answers) <= {200, 201, 204}
    assert answers[200] >= 5
    assert clients.finish() == {"201": EACH, "200": EACH}
