"""The page a browser gets for a collection."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from functools import cache
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

from app.answer import NO_SNIFFING, Answer
from app.path import quote_name
from app.request import DavRequest
from app.storage.base import Entry, Listing

if TYPE_CHECKING:
    from jinja2 import Template

MOST_SORTED: Final = 20_000
"""So many members are held and sorted; those of a larger collection come in sorted runs of as many."""

_POLICY: Final = (
    b"default-src 'none'; style-src 'unsafe-inline'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STEPS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


@cache
def _template() -> Template:
    # Imported late: Zotero never asks for a page, and most servers need none of the memory.
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("app"), autoescape=True, enable_async=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(size=_size, date=_date, href=quote_name)
    return environment.get_template("listing.html")


async def listing_answer(request: DavRequest) -> Answer:
    """Return a collection as a page of HTML, its collections first. Raises NotFound."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(request.pages.one_of(request.user))
        listing = await request.storage.list(request.path)
        return _page(request, listing, stack.pop_all().aclose)


def _page(request: DavRequest, listing: Listing, close: Callable[[], Awaitable[None]]) -> Answer:
    # Relative links, so that they hold behind any proxy; without a trailing slash the browser takes
    # the collection's own name for the document.
    own = "" if request.written.endswith("/") else f"./{quote_name(request.path.name)}/"
    stream = _template().generate_async(
        title="/" + "/".join(request.path.segments),
        own=own,
        is_root=request.path.is_root,
        members=_members(listing),
    )
    return Answer(
        200,
        [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", _POLICY),
            NO_SNIFFING,
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"referrer-policy", b"no-referrer"),
        ],
        stream=_gathered(stream),
        close=close,
    )


async def _members(listing: Listing) -> AsyncIterator[Entry]:
    held: list[Entry] = []
    async with aclosing(listing.pages) as pages:
        async for page in pages:
            held += page
            if len(held) >= MOST_SORTED:
                for entry in sorted(held, key=_rank):
                    yield entry
                held.clear()
    for entry in sorted(held, key=_rank):
        yield entry


def _rank(entry: Entry) -> tuple[bool, str, str]:
    """Return what members are sorted by: collections first, then as people look names up."""
    name = entry.path.name
    letters = unicodedata.normalize("NFKD", name)
    plain = letters if letters.isascii() else "".join(filterfalse(unicodedata.combining, letters))
    return not entry.is_collection, plain.casefold(), name


async def _gathered(pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
    waiting: list[str] = []
    async for piece in pieces:
        waiting.append(piece)
        if len(waiting) >= 1000:
            yield "".join(waiting).encode()
            waiting.clear()
    yield "".join(waiting).encode()


def _size(count: int) -> str:
    amount, step = float(count), 0
    while amount >= 1024 and step < len(_STEPS) - 1:
        amount, step = amount / 1024, step + 1
    if step == 0:
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{amount:.1f} {_STEPS[step]}"


def _date(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
