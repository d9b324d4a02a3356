"""X-Forwarded-For: only a trusted proxy's word counts, and what comes out is an address."""

from __future__ import annotations

import ipaddress
from random import Random

from app import client_address as module
from app.client_address import Address, ClientAddresses, network_of, parse_address
from scripts.fuzz.target import Target

_PROXIES = (ipaddress.ip_network("::1"), ipaddress.ip_network("10.0.0.0/8"))


def _of(peer: str, *lines: bytes) -> str:
    headers = [(b"x-forwarded-for", line) for line in lines]
    addresses = ClientAddresses(_PROXIES)
    scope = {"client": (peer, 1) if peer else None, "headers": headers}
    found = addresses.of(scope)
    # What an untrusted peer claims is never believed.
    known = parse_address(peer)
    assert addresses.is_proxied(scope) or known is None or found == str(known)
    return found


class Addresses(Target):
    name = "address"
    modules = (module,)
    seeds = (
        *(
            b"2001:db8::1",
            b"192.0.2.1",
            b"[2001:db8::1]:80",
            b"192.0.2.1:80",
            b"::ffff:192.0.2.1",
            b"fe80::1%eth0",
        ),
        *(
            b"1.2.3.4, 10.0.0.1",
            b"unknown",
            b"",
            b",",
            b"10.1.1.1\n10.2.2.2",
            b"[::1",
            b"1.2.3.4," * 300,
            b"1.2.3.04",
        ),
    )
    words = (b"::1", b"10.0.0.1", b", ", b"[", b"]", b"%", b"::ffff:", b":", b".")

    def check(self, data: bytes) -> None:
        lines = data.split(b"\n")
        assert _of("2001:db8::5", *lines) == "2001:db8::5", "a stranger's word for an address"
        for peer in ("::1", "10.0.0.9", ""):
            found = _of(peer, *lines)
            assert found == "local" or str(ipaddress.ip_address(found)) == found
            assert found != "local" or not peer
            network_of(found)
        parsed = parse_address(data.decode("latin-1"))
        if parsed is not None:
            assert parse_address(str(parsed)) == parsed
            assert parse_address(f"[{parsed}]:80") == parsed

    def check_model(self, random: Random) -> None:
        client = ipaddress.IPv6Address(random.getrandbits(127)) if random.random() < 0.5 else _four(random)
        if any(client in network for network in _PROXIES):
            return
        made_up = ["192.0.2.7", "unknown", "::1"][: random.randint(0, 3)]
        proxies = [f"10.0.0.{random.randint(0, 255)}" for _ in range(random.randint(0, 3))]
        line = ", ".join([*made_up, str(client), *proxies]).encode()
        assert _of("::1", line) == str(_plain(client)), "not the last that no proxy is"
        assert _of(str(client), line) == str(_plain(client))
        network = ipaddress.ip_network(network_of(str(_plain(client))))
        assert _plain(client) in network
        assert network.prefixlen == (64 if network.version == 6 else 32)


def _four(random: Random) -> Address:
    return ipaddress.IPv4Address(random.getrandbits(32))


def _plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address
