"""What every storage can do, in the words of WebDAV but without HTTP.

A storage is the root of one user (or of all, where they share one). It speaks of paths, entries and
byte streams, and says what went wrong by raising one of the errors below; which status a client sees
is decided elsewhere.
"""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from app.byte_range import ByteRange
from app.path import DavPath

Absent = Literal["absent"]
ABSENT: Final[Absent] = "absent"

Expectation: TypeAlias = str | None
"""What must be stored for a change to be made: an etag (quotes included), ABSENT, or None for anything."""

Leave: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]
"""Makes the context within which a change may take effect; see Storage.write."""

# Not the machine's own table: the type of a file must not depend on the host that serves it.
_TYPES: Final = mimetypes.MimeTypes(filenames=())
_TYPES.add_type("text/xml", ".prop")
_TYPES.add_type("application/epub+zip", ".epub")
_TYPES.add_type("text/markdown", ".md")


class StartError(Exception):
    """A storage cannot be opened; the text is one line that tells the operator what to do."""


class StorageError(Exception):
    """A storage could not do what it was asked; `path` is the resource it was about.

    The text is for the log and for the operator, never for a client.
    """

    def __init__(self, path: DavPath, reason: str = "") -> None:
        super().__init__(reason or type(self).__name__)
        self.path = path


class NotFound(StorageError):
    """There is no such resource."""


class NotACollection(StorageError):
    """A file stands where a collection is needed."""


class IsACollection(StorageError):
    """A collection stands where a file is needed."""


class ParentMissing(StorageError):
    """The collection the resource would be a member of does not exist, or is a file."""


class Exists(StorageError):
    """There is a resource already."""


class Changed(StorageError):
    """What is stored is not what was expected."""


class Incomplete(StorageError):
    """A body ended before, or went on after, the size that was announced."""


class TooLarge(StorageError):
    """The file is larger than this storage can take."""


class TooSlow(StorageError):
    """The sender held memory that others were waiting for."""


class NameRefused(StorageError):
    """This storage can keep no resource of that name, for instance because it is too long."""


class NoSpace(StorageError):
    """The disk is full, or a quota of the store is used up."""


class QuotaExceeded(NoSpace):
    """What the root may hold is used up, though the store has room."""


class Denied(StorageError):
    """The store refuses us: credentials, permissions or settings are wrong. The operator must act."""


class NoConditions(Denied):
    """The store cannot create a record only where there is none, so there are no locks and properties."""


class Busy(StorageError):
    """The store, or this server, has too much to do; the same request may succeed a little later."""


class Unavailable(StorageError):
    """The store cannot be reached, or answers nonsense."""


class RangeUnsatisfiable(StorageError):
    """No byte of the range exists; `size` is the file's size in bytes."""

    def __init__(self, path: DavPath, size: int) -> None:
        super().__init__(path)
        self.size = size


class Entry(NamedTuple):
    """One resource, as one page of a listing or one look-up gives it."""

    path: DavPath
    is_collection: bool
    size: int
    """Bytes; 0 for a collection."""
    modified: int | None
    """Whole seconds since 1970, UTC; None where the store does not know (a collection without marker)."""
    etag: str | None
    """The strong entity tag with its quotes; None for a collection."""

    @property
    def content_type(self) -> str:
        return content_type(self.path.name)


def content_type(name: str) -> str:
    """Return the media type for a file of this name."""
    kind, encoding = _TYPES.guess_type(name)
    return "application/octet-stream" if kind is None or encoding is not None else kind


class Opened(Protocol):
    """An open file: `entry` and the bytes come from the same answer. Leave it by `aclose`."""

    entry: Entry
    start: int
    """The first byte that `chunks` yields, counted from the beginning of the file."""
    stop: int
    """The byte after the last."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to `stop`, once; raises StorageError when they cannot be had."""
        ...

    async def aclose(self) -> None:
        """Free what stands behind it; safe to call at any time, and twice."""
        ...


@runtime_checkable
class Pouring(Protocol):
    """What an Opened can do whose bytes the system can bring from a file to a socket by itself."""

    @property
    def rest(self) -> int:
        """How many bytes neither `chunks` nor `pour` has given yet."""
        ...

    async def pour(self, socket: int) -> int:
        """Send what comes next to a socket that does not block; return how many bytes it took.

        `socket` is a descriptor. Raises NotPourable, having sent nothing: `chunks` goes on from there.
        Raises StorageError when the bytes cannot be had, and SocketBroken.
        """
        ...


class NotPourable(Exception):
    """The system cannot bring this file to a socket by itself."""


class SocketBroken(Exception):
    """Nobody is at the other end of the socket any more."""


class LocalFile(NamedTuple):
    """A file that others on this host can read by its name."""

    segments: tuple[str, ...]
    """The way to it from the folder that holds the roots of all users; no symbolic link is on it."""


class SignedUrl(NamedTuple):
    """A URL at which anybody may GET the file within the next seconds. It is a secret."""

    url: str
    """Percent-encoded as it must be sent, with an If-Match of the entry's etag."""


Source: TypeAlias = LocalFile | SignedUrl


@runtime_checkable
class Offloading(Protocol):
    """What an Opened can do whose bytes somebody else may fetch from where they lie."""

    async def source(self) -> Source | None:
        """Say where the whole file can be had; None where that could become another one unnoticed.

        It can be asked for after `aclose`, too.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """A collection's own entry and its members, page by page (a page may be empty)."""

    entry: Entry
    pages: AsyncGenerator[list[Entry], None]
    """Raises StorageError when the listing breaks; members come in the store's order."""


@runtime_checkable
class Thrifty(Protocol):
    """What a storage can do that lists faster by asking for more than it must."""

    async def list_in_order(self, path: DavPath) -> Listing:
        """As Storage.list, with as few requests as there can be, one after the other."""
        ...


@dataclass(frozen=True, slots=True)
class Body:
    """What is to be written: `chunks` raises when the sender goes away or falls silent."""

    chunks: AsyncIterator[bytes]
    size: int | None
    """Bytes, where the sender announced them. A storage checks that as many came."""
    is_here: bool = False
    """Whether the last byte has come already: to read it all keeps nobody waiting, and holds no more."""


class Written(NamedTuple):
    etag: str
    created: bool
    """False when a file was replaced."""
    replaced: int | None = None
    """The size in bytes of the file that was replaced, where the storage knows it."""


class Space(NamedTuple):
    """Bytes that a root's resources take, and that may still be stored."""

    used: int
    available: int


@runtime_checkable
class Spacious(Protocol):
    """What a storage can do that knows its limits."""

    async def space(self) -> Space | None:
        """Return what is used and left; None where that is not known. Raises StorageError."""
        ...


@dataclass(slots=True)
class Tally:
    """How many resources have gone, and the bytes that were in them."""

    count: int = 0
    size: int = 0

    def add(self, count: int, size: int) -> None:
        self.count += count
        self.size += size


class Failure(NamedTuple):
    """A member of a tree that could not be deleted, copied or moved, and why."""

    path: DavPath
    error: Exception


class Abilities(NamedTuple):
    """What a storage can do; the methods that a client is offered follow from it."""

    atomic_replace: bool
    """A file is replaced whole or not at all; else what is replaced is lost when the writing begins."""
    server_side_copy: bool
    """Copies and moves are made inside the storage."""
    records: bool
    """Records can be created atomically, so locks and dead properties can be kept."""


class Records(Protocol):
    """Small records of the server's own under `.zotshelf/`: locks, properties, usage.

    A name is segments of letters, digits, '.', '_' and '-' joined by '/'. No record is ever changed:
    it is created, read, listed and deleted, and creating is the one thing that is atomic across hosts.
    """

    async def create(self, name: str, content: bytes) -> bool:
        """Write the record durably; False, and nothing written, if the name is taken."""
        ...

    async def read(self, name: str) -> bytes | None:
        """Return the record's content, or None if there is none."""
        ...

    def list(self, folder: str, after: str = "") -> AsyncIterator[str]:
        """Yield the full names of the records directly in `folder` that sort after `after`, in order."""
        ...

    async def delete(self, name: str) -> None:
        """Remove the record; none there is no error."""
        ...

    async def now(self) -> float:
        """Return the time by the store's own clock, in seconds since 1970."""
        ...


class Storage(Protocol):
    """The resources below one root.

    Besides the errors named below every method may raise Denied, Busy, Unavailable and NameRefused.
    """

    @property
    def abilities(self) -> Abilities: ...

    @property
    def records(self) -> Records | None:
        """None where nothing can be created atomically."""
        ...

    async def stat(self, path: DavPath) -> Entry:
        """Return one resource's entry. With a trailing slash only a collection counts.

        Raises NotFound.
        """
        ...

    async def list(self, path: DavPath) -> Listing:
        """Open a collection for listing its direct members.

        Raises NotFound, or NotACollection where a file has that name.
        """
        ...

    async def open(self, path: DavPath, wanted: ByteRange | None = None, expect: str | None = None) -> Opened:
        """Open a file for reading, the whole or one range of it.

        `expect` is an etag; Changed is raised when the file has another. A suffix range of an empty
        file is the whole file. Raises NotFound, IsACollection, RangeUnsatisfiable.
        """
        ...

    async def write(
        self, path: DavPath, body: Body, expect: Expectation = None, leave: Leave = nullcontext
    ) -> Written:
        """Store a file, all or nothing: until the last byte is durable readers see what was there.

        `leave` is entered when the whole body is there, just before the commit, and left after it; what
        it raises leaves everything as it was. Where there is no `atomic_replace`, a file may be seen while
        it is being written, `leave` is asked for before anything of it is, and what fails after that
        leaves no file.

        An exception out of `body` leaves what was there and no litter. `expect` is enforced by the
        store where it can be, otherwise checked just before the commit. Nothing of the body is read
        before what can be known without it is checked, unless all of it `is_here`.
        Raises ParentMissing, IsACollection, Changed, Incomplete, TooLarge, TooSlow, NoSpace.
        """
        ...

    async def make_collection(self, path: DavPath) -> None:
        """Create an empty collection. Raises Exists, ParentMissing."""
        ...

    def delete(
        self,
        path: DavPath,
        keep: Collection[DavPath] = (),
        expect: str | None = None,
        tally: Tally | None = None,
    ) -> AsyncIterator[Failure]:
        """Delete a file or a tree, children before parents, yielding what could not be deleted.

        The paths in `keep`, what lies below them and their parents stay. Nothing yielded means all
        else is gone. `expect` is a file's etag. What has gone is added to `tally`. Raises NotFound,
        Changed before anything is deleted.
        """
        ...

    def copy(self, source: DavPath, target: DavPath, *, deep: bool) -> AsyncIterator[Failure]:
        """Copy a file, or a collection with its members (`deep`) or without, inside the storage.

        Each file of the target is replaced whole or stays as it was. For a collection all copies are
        made first; what the target has and the source lacks is deleted last, and only where every copy
        was made. Safe to repeat. Yields the members of the target that could not be made or deleted.
        Neither path contains the other. Raises NotFound (source), ParentMissing (target), and Changed
        where a file is overwritten before it is copied.
        """
        ...

    def move(self, source: DavPath, target: DavPath) -> AsyncIterator[Failure]:
        """Move a file, or a collection with all members; a target that exists is replaced.

        As `copy`, and the source is deleted after that; nothing of it is, where anything failed. What
        is added to the source or overwritten there meanwhile is never deleted: it is moved along, or it
        stays, and if it was overwritten after its copy it is yielded, or raised where it is the file itself.
        """
        ...


class Storages(Protocol):
    """All roots of one server: opened at the start, closed at the end."""

    @property
    def abilities(self) -> Abilities:
        """What every one of the roots can do."""
        ...

    def for_user(self, user: str) -> Storage:
        """Return the root of `user`, a name that has passed `is_nameable`."""
        ...

    async def probe(self) -> None:
        """Ask the store, at little cost, whether it can be used now. Raises StorageError if it cannot."""
        ...

    async def aclose(self) -> None: ...
