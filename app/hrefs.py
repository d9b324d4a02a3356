"""The hrefs of an answer: what Zotero compares with the path that it wrote."""

from __future__ import annotations

from app.path import DavPath, quote_name
from app.request import DavRequest


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
