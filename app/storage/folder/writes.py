"""What the two ways to write into a folder have in common: aside and then in place, or in place at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from app.path import DavPath
from app.storage.base import Abilities, Body, Expectation, Failure, Leave, Records, Written
from app.storage.folder.threads import Unsynced
from app.storage.history import History


class FileUpload(Protocol):
    """One file being stored. Its methods block; they raise StorageError."""

    @property
    def begun(self) -> bool:
        """Whether there is something to `close`."""
        ...

    def append_from(self, file: int, limit: int) -> int:
        """Append up to `limit` bytes, at least one, of what comes next in the open `file`.

        Returns how many they were, 0 at the end of `file`.
        """
        ...

    def seal(self, block: list[bytes]) -> None:
        """Write the last block and make all of it durable."""
        ...

    def commit(self) -> Unsynced[Written]:
        """Let what was sealed count; the caller makes the folder durable."""
        ...

    def close(self) -> None:
        """Leave no litter; safe to call at any time, and twice."""
        ...


class Making(Protocol):
    """How one copy makes its files, and deals with what is of another kind. Every method blocks."""

    def upload(self, place: DavPath) -> FileUpload: ...

    def make_way(self, target: DavPath) -> DavPath:
        """Return where to make what cannot be made at `target`, as a resource of the other kind is there.

        Raises StorageError.
        """
        ...

    def replace(self, is_whole: Callable[[DavPath], bool]) -> Iterator[Failure | None]:
        """Put in its place, step by step, what was made elsewhere, where it is whole."""
        ...

    def clear_up(self) -> Iterator[None]:
        """Remove, step by step, what was replaced."""
        ...

    def abandon(self) -> None:
        """Leave no litter; safe to call at any time, and twice."""
        ...


class Writes(Protocol):
    """How one root's files come to be where they belong."""

    @property
    def abilities(self) -> Abilities: ...

    @property
    def records(self) -> Records | None: ...

    @property
    def history(self) -> History | None: ...

    async def write(self, path: DavPath, body: Body, expect: Expectation, leave: Leave) -> Written:
        """Store a file; see Storage.write."""
        ...

    def making(self) -> Making: ...

    def deleted(self, path: DavPath) -> None:
        """Be told that a resource was deleted, or parts of it."""
        ...

    def emptied(self, path: DavPath) -> None:
        """Be told that members of a collection, which is to stay, may have been deleted."""
        ...

    async def aclose(self) -> None:
        """End what is under way; safe to call twice."""
        ...

    async def rename(self, source: DavPath, target: DavPath) -> bool:
        """Move by renaming; False, and nothing done, where there is no renaming."""
        ...
