"""One request at a time on a connection of its own, closely watched: big files and big listings."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scripts.bench.wire import Answer, AnswerReader, Unexpected, Wire

_BLOCK: Final = memoryview(os.urandom(1 << 20))
_PIECE: Final = 1 << 20


@dataclass(frozen=True)
class Transfer:
    """An answer and when it came, in seconds since the request was begun."""

    answer: Answer
    sent: float
    """The last byte of the request had left."""
    first_byte: float
    """The first byte of the answer's body was here."""
    complete: float
    first_byte_at: float
    """The same as `first_byte`, as seconds since the epoch."""


def _blocks(size: int) -> Iterator[memoryview]:
    while size > 0:
        yield _BLOCK[:size]
        size -= len(_BLOCK)


def fetch(wire: Wire, request: bytes, *, upload: int = 0, keep: bool = True) -> Transfer:
    """Send a request, with `upload` random bytes after it, and read the answer.

    Raises Unexpected when the connection breaks.
    """
    try:
        with wire.connect() as connection:
            began = time.perf_counter()
            connection.sendall(request)
            for block in _blocks(upload):
                connection.sendall(block)
            sent = time.perf_counter()
            reader = AnswerReader(request, keep=keep)
            first = first_at = 0.0
            answer = None
            while answer is None:
                data = connection.recv(_PIECE)
                answer = reader.feed(data) if data else reader.end()
                if not first and reader.size:
                    first, first_at = time.perf_counter(), time.time()
            complete = time.perf_counter()
    except OSError as error:
        raise Unexpected(f"{request.partition(b' ')[0].decode()}: {error}") from error
    return Transfer(answer, sent - began, (first or complete) - began, complete - began, first_at)
