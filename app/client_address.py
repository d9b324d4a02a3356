"""Whose request it is: the address of the client, told by a proxy only where that one is trusted."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache
from typing import Final, TypeAlias

from starlette.types import Scope

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REMEMBERED: Final = 1024
_FORWARDED_BYTES: Final = 1024
"""Of an X-Forwarded-For that is longer only the end is read, which the nearest proxies wrote."""
_LOCAL: Final = "local"
"""What a client is called that came over a unix socket and named no address."""


class ClientAddresses:
    """Reads addresses out of requests; `proxies` are those whose X-Forwarded-For is believed.

    Who comes over a unix socket is believed as well: only programs of this host can.
    """

    def __init__(self, proxies: Collection[Network]) -> None:
        self._proxies = tuple(proxies)
        self._of = lru_cache(_REMEMBERED)(self._find)

    def of(self, scope: Scope) -> str:
        """Return the client's address as `ipaddress` writes it, or `local`."""
        client = scope.get("client")
        forwarded = b",".join([value for name, value in scope["headers"] if name == b"x-forwarded-for"])
        if len(forwarded) > _FORWARDED_BYTES:
            forwarded = forwarded[-_FORWARDED_BYTES:].partition(b",")[2]
        return self._of(client[0] if client else "", forwarded)

    def is_proxied(self, scope: Scope) -> bool:
        """Tell whether the request comes from a proxy that is believed."""
        client = scope.get("client")
        peer = parse_address(client[0] if client else "")
        return peer is None or self._is_proxy(peer)

    def _find(self, peer: str, forwarded: bytes) -> str:
        """Go back from proxy to proxy as far as they are trusted; what comes before may be made up."""
        found = parse_address(peer)
        hops = forwarded.decode("latin-1").split(",") if forwarded else []
        while hops and (found is None or self._is_proxy(found)):
            before = parse_address(hops.pop().strip())
            if before is None:
                break
            found = before
        return _LOCAL if found is None else str(found)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def parse_address(text: str) -> Address | None:
    """Return an address, without brackets, port and zone; an IPv4 address inside an IPv6 one as itself."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@lru_cache(_REMEMBERED)
def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 that an IPv6 host gets as a whole."""
    found = parse_address(address)
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return address
