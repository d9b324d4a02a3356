"""A library in a folder or a bucket, as zotshelf keeps it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from app.byte_range import ByteRange
from app.library.names import parse_name
from app.path import DavPath
from app.storage.base import Body, Entry, Exists, NotACollection, NotFound, Opened, Storage, StorageError
from app.storage.base import Changed as StorageChanged
from app.transfer.base import Changed, Content, Listed, Stored, TransferError


class StoragePlace:
    """The collection of a storage; `folder` is where it lies on this machine, if it does."""

    def __init__(self, storage: Storage, collection: DavPath, folder: Path | None = None) -> None:
        self._storage = storage
        self._collection = collection
        self._folder = folder
        self._entries: dict[str, Entry] = {}

    async def find(self, seen: Callable[[int], object]) -> Listed:
        listed = Listed()
        try:
            listing = await self._storage.list(self._collection)
            async with aclosing(listing.pages) as pages:
                async for page in pages:
                    for entry in page:
                        self._add(listed, entry)
                    seen(len(page))
        except (NotFound, NotACollection):
            raise TransferError(f"there is no collection {self._collection.href()}") from None
        except StorageError as error:
            raise TransferError(f"{self._collection.href()} cannot be listed: {error}") from error
        return listed

    def _add(self, listed: Listed, entry: Entry) -> None:
        name = entry.path.name
        if entry.is_collection or name.startswith("."):
            return
        self._entries[name] = entry
        found = parse_name(name)
        stored = Stored(name, entry.size, entry.modified)
        listed.add(stored, found.key if found else name, is_prop=found is not None and found.part == "prop")

    @asynccontextmanager
    async def open(self, stored: Stored) -> AsyncIterator[Content]:
        entry = self._entries[stored.name]
        wanted = ByteRange(0, entry.size - 1) if entry.size else None
        with _told(stored.name):
            opened = await self._storage.open(entry.path, wanted, entry.etag)
        try:
            yield Content(_chunks(opened), opened.stop - opened.start, entry.modified)
        finally:
            await opened.aclose()

    async def prepare(self) -> None:
        segments = self._collection.segments
        for length in range(1, len(segments) + 1):
            path = DavPath(segments[:length], slash=True)
            with _told(path.href()), suppress(Exists):
                await self._storage.make_collection(path)

    async def write(self, name: str, content: Content) -> None:
        # The storage compares what it sent with what the store has: by length, and in S3 by checksum.
        with _told(name):
            await self._storage.write(self._collection.child(name), Body(content.chunks, content.size), None)
        if self._folder is not None and content.modified is not None:
            await asyncio.to_thread(os.utime, self._folder / name, (content.modified, content.modified))


async def _chunks(opened: Opened) -> AsyncIterator[bytes]:
    # Told apart from what goes wrong where the chunks are written to.
    with _told(opened.entry.path.name):
        async for chunk in opened.chunks():
            yield chunk


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except (NotFound, StorageChanged):
        raise Changed(f"{name} was changed or deleted meanwhile") from None
    except StorageError as error:
        raise TransferError(f"{name}: {error}") from error
