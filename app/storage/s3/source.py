"""A body as it is gathered into parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from app.path import DavPath
from app.storage.base import Body, Incomplete
from app.storage.upload_memory import Reservation

BEGINNING_BYTES: Final = 65536
_BLOCK_BYTES: Final = 8192


class Source:
    """A body, read in parts of the size that is asked for; counts and compares with what was announced."""

    def __init__(self, path: DavPath, body: Body) -> None:
        self._path = path
        self._chunks: AsyncIterator[bytes] = body.chunks
        self._size = body.size
        self._rest = b""
        self._count = 0
        self.ended = False

    async def begin(self) -> None:
        """Gather the first bytes, which a slow sender takes long for, before they take anybody's memory.

        A connection holds as many anyway while its request waits. Raises Incomplete.
        """
        wanted = BEGINNING_BYTES if self._size is None else min(BEGINNING_BYTES, self._size)
        blocks: list[bytes] = []
        gathered = bytearray()
        size = 0
        while size < wanted:
            chunk = await self._next()
            if self.ended:
                break
            if not size and len(chunk) >= wanted:
                self._rest = chunk
                return
            size += len(chunk)
            gathered += chunk
            if len(gathered) >= _BLOCK_BYTES:
                blocks.append(bytes(gathered))
                gathered.clear()
        self._rest = b"".join((*blocks, gathered))

    async def fill(self, space: Reservation) -> None:
        """Gather the next `space.size` bytes in it, or fewer at the end. Raises Incomplete."""
        first = await self._next()
        if len(first) >= space.size or self.ended:
            space.content, self._rest = first[: space.size], first[space.size :]
            space.filled = len(space.content)
        else:
            space.content = await self._gather(first, space)

    async def _gather(self, first: bytes, space: Reservation) -> memoryview:
        buffer = bytearray(space.size)
        filled = len(first)
        buffer[:filled] = first
        space.filled = filled
        while filled < space.size:
            chunk = await self._next()
            if self.ended:
                break
            fitting = chunk[: space.size - filled]
            buffer[filled : filled + len(fitting)] = fitting
            filled += len(fitting)
            space.filled = filled
            self._rest = chunk[len(fitting) :]
        return memoryview(buffer)[:filled]

    async def at_end(self) -> bool:
        """Tell whether nothing more comes; only where that is not known, wait for the sender to say so."""
        if self._size is not None and self._count < self._size:
            return False
        if not self._rest and not self.ended:
            self._rest = await self._next()
        return self.ended

    async def _next(self) -> bytes:
        if self._rest:
            chunk, self._rest = self._rest, b""
            return chunk
        chunk = b""
        while not chunk:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self.ended = True
                if self._size is not None and self._count != self._size:
                    raise Incomplete(self._path) from None
                return b""
        self._count += len(chunk)
        if self._size is not None and self._count > self._size:
            raise Incomplete(self._path)
        return chunk
