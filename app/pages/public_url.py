"""The address under which the client has reached us."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from starlette.types import Scope

from app.headers import BadHeader, Headers
from app.path import DavPath

_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")


class PublicUrl(NamedTuple):
    """What a user types into Zotero, in the two parts that it asks for."""

    scheme: str
    rest: str
    """Host, port and base path, without `zotero/`, which every client appends."""


def public_url(scope: Scope, base: str, *, proxied: bool) -> PublicUrl | None:
    """Return the address of the WebDAV root, None where the request does not name its host.

    `proxied` says that the request came through a proxy whose X-Forwarded-* headers are believed.
    """
    headers = Headers(scope["headers"])
    try:
        host = headers.single(b"host") or ""
    except BadHeader:
        return None
    scheme = scope.get("scheme", "http")
    if proxied:
        host = _first(headers, b"x-forwarded-host") or host
        scheme = _first(headers, b"x-forwarded-proto").lower() or scheme
    if not _AUTHORITY.fullmatch(host) or scheme not in ("http", "https"):
        return None
    path = DavPath.parse(base.encode()).href()
    return PublicUrl(scheme, f"{host}{path}" if path != "/" else host)


def _first(headers: Headers, name: bytes) -> str:
    """Return what the proxy that stands before all others has said."""
    return (headers.listed(name) or "").partition(",")[0].strip()
