"""PROPFIND (RFC 4918 section 9.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from app.answer import Answer
from app.errors import InfiniteDepth
from app.headers import Depth, depth
from app.methods.multistatus import multistatus_answer, multistatus_stream, own_href
from app.path import quote_name
from app.props import propstats
from app.request import DavRequest
from app.storage.base import Entry, Listing, NotACollection
from app.xml import MULTISTATUS_CLOSE, MULTISTATUS_OPEN, parse_propfind, response


async def propfind(request: DavRequest) -> Answer:
    """Tell the properties of a resource and, with depth 1, of a collection's members."""
    wanted_depth = depth(request.headers) or Depth.INFINITY
    properties = propstats(parse_propfind(await request.small_body()))
    if wanted_depth is Depth.ONE and not request.path.is_surely_file:
        try:
            listing = await request.storage.list(request.path)
        except NotACollection:
            pass
        else:
            return multistatus_stream(_members(request, listing, properties))
    entry = await request.storage.stat(request.path)
    if wanted_depth is Depth.INFINITY and entry.is_collection:
        raise InfiniteDepth
    own = response(own_href(request, is_collection=entry.is_collection), properties(entry))
    return multistatus_answer((MULTISTATUS_OPEN + own + MULTISTATUS_CLOSE).encode())


async def _members(
    request: DavRequest, listing: Listing, properties: Callable[[Entry], str]
) -> AsyncIterator[bytes]:
    base = own_href(request, is_collection=True)
    yield (MULTISTATUS_OPEN + response(base, properties(listing.entry))).encode()
    async for page in listing.pages:
        parts = [
            response(
                f"{base}{quote_name(entry.path.name)}{'/' if entry.is_collection else ''}",
                properties(entry),
            )
            for entry in page
        ]
        if parts:
            yield "".join(parts).encode()
    yield MULTISTATUS_CLOSE.encode()
