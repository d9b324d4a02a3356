"""Types for what an operator types: each lets through only what can stand in any configuration file as it is.

No value may hold white space, quotes, semicolons, braces, `$`, `%`, `#`, backslashes, control characters or
anything beyond ASCII, so no template has to quote. Every check raises ValueError with what is expected.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

import idna
from pydantic import AfterValidator, BeforeValidator

from app.metrics.address import parse_metrics_address
from app.place import USER, FolderPlace, parse_place

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?!\d+$){_LABEL}")
_MAX_DOMAIN: Final = 253
_OTHER_DOTS: Final = frozenset("\u3002\uff0e\uff61")  # which IDNA takes for dots, too
_MAILBOX: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,62}[A-Za-z0-9_+-])?")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._+@-]{1,255}")
_PREFIX_SEGMENT: Final = re.compile(r"[A-Za-z0-9._+@=~-]+")
_URL_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~+-]*)*")
_ACCOUNT: Final = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}")
_VERSION: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})")
_DOTS: Final = frozenset({".", ".."})
_SEGMENT_WORDS: Final = "letters, digits, '.', '_', '+', '@' and '-'"


def checked_domain(text: str) -> str:
    """Return a domain name in lower case, other scripts as A-labels (RFC 5890), without a dot at its end."""
    refusal = "must be a domain name such as dav.example.org"
    if text.startswith("*."):
        raise ValueError(f"{refusal}; name every host, not '*'")
    if not _OTHER_DOTS.isdisjoint(text):
        raise ValueError(refusal)
    try:
        # Not by way of UTS 46, which would make ordinary letters and dots of their look-alikes.
        name = idna.encode(text.lower().removesuffix(".")).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise ValueError(refusal) from None
    if len(name) > _MAX_DOMAIN or not _DOMAIN.fullmatch(name):
        raise ValueError(refusal)
    return name


def checked_email(text: str) -> str:
    mailbox, _, domain = text.rpartition("@")
    if not _MAILBOX.fullmatch(mailbox) or ".." in mailbox:
        raise ValueError("must be an email address such as admin@example.org, of letters, digits and '._+-'")
    return f"{mailbox}@{checked_domain(domain)}"


def checked_path(text: str) -> str:
    """Return an absolute path without a slash at its end."""
    segments = text.removesuffix("/").split("/")
    if len(segments) < 2 or segments[0] or not all(map(_is_segment, segments[1:])) or len(text) > 1024:
        raise ValueError(f"must be an absolute path with segments of {_SEGMENT_WORDS}, none of them '..'")
    return "/".join(segments)


def _is_segment(text: str) -> bool:
    return bool(_SEGMENT.fullmatch(text)) and text not in _DOTS


def checked_socket(text: str) -> str:
    """Return the path of a socket that has a folder of its own below /run."""
    path = checked_path(text)
    if not path.startswith("/run/") or path.count("/") != 3:
        raise ValueError(
            "must be a path such as /run/zotshelf/zotshelf.sock, in a folder of its own below /run"
        )
    return path


def checked_storage(text: str) -> str:
    """Return a storage as ZOTSHELF_STORAGE names it, a folder with its absolute path."""
    place = parse_place(text)
    if isinstance(place, FolderPlace):
        # '{user}' may stand anywhere in a segment.
        checked_path(place.path.replace(USER, "user"))
        if USER in place.path.split("/", 2)[1]:
            raise ValueError("must name a folder whose first segment is without {user}")
        return "file:" + place.path.removesuffix("/")
    for segment in place.prefix.replace(USER, "user").split("/")[:-1]:
        if not _PREFIX_SEGMENT.fullmatch(segment):
            raise ValueError(
                "must have a prefix of letters, digits, '.', '_', '+', '@', '=', '~', '-' and '/'"
            )
    return f"s3://{place.bucket}/{place.prefix}".removesuffix("/")


def checked_address(text: str) -> str:
    """Return an IPv6 or IPv4 address in its one spelling."""
    try:
        found = ipaddress.ip_address(_unbracketed(text))
    except ValueError:
        raise ValueError("must be an IPv6 or IPv4 address") from None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        raise ValueError("must be an address without a zone")
    return str(found)


def checked_network(text: str) -> str:
    """Return an address or a network such as 2001:db8::/64 in its one spelling."""
    try:
        found = ipaddress.ip_network(_unbracketed(text))
    except ValueError:
        raise ValueError("must be an address, or a network such as 2001:db8::/64") from None
    if "%" in text or not found.prefixlen:
        raise ValueError("must be an address or a network without a zone, and not every address there is")
    return str(found.network_address) if found.num_addresses == 1 else str(found)


def checked_metrics(text: str) -> str:
    """Return an address and a port as ZOTSHELF_METRICS has them."""
    found = parse_metrics_address(text)
    if found.address.version == 6 and found.address.scope_id is not None:
        raise ValueError("must be an address without a zone")
    if not found.port:
        raise ValueError("must have a port that Prometheus can be told, not 0")
    return found.at(found.port)


def _unbracketed(text: str) -> str:
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def checked_url(text: str) -> str:
    """Return an https URL of a host, perhaps with a port and a path."""
    refusal = "must be a URL such as https://acme.example.org/directory"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(refusal) from None
    segments = parts.path.split("/")
    if parts.scheme != "https" or not _URL_PATH.fullmatch(parts.path) or not _DOTS.isdisjoint(segments):
        raise ValueError(refusal)
    try:
        host = bracketed(checked_address(host))
    except ValueError:
        host = checked_domain(host)
    rebuilt = f"https://{host}" + (f":{port}" if port is not None else "") + parts.path
    # Whatever was left out, as credentials, a query or a stray newline, is not silently dropped.
    if rebuilt.lower() != text.lower():
        raise ValueError(refusal)
    return rebuilt


def bracketed(address: str) -> str:
    """Return an address as it stands before a port."""
    return f"[{address}]" if ":" in address else address


def checked_account(text: str) -> str:
    if not _ACCOUNT.fullmatch(text) or text == "root":
        raise ValueError(
            "must be a system account's name of lower-case letters, digits, '_' and '-', not root"
        )
    return text


def checked_region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("must be an AWS region such as eu-central-1")
    return text


def checked_version(text: str) -> str:
    if not _VERSION.fullmatch(text):
        raise ValueError("must be a version such as 1.22.1")
    return text


def version_of(text: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared."""
    return tuple(map(int, text.split(".")))


def _listed(value: object) -> object:
    if isinstance(value, list):  # as TOML has it
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _once(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


Domain: TypeAlias = Annotated[str, AfterValidator(checked_domain)]
Email: TypeAlias = Annotated[str, AfterValidator(checked_email)]
AbsolutePath: TypeAlias = Annotated[str, AfterValidator(checked_path)]
RunSocket: TypeAlias = Annotated[str, AfterValidator(checked_socket)]
Storage: TypeAlias = Annotated[str, AfterValidator(checked_storage)]
Address: TypeAlias = Annotated[str, AfterValidator(checked_address)]
Network: TypeAlias = Annotated[str, AfterValidator(checked_network)]
MetricsAt: TypeAlias = Annotated[str, AfterValidator(checked_metrics)]
Url: TypeAlias = Annotated[str, AfterValidator(checked_url)]
Account: TypeAlias = Annotated[str, AfterValidator(checked_account)]
Region: TypeAlias = Annotated[str, AfterValidator(checked_region)]
Version: TypeAlias = Annotated[str, AfterValidator(checked_version)]
Domains: TypeAlias = Annotated[tuple[Domain, ...], BeforeValidator(_listed), AfterValidator(_once)]
Accounts: TypeAlias = Annotated[tuple[Account, ...], BeforeValidator(_listed), AfterValidator(_once)]
Addresses: TypeAlias = Annotated[tuple[Address, ...], BeforeValidator(_listed), AfterValidator(_once)]
Networks: TypeAlias = Annotated[tuple[Network, ...], BeforeValidator(_listed), AfterValidator(_once)]
