"""What the text of a setting may be: each check raises ValueError, whose text says what is expected."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, ByteSize

from app.metrics.address import parse_metrics_address
from app.place import parse_place

_SIZE: Final = re.compile(r"\d+(\.\d+)?\s*([kmgt]i?)?b|\d+", re.IGNORECASE | re.ASCII)
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]+")  # RFC 3986 section 2.3
_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def checked_storage(text: str) -> str:
    parse_place(text)
    return text


def checked_metrics(text: str) -> str:
    parse_metrics_address(text)
    return text


def checked_base_path(path: str) -> str:
    segments = path.strip("/").split("/") if path.strip("/") else []
    if (
        not path.startswith("/")
        or path.startswith("//")
        or not all(map(_UNRESERVED.fullmatch, segments))
        or not {"-", ".", ".."}.isdisjoint(segments)
    ):
        raise ValueError(
            "must begin with '/' and have segments of letters, digits, '.', '_', '~' and '-'"
            " that are neither '-', '.' nor '..'"
        )
    return "/" + "/".join(segments)


def checked_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        labels = host.removesuffix(".").split(".")
    # A last label of digits only belongs to a mistyped IPv4 address.
    if len(host) > 253 or not all(map(_HOST_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise ValueError("must be an IPv6 or IPv4 address or a host name; '::' means every address")
    return host


def checked_file(path: Path) -> Path:
    if path == Path() or "\0" in str(path):
        raise ValueError("must be the path of a file")
    return path


def networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(part.strip().strip("[]")) for part in text.split(",") if part.strip()]


def checked_networks(text: str) -> str:
    try:
        networks(text)
    except ValueError:
        raise ValueError("must be addresses or networks such as ::1, 2001:db8::/48") from None
    return text


def checked_size(value: object) -> object:
    # ByteSize would take the beginning of '8,5MiB' for 8 bytes.
    if isinstance(value, str) and not _SIZE.fullmatch(value.strip()):
        raise ValueError("must be a size in bytes, such as 8388608 or 8MiB")
    return value


Size: TypeAlias = Annotated[ByteSize, BeforeValidator(checked_size)]
