"""How much of a refused body is thrown away, and for how long, has limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Server, serving
from tests.stores import FolderStore
from tests.wire import connect, head, read_answer

LARGE = 200 * 2**20


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that throws away little, and not for long."""
    folder = tmp_path_factory.mktemp("limited")
    store = FolderStore(folder / "data")
    with serving(store, folder, discard_size="1MiB", discard_seconds="0.5") as server:
        yield server


def test_beyond_the_limit_in_bytes_the_connection_is_cut(limited: Server) -> None:
    with connect(limited) as connection:
        connection.sendall(head("PUT", "/bytes.zip", f"Content-Length: {LARGE}"))
        with pytest.raises(ConnectionError):
            connection.sendall(bytes(LARGE))
    line = limited.wait_for_line("/bytes.zip")
    assert " 401 " in line
    assert "cut: the refused body is larger than ZOTSHELF_DISCARD_SIZE" in line


def test_beyond_the_limit_in_seconds_the_connection_is_cut(limited: Server) -> None:
    with connect(limited) as connection:
        connection.sendall(head("PUT", "/seconds.zip", "Content-Length: 1000") + b"only this")
        # The answer came at once, for those who read while they write; then the connection ends.
        text = b""
        while piece := connection.recv(65536):
            text += piece
    assert text.startswith(b"HTTP/1.1 401 ")
    assert "longer than ZOTSHELF_DISCARD_SECONDS" in limited.wait_for_line("/seconds.zip")


def test_a_body_within_the_limits_keeps_its_connection(limited: Server) -> None:
    with connect(limited) as connection:
        for _ in range(3):
            connection.sendall(head("PUT", "/within.zip", "Content-Length: 500000") + bytes(500_000))
            assert read_answer(connection, "PUT").status == 401
