"""What all answers with status 207 share (RFC 4918 section 13)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.answer import Answer, RawHeaders
from app.path import DavPath, quote_name
from app.request import DavRequest

_HEADERS: RawHeaders = [(b"content-type", b'application/xml; charset="utf-8"')]


def multistatus_answer(body: bytes) -> Answer:
    return Answer(207, [*_HEADERS, (b"content-length", b"%d" % len(body))], body)


def multistatus_stream(chunks: AsyncIterator[bytes]) -> Answer:
    return Answer(207, list(_HEADERS), stream=chunks)


def own_href(request: DavRequest, *, is_collection: bool) -> str:
    """Return the requested resource's href: the path as the client wrote it.

    Zotero compares it with what it sent; a collection's ends in a slash (RFC 4918 section 5.2).
    """
    written = request.written
    return f"{written}/" if is_collection and not written.endswith("/") else written


def href_of(request: DavRequest, path: DavPath) -> str:
    """Return the href of a resource; of those below the requested one it begins with the path as written."""
    if path == request.path:
        return request.written
    if not request.path.contains(path):
        return DavPath(request.base + path.segments, slash=path.slash).href()
    below = path.segments[len(request.path.segments) :]
    href = own_href(request, is_collection=True) + "/".join(map(quote_name, below))
    return f"{href}/" if path.slash else href
