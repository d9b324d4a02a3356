"""What a source and a target of a transfer can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self


class TransferError(Exception):
    """A place cannot be used or a file not be carried; the text is one line that says why."""


class Changed(TransferError):
    """The file is another one, or gone, since it was listed."""


class Stored(NamedTuple):
    """A file as a listing has it."""

    name: str
    size: int | None
    """Bytes; None where that is known only when it has been packed."""
    modified: int | None
    """Seconds since 1970, UTC."""


@dataclass(slots=True)
class Pair:
    """An attachment's files, or a file that belongs to none (`zip` and its name as the key)."""

    key: str
    zip: Stored | None = None
    prop: Stored | None = None

    def files(self) -> Iterator[Stored]:
        """Yield what there is, the zip first."""
        yield from filter(None, (self.zip, self.prop))


@dataclass(slots=True)
class Content:
    """A file that is being read."""

    chunks: AsyncIterator[bytes]
    size: int
    """Bytes."""
    modified: int | None = None

    @classmethod
    def of(cls, content: bytes, modified: int | None = None) -> Self:
        """Return what is read at once."""

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        return cls(chunks(), len(content), modified)


@dataclass(slots=True)
class Listed:
    """What lies in a place's collection."""

    pairs: dict[str, Pair] = field(default_factory=dict)

    def add(self, stored: Stored, key: str, *, is_prop: bool) -> None:
        pair = self.pairs.setdefault(key, Pair(key))
        if is_prop:
            pair.prop = stored
        else:
            pair.zip = stored

    @property
    def number(self) -> int:
        """How many files there are."""
        return sum(len(list(pair.files())) for pair in self.pairs.values())


class Source(Protocol):
    """Where a library is carried from."""

    async def find(self, seen: Callable[[int], object]) -> Listed:
        """Return all attachments; `seen` is told how many files were found. Raises TransferError."""
        ...

    def open(self, stored: Stored) -> AbstractAsyncContextManager[Content]:
        """Open a file. Raises TransferError, Changed."""
        ...


class Target(Source, Protocol):
    """Where a library is carried to. It can be read, too, so that what lies there is known for sure."""

    async def prepare(self) -> None:
        """Make the collection, and those above it, where it is missing. Raises TransferError."""
        ...

    async def write(self, name: str, content: Content) -> None:
        """Store a file whole, in the place of one that is there.

        Returns when the place has confirmed it, its bytes compared with those that were sent. Raises
        TransferError; nothing or the old file is there then.
        """
        ...
