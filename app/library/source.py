"""The bytes of one file, wherever it lies, in any ranges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from app.byte_range import ByteRange
from app.storage.base import Changed, Entry, Opened, Storage


class Source(Protocol):
    """A file that can be read in ranges; all of them are of the same content."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to, not including, `stop`. Raises StorageError, OSError."""
        ...


class StoredSource:
    """A file of a storage, as `entry` says it was; what replaced it is never read: Changed is raised.

    Who may leave a stream before its end calls `aclose` at once instead of waiting for the collector.
    """

    def __init__(self, storage: Storage, entry: Entry) -> None:
        self._storage = storage
        self._entry = entry
        self.size = entry.size
        self._opened: list[Opened] = []

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        if start >= stop:
            return
        opened = await self._storage.open(self._entry.path, ByteRange(start, stop - 1), self._entry.etag)
        self._opened.append(opened)
        try:
            if (opened.start, opened.stop) != (start, stop):
                raise Changed(self._entry.path)
            async for chunk in opened.chunks():
                yield chunk
        finally:
            if opened in self._opened:
                self._opened.remove(opened)
            await opened.aclose()

    async def aclose(self) -> None:
        """Free what the streams that have not ended still hold."""
        while self._opened:
            await self._opened.pop().aclose()


class BytesSource:
    """A file that is in memory whole."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        yield self._content[start:stop]


async def read(source: Source, start: int, stop: int) -> bytes:
    """Return a range that fits into memory."""
    return b"".join([chunk async for chunk in source.stream(start, stop)])
