"""The page a browser gets for a collection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, Template

from app.answer import Answer
from app.path import quote_name
from app.request import DavRequest
from app.storage.base import Entry, Listing

_STEPS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("app"), autoescape=True, enable_async=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(size=_size, date=_date, href=quote_name)
    return environment.get_template("listing.html")


async def listing_answer(request: DavRequest) -> Answer:
    """Return a collection as a page of HTML, written as its members arrive. Raises NotFound."""
    listing = await request.storage.list(request.path)
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
            (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
            (b"x-content-type-options", b"nosniff"),
        ],
        stream=_gathered(stream),
    )


async def _members(listing: Listing) -> AsyncIterator[Entry]:
    async for page in listing.pages:
        for entry in page:
            yield entry


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
    return f"{count} bytes" if step == 0 else f"{amount:.1f} {_STEPS[step]}"


def _date(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
