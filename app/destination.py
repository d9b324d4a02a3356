"""URLs that a client writes into headers: Destination, and the tags of If (RFC 4918 section 10.3)."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final
from urllib.parse import urlsplit

from app.errors import BadDestination
from app.headers import BadHeader, Headers
from app.path import SERVER_NAME, BadPath, DavPath

_MAX_NAMES: Final = 16
_PORTS: Final = {"http": "80", "https": "443"}


def destination(headers: Headers, base: tuple[str, ...]) -> DavPath:
    """Return the path that the Destination header names, below the base path.

    Raises BadHeader, BadPath, and BadDestination for another server or what lies outside of the base.
    """
    value = headers.single(b"destination")
    if not value:
        raise BadHeader("destination is missing")
    found = local_path(value, headers, base)
    if found is None:
        raise BadDestination
    return found


def local_path(url: str, headers: Headers, base: tuple[str, ...]) -> DavPath | None:
    """Return the path of an absolute URL or path, None if it is not one of ours.

    Raises BadHeader, BadPath.
    """
    if "\t" in url:  # urlsplit would leave it out
        raise BadHeader("a URL in a header has a tab")
    try:
        parts = urlsplit(url)
        if parts.fragment or parts.query or parts.username is not None:
            raise BadHeader("a URL in a header has a query, a fragment or credentials")
        raw = parts.path.encode("latin-1")
        netloc = parts.netloc
    except ValueError:
        raise BadHeader("a URL in a header cannot be read") from None
    if parts.scheme or netloc:
        if not netloc or (parts.scheme and parts.scheme not in _PORTS):
            return None
        # What stands before us may have ended TLS, so the scheme is the client's word against ours.
        if not _same_server(netloc, parts.scheme or "http", headers):
            return None
    elif not raw.startswith(b"/"):
        raise BadHeader("a URL in a header is neither absolute nor a path")
    whole = DavPath.parse(raw)
    depth = len(base)
    if whole.segments[:depth] != base:
        return None
    path = DavPath(whole.segments[depth:], slash=whole.slash)
    if path.is_reserved or (not depth and whole.segments[:1] == (SERVER_NAME,)):
        raise BadPath("the path is reserved for the server")
    return path


def _same_server(netloc: str, scheme: str, headers: Headers) -> bool:
    wanted = _authority(netloc, scheme)
    # Each proxy on the way may have added the name it was called by.
    forwarded = (headers.listed(b"x-forwarded-host") or "").split(",")
    if len(forwarded) > _MAX_NAMES:  # each is compared with each URL of an If header
        raise BadHeader("x-forwarded-host has too many names")
    names = [headers.single(b"host") or "", *forwarded]
    return any(name.strip() and _authority(name, scheme) == wanted for name in names)


def _authority(text: str, scheme: str) -> tuple[str, str]:
    text = text.strip().lower()
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):  # no port, or the end of an IPv6 address
        host, port = text, ""
    return _one_spelling(host), port or _PORTS[scheme]


def _one_spelling(host: str) -> str:
    try:
        return IPv6Address(host.strip("[]")).compressed
    except ValueError:
        return host.rstrip(".")
