"""The body of a file to be stored, gathered into blocks and its length checked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic
from typing import Final

from app.path import DavPath
from app.storage.base import Body, Incomplete

BLOCK_BYTES: Final = 1024 * 1024
"""So much of a body is gathered before a thread writes it; a smaller body is stored by one call."""

SLOW_BYTES: Final = 64 * 1024
"""So much of one that comes slowly."""

_SLOW_SECONDS: Final = 1.0
"""How long a block may take."""

_PIECES: Final = 1024


class Blocks:
    """A body as blocks of about 1 MiB, its length checked against what was announced."""

    def __init__(self, path: DavPath, body: Body) -> None:
        self._path = path
        self._chunks: AsyncIterator[bytes] = aiter(body.chunks)
        self._announced = body.size
        self._received = 0
        self.ended = False

    async def read(self) -> list[bytes]:
        """Return the next pieces of the body; the last block is the one that sets `ended`.

        Raises Incomplete, and whatever the body raises.
        """
        pieces: list[bytes] = []
        begun, began = self._received, monotonic()
        while not self._is_enough(self._received - begun, began):
            try:
                piece = await anext(self._chunks)
            except StopAsyncIteration:
                self._end()
                break
            self._received += len(piece)
            if self._announced is not None and self._received > self._announced:
                raise Incomplete(self._path, f"more than the {self._announced} bytes announced")
            pieces.append(piece)
            if len(pieces) == _PIECES:
                # A body in tiny chunks would otherwise take many times its size.
                pieces = [b"".join(pieces)]
        return pieces

    @staticmethod
    def _is_enough(size: int, began: float) -> bool:
        return size >= BLOCK_BYTES or (size >= SLOW_BYTES and monotonic() - began > _SLOW_SECONDS)

    def _end(self) -> None:
        self.ended = True
        if self._announced is not None and self._received < self._announced:
            raise Incomplete(self._path, f"{self._received} of the {self._announced} bytes announced")
