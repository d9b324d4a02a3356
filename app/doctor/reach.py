"""Addresses and connections, one address family at a time."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final, NamedTuple

CONNECT_SECONDS: Final = 5.0
RESOLVE_SECONDS: Final = 10.0

FAMILIES: Final = {"IPv6": socket.AF_INET6, "IPv4": socket.AF_INET}


class Reached(NamedTuple):
    """How a connection went: the address, and why there was none."""

    address: str
    error: str


async def addresses(host: str, port: int, family: int) -> list[str]:
    """Return the addresses of a host in one family, none where it has none. Raises TimeoutError."""
    async with asyncio.timeout(RESOLVE_SECONDS):
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=family, type=socket.SOCK_STREAM
            )
        except socket.gaierror:
            return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def connected(address: str, port: int, family: int) -> Reached:
    """Try a TCP connection; `error` is empty where it came about."""
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(probe, (address, port))
        except TimeoutError:
            return Reached(address, f"no answer within {CONNECT_SECONDS:.0f} s")
        except OSError as error:
            return Reached(address, error.strerror or str(error))
    return Reached(address, "")


def bracketed(address: str) -> str:
    """Return an address as it stands in a URL; a name stays as it is."""
    try:
        return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    except ValueError:
        return address
