"""The headers that keep a page to itself, and what users have stored from acting in the server's origin."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from app.answer import NO_SNIFFING, RawHeaders
from app.protection import ATTR_CHARS, OWN_PAGES_ONLY, PDF, is_shown
from app.storage.base import content_type

_ALWAYS: Final[RawHeaders] = [
    NO_SNIFFING,
    OWN_PAGES_ONLY,
    (b"referrer-policy", b"no-referrer"),
]
_NOT_KEPT: Final = (b"cache-control", b"no-store")

_OF_PAGES: Final = (
    b"content-security-policy",
    (
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)
# Without `allow-same-origin` the origin is one that nobody has, and without `allow-scripts` nothing runs. The
# sources are for the page that a browser makes around a picture or a film.
_SANDBOX: Final = (
    b"content-security-policy",
    (
        b"sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
        b"frame-ancestors 'none'"
    ),
)
# Browsers show no PDF in a sandbox; what a PDF may do is for their viewers to say.
_OF_PDF: Final = (
    b"content-security-policy",
    (
        b"default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
)


def page_headers() -> RawHeaders:
    """Return the headers of a page of HTML."""
    return [
        (b"content-type", b"text/html; charset=utf-8"),
        _OF_PAGES,
        (b"cross-origin-opener-policy", b"same-origin"),
        _NOT_KEPT,
        *_ALWAYS,
    ]


def static_headers(name: str) -> RawHeaders:
    """Return the headers of a part of the pages that stays the same; its address changes with its content."""
    return [
        (b"content-type", content_type(name).encode() + b"; charset=utf-8"),
        _OF_PAGES,
        (b"cache-control", b"private, max-age=604800"),
        *_ALWAYS,
    ]


def stored_headers(name: str, size: int) -> RawHeaders:
    """Return the headers of a file of that name out of a zip, `size` bytes long."""
    kind = content_type(name)
    disposition = (
        f"{'inline' if is_shown(kind) else 'attachment'}; filename*=UTF-8''{quote(name, safe=ATTR_CHARS)}"
    )
    return [
        (b"content-type", kind.encode() + (b"; charset=utf-8" if kind == "text/plain" else b"")),
        (b"content-length", b"%d" % size),
        (b"content-disposition", disposition.encode()),
        # It is unpacked while it is sent, so no part of it can be had by itself.
        (b"accept-ranges", b"none"),
        _OF_PDF if kind == PDF else _SANDBOX,
        _NOT_KEPT,
        *_ALWAYS,
    ]
