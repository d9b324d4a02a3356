"""OPTIONS (RFC 9110 section 9.3.7, RFC 4918 section 10.1)."""

from __future__ import annotations

from functools import cache

from app.answer import Answer, RawHeaders
from app.storage.base import Abilities

BASE_METHODS = (
    "OPTIONS",
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
)
LOCKING_METHODS = ("LOCK", "UNLOCK")


@cache
def allowed(abilities: Abilities) -> tuple[str, ...]:
    """Return the methods that a root with these abilities serves."""
    return BASE_METHODS + (LOCKING_METHODS if abilities.records else ())


def dav_classes(abilities: Abilities) -> str:
    """Return the compliance classes (RFC 4918 section 18) that follow from a root's abilities."""
    return "1, 2, 3" if abilities.records else "1, 3"


def dav_headers(abilities: Abilities) -> RawHeaders:
    """Return what tells a client that it speaks to a WebDAV server, and to which kind."""
    return [
        (b"allow", ", ".join(allowed(abilities)).encode()),
        (b"dav", dav_classes(abilities).encode()),
        (b"ms-author-via", b"DAV"),
    ]


def options_answer(abilities: Abilities) -> Answer:
    """Say what is served here. Nothing is looked up: Zotero asks before anything exists."""
    return Answer(200, [*dav_headers(abilities), (b"content-length", b"0")])
