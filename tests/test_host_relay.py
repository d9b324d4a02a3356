"""Clients that come by a relay, and how many connections a client may have: by the address it really has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host_front import Front, SecureConnection, fronted
from tests.wire import basic

_NUMBERS = itertools.count()


def _relayed(front: Front, client: str) -> SecureConnection:
    """Return a connection as a relay opens it for `client`."""
    ends = f"TCP6 {client} 2001:db8::80" if ":" in client else f"TCP4 {client} 192.0.2.80"
    return front.connection("relay_https_port", f"PROXY {ends} 50000 443\r\n".encode())


def _get(front: Front, client: str, target: str = "/missing") -> int:
    connection = _relayed(front, client)
    connection.request("GET", target, headers={"Authorization": basic("u0"), "Host": "dav.example.org"})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front that takes ::1 for its relay, and whose clients may have two connections each."""
    arguments = ("--relay", "::1", "--connections-per-client", "2", "--base-path", "/")
    with fronted(tmp_path_factory.mktemp("relayed"), *arguments) as found:
        yield found


def test_a_relay_hands_the_address_of_its_client_on(relayed: Front) -> None:
    assert _get(relayed, "2001:db8:7::1", "/who-asks") == 404
    assert relayed.client("GET /who-asks") == "2001:db8:7::1"


def test_who_is_no_relay_is_not_believed(tmp_path: Path) -> None:
    with fronted(tmp_path, "--relay", "2001:db8::7") as front:
        assert _get(front, "2001:db8:7::1") == 404
        assert front.client("GET /missing") == "::1"


def test_a_destination_is_known_through_a_relay(relayed: Front) -> None:
    connection = _relayed(relayed, "2001:db8:7::1")
    headers = {"Authorization": basic("u0"), "Host": "dav.example.org"}
    connection.request("PUT", "/relayed.zip", b"x", headers)
    assert connection.getresponse().status == 201
    connection.close()
    connection = _relayed(relayed, "2001:db8:7::1")
    destination = {"Destination": "https://dav.example.org/moved.zip"}
    connection.request("MOVE", "/relayed.zip", headers=headers | destination)
    assert connection.getresponse().status == 201
    connection.close()


@contextmanager
def _busy(front: Front, client: str) -> Iterator[None]:
    """Have a request of `client` under way."""
    connection = _relayed(front, client)
    connection.putrequest("PUT", f"/busy-{next(_NUMBERS)}")
    connection.putheader("Authorization", basic("u2"))
    connection.putheader("Content-Length", "2000000")
    connection.endheaders()
    before = front.stored_bytes("u2")
    try:
        connection.send(bytes(2**20))
        front.wait_for_bytes("u2", before)
        yield
    finally:
        connection.close()
    front.wait_for_end("u2", before)


def test_all_addresses_of_one_network_are_one_client(relayed: Front) -> None:
    with _busy(relayed, "2001:db8:1:2::1"), _busy(relayed, "2001:db8:1:2:ffff::a0a:a0a"):
        assert _get(relayed, "2001:db8:1:2:1:1:1:1") == 503
        assert _get(relayed, "2001:db8:1:3::1") == 404
        # Bytes that are control characters or ends of lines count like any other.
        assert _get(relayed, "a0a:a0a::1") == 404
    with _busy(relayed, "2001:a0a:d0a:0::1"), _busy(relayed, "2001:a0a:d0a:0:a00::1"):
        assert _get(relayed, "2001:a0a:d0a::7") == 503
        assert _get(relayed, "2001:a0a:d0a:a::7") == 404


def test_an_ipv4_address_is_a_client_of_its_own(relayed: Front) -> None:
    with _busy(relayed, "192.0.2.1"), _busy(relayed, "192.0.2.1"):
        assert _get(relayed, "192.0.2.1") == 503
        assert _get(relayed, "192.0.2.2") == 404
