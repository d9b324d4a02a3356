"""A file that is read once, from its beginning to its end, in ranges that ask for ever later bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from app.library.source import Source


class InOrder:
    """Serves ranges, each beginning behind the one before, from one stream of the whole.

    Ranges of a file in a bucket are a request each; so the members of a snapshot are one in all. A range
    that begins before what has been read is read by itself. Leave it by `aclose`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size
        self._position = 0
        self._rest = b""
        self._chunks = self._all()

    async def _all(self) -> AsyncGenerator[bytes, None]:
        async for chunk in self._source.stream(0, self.size):
            yield chunk

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        if start < self._position:
            async for chunk in self._source.stream(start, stop):
                yield chunk
            return
        while self._position < stop:
            chunk = self._rest or await anext(self._chunks, b"")
            if not chunk:
                return
            taken = chunk[: (stop if self._position >= start else start) - self._position]
            self._rest = chunk[len(taken) :]
            wanted = self._position >= start
            self._position += len(taken)
            if wanted:
                yield taken

    async def aclose(self) -> None:
        async with aclosing(self._chunks):
            pass
