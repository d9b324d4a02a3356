"""Listing a large collection in several ranges of keys at once.

A page of a listing names the next, so pages come one after the other, each a way to S3 and back. But a
listing can also begin after any key one chooses: once two pages have shown what the names look like,
the rest is split where it seems to have equal parts, and the parts are listed at the same time. A
wrong guess costs a request, never a member.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from app.path import DavPath
from app.storage.base import StorageError
from app.storage.s3.listing import Page, read_page
from app.storage.s3.sender import Sender

MOST_RANGES: Final = 8
_WAITING_PAGES: Final = 2


async def pages_in_ranges(
    sender: Sender, path: DavPath, prefix: str, first: Page
) -> AsyncGenerator[Page, None]:
    """Yield all pages of the direct members, `first` and then the others in any order.

    Takes one request a thousand members, up to two thousand; beyond that at most MOST_RANGES more.
    """
    if not first.token:
        yield first
        return
    # Under way while the first is looked at.
    underway = asyncio.create_task(read_page(sender, path, prefix, delimiter=True, token=first.token))
    try:
        yield first
        second = await underway
    finally:
        underway.cancel()
        await asyncio.gather(underway, return_exceptions=True)
    yield second
    if not second.token:
        return
    bounds = split(prefix, _names(first), _names(second))
    async with aclosing(_merged(sender, path, prefix, second.token, bounds)) as merged:
        async for page in merged:
            yield page


def split(prefix: str, first: list[str], second: list[str]) -> list[str]:
    """Return keys, in order, that seem to part the names after `second` into equal ranges."""
    names = [name[len(prefix) :] for name in (*first, *second) if name != prefix]
    first_name, last = min(names), max(names)
    shared = min(len(first_name), len(last))
    place = next((at for at in range(shared) if first_name[at] != last[at]), shared)
    # What comes before a dot tells how names are made up; endings would only dilute that.
    letters = sorted(set("".join(name[place:].partition(".")[0] for name in names)))
    seen = [letter for letter in letters if letter <= last[place : place + 1]]
    coming = [letter for letter in letters if letter > last[place : place + 1]]
    pages = 2 * len(coming) / max(len(seen), 1)
    count = min(MOST_RANGES, len(coming) + 1, max(1, round(pages)))
    step = (len(coming) + 1) / count
    return [prefix + last[:place] + coming[round(number * step) - 1] for number in range(1, count)]


async def _merged(
    sender: Sender, path: DavPath, prefix: str, token: str, bounds: list[str]
) -> AsyncGenerator[Page, None]:
    ready: asyncio.Queue[Page | Exception | None] = asyncio.Queue(_WAITING_PAGES)

    async def list_range(token: str, after: str, until: str) -> None:
        try:
            async for page in _range(sender, path, prefix, token, after, until):
                await ready.put(page)
            await ready.put(None)
        except StorageError as error:
            await ready.put(error)

    starts = [(token, ""), *(("", bound) for bound in bounds)]
    ranges = [
        asyncio.create_task(list_range(*start, until))
        for start, until in zip(starts, [*bounds, ""], strict=True)
    ]
    try:
        left = len(ranges)
        while left:
            found = await ready.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for listing in ranges:
            listing.cancel()
        await asyncio.gather(*ranges, return_exceptions=True)


async def _range(
    sender: Sender, path: DavPath, prefix: str, token: str, after: str, until: str
) -> AsyncIterator[Page]:
    """Yield the pages of the names after `after`, or from `token` on, up to and including `until`."""
    while True:
        page = await read_page(sender, path, prefix, delimiter=True, token=token, after=after)
        if until and max(_names(page), default="") > until:
            yield Page(
                [key for key in page.keys if key.key <= until],
                [name for name in page.prefixes if name <= until],
                "",
            )
            return
        yield page
        if not page.token:
            return
        token, after = page.token, ""


def _names(page: Page) -> list[str]:
    return [*(key.key for key in page.keys), *page.prefixes]
