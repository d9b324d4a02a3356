"""What a storage keeps of files that were overwritten or deleted, and how one of them comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, runtime_checkable

from app.path import DavPath


class Version(NamedTuple):
    """One thing that happened to a file: it was stored, or deleted."""

    path: DavPath
    id: str
    """What names it to the storage; unique among those of one file."""
    at: float
    """When that was, in seconds since 1970."""
    size: int
    """Bytes; 0 of a deletion."""
    etag: str
    """With its quotes; empty of a deletion."""
    is_deletion: bool
    is_current: bool
    """Whether it is how the file is now."""

    @property
    def second(self) -> int:
        """The whole second in which it happened, as it is shown and asked for."""
        return int(self.at)


class Held(NamedTuple):
    """How much is in a trash."""

    files: int
    size: int
    """Bytes."""


class History(Protocol):
    """The versions of the files below one root. What raises, raises StorageError."""

    async def why_not(self) -> str:
        """Say why what is overwritten or deleted now is not kept, and what to type; empty where it is."""
        ...

    def versions(self, collection: DavPath, beginning: str = "") -> AsyncIterator[Version]:
        """Yield the versions of all files below `collection`, in any order of files, the newest of one first.

        Only those are looked at whose path from there on begins with `beginning`.
        """
        ...

    def read(self, version: Version, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to, not including, `stop`; at least one. Raises NotFound."""
        ...

    async def bring_back(self, version: Version) -> None:
        """Make the file as it was in `version`, no deletion, in one step; what is there is kept as a version.

        Raises NotFound where the version has gone meanwhile.
        """
        ...


@runtime_checkable
class Historic(Protocol):
    """What a storage can do that keeps versions."""

    @property
    def history(self) -> History | None:
        """None where it is set up so that it cannot."""
        ...


@runtime_checkable
class Holding(Protocol):
    """What can be done where a trash is a thing of its own, rather than versions beside the files."""

    async def held(self) -> Held | None:
        """Sum up what is in the trash, whether or not more gets there now; None where there can be none.

        Looks at every file in it. Raises StorageError.
        """
        ...
