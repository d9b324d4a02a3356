"""Who a client is said to be, with and without proxies before us."""

from __future__ import annotations

import ipaddress

import pytest

from app.client_address import ClientAddresses, network_of

PROXIES = [ipaddress.ip_network(each) for each in ("::1", "127.0.0.0/8", "2001:db8:1::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("2001:db8::7", [], "2001:db8::7", id="direct"),
        pytest.param("2001:db8::7", [b"192.0.2.1"], "2001:db8::7", id="a-stranger-names-another"),
        pytest.param("::ffff:192.0.2.9", [], "192.0.2.9", id="mapped"),
        pytest.param("fe80::1%eth0", [], "fe80::1", id="zone"),
        pytest.param("::1", [], "::1", id="local"),
        pytest.param("::1", [b"2001:db8::7"], "2001:db8::7", id="through-a-proxy"),
        pytest.param("::ffff:127.0.0.1", [b"192.0.2.1"], "192.0.2.1", id="through-a-mapped-proxy"),
        pytest.param("::1", [b"10.0.0.1, 192.0.2.1"], "192.0.2.1", id="what-the-client-made-up"),
        pytest.param("::1", [b"10.0.0.1", b"192.0.2.1"], "192.0.2.1", id="two-headers"),
        pytest.param("::1", [b"192.0.2.1, 2001:db8:1::5"], "192.0.2.1", id="two-proxies"),
        pytest.param("::1", [b"[2001:db8::7]:4711"], "2001:db8::7", id="brackets-and-port"),
        pytest.param("::1", [b"192.0.2.1:4711"], "192.0.2.1", id="port"),
        pytest.param("::1", [b"unknown"], "::1", id="no-address"),
        pytest.param("::1", [b"x," * 30000 + b"192.0.2.1"], "192.0.2.1", id="endless"),
        pytest.param("::1", [b"2001:db8::7" + b", ::1" * 203], "::1", id="more-proxies-than-there-can-be"),
        pytest.param("::1", [b"192.0.2.1, unknown"], "::1", id="nothing-behind-what-cannot-be-read"),
        pytest.param("::1", [b""], "::1", id="empty"),
        pytest.param("", [], "local", id="unix-socket"),
        pytest.param("", [b"2001:db8::7"], "2001:db8::7", id="unix-socket-behind-a-proxy"),
        pytest.param("", [b"10.0.0.1, 2001:db8::7"], "2001:db8::7", id="unix-socket-and-what-is-made-up"),
    ],
)
def test_the_clients_address(peer: str, forwarded: list[bytes], client: str) -> None:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value) for value in forwarded)]
    scope = {"client": (peer, 1) if peer else None, "headers": headers}
    assert ClientAddresses(PROXIES).of(scope) == client


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::1", "::1", True),
        ("local", "local", True),
    ],
)
def test_an_ipv6_host_is_its_whole_64(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same
