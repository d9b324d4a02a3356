"""How much there is below a path: resources, and the bytes in them."""

from __future__ import annotations

from contextlib import aclosing
from typing import NamedTuple, Protocol, runtime_checkable

from app.path import DavPath
from app.storage.base import NotACollection, NotFound, Storage


class Weight(NamedTuple):
    resources: int
    """Files, and collections as far as the storage knows of them by themselves."""
    size: int
    """Bytes of the files' contents."""


NOTHING = Weight(0, 0)


@runtime_checkable
class Weighing(Protocol):
    """What a storage can do that finds out faster than by listing collection after collection."""

    async def weigh(self, path: DavPath) -> Weight:
        """Return the weight of all below a collection, its own not counted. Raises StorageError."""
        ...


async def weigh(storage: Storage, path: DavPath) -> Weight:
    """Return the weight of a file, or of a collection with all below it; of nothing, NOTHING.

    The server's own records are not in it. What changes meanwhile may be in it or not.
    """
    try:
        entry = await storage.stat(path)
        if not entry.is_collection:
            return Weight(1, entry.size)
        own = 0 if path.is_root else 1
        if isinstance(storage, Weighing):
            found = await storage.weigh(entry.path)
        else:
            found = await _walked(storage, entry.path)
    except NotFound:
        return NOTHING
    return Weight(found.resources + own, found.size)


async def _walked(storage: Storage, top: DavPath) -> Weight:
    count = size = 0
    waiting = [top]
    while waiting:
        try:
            listing = await storage.list(waiting.pop())
        except (NotFound, NotACollection):  # gone meanwhile
            continue
        async with aclosing(listing.pages) as pages:
            async for page in pages:
                count += len(page)
                size += sum(entry.size for entry in page)
                waiting += [entry.path for entry in page if entry.is_collection]
    return Weight(count, size)
