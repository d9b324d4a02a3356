"""PROPFIND (RFC 4918 section 9.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Final

from app.answer import Answer
from app.errors import InfiniteDepth
from app.headers import Depth, depth
from app.hrefs import own_href
from app.methods.multistatus import multistatus_answer, multistatus_stream
from app.path import quote_name
from app.props import Beside, asks_beside, asks_space, propstats
from app.request import DavRequest
from app.storage.base import Entry, Listing, NotACollection, Spacious
from app.xml import MULTISTATUS_CLOSE, MULTISTATUS_OPEN, parse_propfind, response

_TOGETHER: Final = 128
"""So many entries are sent at a time: what a slow client has not taken stays in memory."""

Properties = Callable[[Entry], str]


async def propfind(request: DavRequest) -> Answer:
    """Tell the properties of a resource and, with depth 1, of a collection's members."""
    wanted_depth = depth(request.headers) or Depth.INFINITY
    asked = parse_propfind(await request.small_body())
    beside = await _beside(request) if asks_beside(asked) else Beside()
    if asks_space(asked) and isinstance(request.storage, Spacious):
        beside = beside._replace(space=await request.storage.space())
    properties = propstats(asked, beside)
    if wanted_depth is not Depth.ZERO and not request.path.is_surely_file:
        if wanted_depth is Depth.INFINITY and not request.infinite_propfind:
            return await _refuse_collection(request, properties)
        with suppress(NotACollection):
            return await _list(request, properties, whole=wanted_depth is Depth.INFINITY)
    return _single(request, await request.storage.stat(request.path), properties)


async def _list(request: DavRequest, properties: Properties, *, whole: bool) -> Answer:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(request.listings.one_of(request.user))
        listing = await request.storage.list(request.path)
        return multistatus_stream(
            _tree(request, listing, properties, whole=whole), close=stack.pop_all().aclose
        )


async def _beside(request: DavRequest) -> Beside:
    return Beside(
        await request.properties.all(request.began),
        await request.locks.finder(request.began),
        request.base,
        may_lock=request.storage.abilities.records,
    )


async def _refuse_collection(request: DavRequest, properties: Properties) -> Answer:
    entry = await request.storage.stat(request.path)
    if entry.is_collection:
        raise InfiniteDepth
    return _single(request, entry, properties)


def _single(request: DavRequest, entry: Entry, properties: Properties) -> Answer:
    own = response(own_href(request, is_collection=entry.is_collection), properties(entry))
    return multistatus_answer((MULTISTATUS_OPEN + own + MULTISTATUS_CLOSE).encode())


async def _tree(
    request: DavRequest, listing: Listing, properties: Properties, *, whole: bool
) -> AsyncIterator[bytes]:
    base = own_href(request, is_collection=True)
    yield (MULTISTATUS_OPEN + response(base, properties(listing.entry))).encode()
    waiting = [(base, listing)]
    while waiting:
        href, listing = waiting.pop()
        async with aclosing(listing.pages) as pages:
            async for page in pages:
                members = [(_member_href(href, entry), entry) for entry in page]
                for start in range(0, len(members), _TOGETHER):
                    some = members[start : start + _TOGETHER]
                    yield "".join(response(name, properties(entry)) for name, entry in some).encode()
                if whole:
                    for name, entry in members:
                        if entry.is_collection:
                            waiting.append((name, await request.storage.list(entry.path)))
    yield MULTISTATUS_CLOSE.encode()


def _member_href(base: str, entry: Entry) -> str:
    return f"{base}{quote_name(entry.path.name)}{'/' if entry.is_collection else ''}"
