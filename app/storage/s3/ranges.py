"""Listing a large collection in several ranges of keys at once.

A page of a listing names the next, so pages come one after the other, each a way to S3 and back. But a
listing can also begin after any key one chooses: once two pages have shown what the names look like,
the rest is split where it seems to have equal parts, and the parts are listed at the same time. A
wrong guess costs a request, never a member.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from math import ceil
from typing import Final

from app.path import DavPath
from app.storage.base import StorageError
from app.storage.s3.listing import Page, check_goes_on, last_name, read_page
from app.storage.s3.sender import Sender

MOST_EXTRA: Final = 8
"""So many requests more than there are pages a listing of more than two thousand may take."""

_FULL: Final = 1000
_COMFORT: Final = 900
"""Members of a range that should come in one page, though it may have more than was estimated."""
_DIGITS: Final = 3
_WAITING_PAGES: Final = 8


async def pages_in_ranges(
    sender: Sender, path: DavPath, prefix: str, first: Page
) -> AsyncGenerator[Page, None]:
    """Yield all pages of the direct members, `first` and then the others in any order.

    Takes one request a thousand members, up to two thousand; beyond that at most MOST_EXTRA more.
    """
    if not first.token:
        yield first
        return
    # A marker is a key, too, but no member: in the worst case it costs a request.
    most = MOST_EXTRA if first.keys and first.keys[0].key == prefix else MOST_EXTRA + 1
    likely = len(split(prefix, _names(first), [], most))
    underway = asyncio.create_task(
        read_page(sender, path, prefix, delimiter=True, token=first.token, soon=likely)
    )
    try:
        await _begun()
        yield first
        second = await underway
    finally:
        underway.cancel()
        await asyncio.gather(underway, return_exceptions=True)
    if not second.token:
        yield second
        return
    bounds = split(prefix, _names(first), _names(second), most)
    async with aclosing(_merged(sender, path, prefix, second, bounds)) as merged:
        async for page in merged:
            yield page


async def _begun() -> None:
    """Let tasks just made send their requests, before whoever reads the pages keeps the processor busy."""
    await asyncio.sleep(0)


def split(prefix: str, first: list[str], second: list[str], most: int) -> list[str]:
    """Return keys, in order, that seem to part the names after `second` into at most `most` good ranges.

    However the names go on, n more of them in r ranges take at most r - 1 requests more than there are
    pages: a range takes one for each full page and one more, and the last one only what it needs.
    """
    names = [name[len(prefix) :] for name in (*first, *second) if name != prefix]
    spread = _Spread(names)
    if not spread.letters:
        return []
    seen = spread.share(max(names))
    left = len(names) * (1 - seen) / max(seen - spread.share(min(names)), 1 / len(names))
    count = min(most, max(1, round(left / _COMFORT)))
    # The first range has a connection; the others must make one, and are a page behind.
    rounds = max(1, ceil((left / _FULL - 1) / count))
    head_start = 1 / rounds
    step = (1 - seen) / (count + head_start)
    shares = (seen + step * (number + head_start) for number in range(1, count))
    return sorted({prefix + name for name in map(spread.name, shares) if name > max(names)})


class _Spread:
    """How names seem to be spread between the first possible one and the last.

    After what all of `names` begin with, they are read like numbers whose digits are the letters in use.
    """

    def __init__(self, names: list[str]) -> None:
        low, high = min(names, default=""), max(names, default="")
        common = next(
            (at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low)
        )
        self._beginning = low[:common]
        # What comes before a dot tells how names are made up; endings would only dilute that.
        self.letters = sorted(set("".join(name[common:].partition(".")[0] for name in names)))

    def share(self, name: str) -> float:
        """Return how much of all names seems to come before `name`: 0 to 1."""
        digits = name[len(self._beginning) :][:_DIGITS]
        share, unit = 0.0, 1.0
        for digit in digits:
            unit /= len(self.letters)
            share += bisect_left(self.letters, digit) * unit
        return share

    def name(self, share: float) -> str:
        """Return a name that seems to have so many of all before it."""
        rest, digits = share, ""
        for _ in range(_DIGITS):
            rank, rest = divmod(rest * len(self.letters), 1)
            digits += self.letters[int(rank)]
        return self._beginning + digits


async def _merged(
    sender: Sender, path: DavPath, prefix: str, second: Page, bounds: list[str]
) -> AsyncGenerator[Page, None]:
    """Yield `second`, and all pages after it, in the ranges that the keys in `bounds` part."""
    ready: asyncio.Queue[Page | Exception | None] = asyncio.Queue(_WAITING_PAGES)

    async def list_range(token: str, after: str, until: str) -> None:
        try:
            async for page in _range(sender, path, prefix, token, after, until):
                await ready.put(page)
            await ready.put(None)
        except StorageError as error:
            await ready.put(error)

    starts = [(second.token, ""), *(("", bound) for bound in bounds)]
    ranges = [
        asyncio.create_task(list_range(*start, until))
        for start, until in zip(starts, [*bounds, ""], strict=True)
    ]
    try:
        await _begun()
        yield second
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
    last = Page([], [], "")
    while True:
        page = await read_page(sender, path, prefix, delimiter=True, token=token, after=after)
        check_goes_on(path, last, page)
        last = page
        if until and last_name(page) > until:
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
