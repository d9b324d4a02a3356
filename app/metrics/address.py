"""Where a server tells how it goes, as ZOTSHELF_METRICS names it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

_FORM: Final = re.compile(r"(?:\[(?P<ipv6>[^][]+)\]|(?P<ipv4>[0-9.]+)):(?P<port>\d{1,5})", re.ASCII)
_DEMAND: Final = "must be an address and a port such as [::1]:9633"
MOST_PORT: Final = 65535


class MetricsAddress(NamedTuple):
    """The address, and the port of the first worker; 0 takes any free one."""

    address: ipaddress.IPv6Address | ipaddress.IPv4Address
    port: int

    def ports(self, workers: int) -> range:
        """Return the ports that so many workers share among them."""
        return range(self.port, self.port + (workers if self.port else 1))

    def at(self, port: int) -> str:
        """Return the address as it stands in a URL, with a port."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        # RFC 6874: the '%' before a zone is itself encoded.
        return f"{host.replace('%', '%25')}:{port}"


def parse_metrics_address(text: str) -> MetricsAddress:
    """Return what `[IPv6]:PORT` or `IPv4:PORT` names. Raises ValueError."""
    found = _FORM.fullmatch(text)
    if found is None or int(found["port"]) > MOST_PORT:
        raise ValueError(_DEMAND)
    try:
        address = (
            ipaddress.IPv6Address(found["ipv6"]) if found["ipv6"] else ipaddress.IPv4Address(found["ipv4"])
        )
    except ValueError:
        raise ValueError(_DEMAND) from None
    return MetricsAddress(address, int(found["port"]))
