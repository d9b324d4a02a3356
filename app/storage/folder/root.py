"""The folder below which everything lies, and the one way from it to a resource.

Paths are walked from the root down by directory file descriptors that never follow a symbolic link,
so nothing outside the root can be named. What is neither file nor folder counts as not there.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from app.path import RESERVED, DavPath
from app.storage.base import (
    Busy,
    Denied,
    Entry,
    Exists,
    IsACollection,
    NameRefused,
    NoSpace,
    NotFound,
    Space,
    StorageError,
    TooLarge,
    Unavailable,
)
from app.storage.folder.waits import waiting_for_disk

_FOLDER: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WALK: Final = os.O_PATH | _FOLDER
# fsync, flock and scandir want a descriptor that is more than a place.
_READ: Final = os.O_RDONLY | _FOLDER

MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What the system says of a name that nothing has; ELOOP and ENOTDIR also of a symbolic link."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says where there is no room."""

_KINDS: Final[dict[int | None, type[StorageError]]] = {
    errno.EISDIR: IsACollection,
    errno.EEXIST: Exists,
    errno.ENAMETOOLONG: NameRefused,
    # How FAT and its like refuse a name with '?' or ':'.
    errno.EINVAL: NameRefused,
    errno.EILSEQ: NameRefused,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: TooLarge,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.EMFILE: Busy,
    errno.ENFILE: Busy,
    errno.ENOMEM: Busy,
    errno.EAGAIN: Busy,
    errno.EBUSY: Busy,
    errno.ENOTEMPTY: Busy,
}
_PERMISSION: Final = (
    "the user the server runs as (uid {uid}) needs to read, write and enter what is in {root}"
)
_ADVICE: Final[dict[int | None, str]] = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "the file system of {root} is mounted read-only",
    errno.EMFILE: "raise the limit of open files (LimitNOFILE=, ulimit -n)",
    errno.EXDEV: "another file system is mounted inside {root}: mount it elsewhere, or serve it on its own",
}
_ODDITIES: Final = 1000

_log = logging.getLogger(__name__)


def etag_of(status: os.stat_result) -> str:
    """Return the strong entity tag of a file; a file that we replace gets another inode and time."""
    return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'


def entry_of(path: DavPath, status: os.stat_result) -> Entry:
    modified = status.st_mtime_ns // 1_000_000_000
    if stat.S_ISDIR(status.st_mode):
        return Entry(DavPath(path.segments, slash=True), True, 0, modified, None)
    return Entry(path, False, status.st_size, modified, etag_of(status))


def name_of(path: DavPath) -> bytes:
    """Return the last segment as the file system spells it, whatever the locale."""
    return path.name.encode("utf-8", "surrogateescape")


def sync_folder(folder: int) -> None:
    """Make the names in a folder durable, where the file system knows how to."""
    try:
        with waiting_for_disk():
            os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


@contextmanager
def locked(folder: int) -> Iterator[None]:
    """Keep every other writer of ours on this host out of a folder while a file in it is replaced.

    Without it an etag could be checked by two, and both would replace. File systems that know no
    locks are left with that window.
    """
    with suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_UN)


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Keeping(Protocol):
    """Where what is deleted or overwritten is kept for a while. Every method blocks."""

    def take(self, path: DavPath, folder: int) -> None:
        """Take a file out of its open folder, whether it can be kept or not. Raises OSError."""
        ...

    def keep(self, path: DavPath, folder: int) -> None:
        """Keep a file, if possible, that is about to be overwritten in its open folder."""
        ...

    def make_room(self, size: int) -> bool:
        """Give up what is kept so that `size` more bytes may be stored; False if nothing is left of it."""
        ...


class Root:
    """A folder that is served. Every method blocks; OSError comes out as it is unless said otherwise.

    The folder is opened anew for each operation, so that it can be unmounted and mounted again while
    the server runs. It is known again by its inode, or by the `.zotshelf` that was made in it at the
    first use: an empty mount point must not be mistaken for an empty library.
    """

    def __init__(self, folder: Path, within: Root | None = None) -> None:
        """`within` is a folder that must be there before this one may be made below it."""
        self.folder = folder
        self._within = within
        self._identity: tuple[int, int] | None = None
        self._oddities: set[tuple[str, ...]] = set()
        self.trash: Keeping | None = None
        """None where what is deleted is gone at once."""

    def below_shared(self, path: DavPath) -> tuple[str, ...]:
        """Return the names that lead from the folder that holds the roots of all users to a resource."""
        shared = self.folder if self._within is None else self._within.folder
        return (*self.folder.relative_to(shared).parts, *path.segments)

    def prepare(self, path: DavPath) -> None:
        """Make the folder where it is missing, and remember which one it is. Raises StorageError."""
        with self.errors(path, missing=Unavailable):
            if self._within is not None:
                os.close(self._within.open(path))
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise Unavailable(path, f"{self.folder} is not a folder") from None
            self._mark()
            status = self.folder.stat()
            self._identity = status.st_dev, status.st_ino

    def _mark(self) -> None:
        """Make what the folder will be known by again."""
        # A folder that may only be read can be served all the same.
        with suppress(OSError):
            (self.folder / RESERVED).mkdir(exist_ok=True)

    def open(self, path: DavPath, *, readable: bool = False) -> int:
        """Return a descriptor of the root itself. Raises Unavailable when it is gone."""
        if self._identity is None:
            self.prepare(path)
        try:
            root = os.open(self.folder, (_READ if readable else _WALK) & ~os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in MISSING:
                raise self._gone(path) from error
            raise
        try:
            self._recognise(root, path)
        except BaseException:
            os.close(root)
            raise
        return root

    def _recognise(self, root: int, path: DavPath) -> None:
        status = os.fstat(root)
        identity = status.st_dev, status.st_ino
        if identity != self._identity:
            try:
                os.stat(RESERVED, dir_fd=root, follow_symlinks=False)
            except FileNotFoundError:
                raise self._gone(path) from None
            self._identity = identity

    def _gone(self, path: DavPath) -> Unavailable:
        return Unavailable(
            path,
            f"the folder {self.folder} has gone since the server started: "
            "was it deleted, or its disk unmounted? Bring it back, or restart the server",
        )

    def open_collection(self, path: DavPath, *, readable: bool = False) -> int:
        """Return a descriptor of a collection, a place only unless `readable`."""
        below = path.segments
        folder = self.open(path, readable=readable and not below)
        for position, segment in enumerate(below, start=1):
            flags = _READ if readable and position == len(below) else _WALK
            try:
                inner = os.open(segment.encode("utf-8", "surrogateescape"), flags, dir_fd=folder)
            except OSError:
                self._tell_oddity(folder, DavPath(below[:position]))
                raise
            finally:
                os.close(folder)
            folder = inner
        return folder

    @contextmanager
    def collection(self, path: DavPath, *, readable: bool = False) -> Iterator[int]:
        """Hold a collection open as `open_collection` does."""
        folder = self.open_collection(path, readable=readable)
        try:
            yield folder
        finally:
            os.close(folder)

    def open_or_make(self, path: DavPath, *, readable: bool = False) -> int:
        """Open a folder that is to be there, such as those of the server's own, and make it where missing."""
        try:
            return self.open_collection(path, readable=readable)
        except FileNotFoundError:
            for depth in range(len(path.segments)):
                self._make(DavPath(path.segments[: depth + 1]))
            return self.open_collection(path, readable=readable)

    def _make(self, path: DavPath) -> None:
        with self.collection(path.parent, readable=True) as parent, suppress(FileExistsError):
            os.mkdir(name_of(path), dir_fd=parent)
            sync_folder(parent)

    def find(self, folder: int, path: DavPath) -> os.stat_result | None:
        """Return the status of the member `path` of an open collection, None if nothing is there.

        Raises NameRefused if something is there that is neither file nor folder.
        """
        if path.is_root:
            return os.fstat(folder)
        try:
            status = os.stat(name_of(path), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            self.hide(path, "neither a file nor a folder")
            raise NameRefused(path, "something that is neither a file nor a folder has this name")
        return status

    def look_up(self, folder: int, path: DavPath) -> os.stat_result:
        """Return the status of the resource `path` in its open parent. Raises NotFound."""
        try:
            status = self.find(folder, path)
        except NameRefused:
            raise NotFound(path) from None
        if status is None or (path.slash and not stat.S_ISDIR(status.st_mode)):
            raise NotFound(path)
        return status

    def stat(self, path: DavPath) -> Entry:
        """Return the resource's entry. Raises StorageError."""
        with self.errors(path), self.collection(path.parent) as folder:
            return entry_of(path, self.look_up(folder, path))

    def space(self) -> Space | None:
        """Return what is used and free of the disk, None where it does not say. Raises StorageError."""
        root = DavPath()
        with self.errors(root), self.collection(root) as folder:
            found = os.fstatvfs(folder)
        if not found.f_blocks:
            return None
        unit = found.f_frsize
        # What is kept for the administrator is neither used nor to be had.
        return Space((found.f_blocks - found.f_bfree) * unit, found.f_bavail * unit)

    def probe(self) -> None:
        """See that the folder is there, may be written to and has room. Raises StorageError."""
        root = DavPath()
        with self.errors(root), self.collection(root) as folder:
            found = os.fstatvfs(folder)
            if found.f_flag & os.ST_RDONLY:
                raise _os_error(errno.EROFS)
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
                raise _os_error(errno.EACCES)
            # Those that do not say how much they have say that they have nothing.
            if (found.f_blocks and not found.f_bavail) or (found.f_files and not found.f_favail):
                raise _os_error(errno.ENOSPC)

    def discard(self, path: DavPath, folder: int) -> None:
        """Delete a file from its open folder; it is kept where there is a trash. Raises OSError."""
        if self.trash is None or self.is_reserved(path):
            os.unlink(name_of(path), dir_fd=folder)
        else:
            self.trash.take(path, folder)

    def keep(self, path: DavPath, folder: int) -> None:
        """Keep the file that is about to be overwritten in its open folder, where there is a trash."""
        if self.trash is not None and not self.is_reserved(path):
            self.trash.keep(path, folder)

    def _tell_oddity(self, folder: int, path: DavPath) -> None:
        with suppress(NameRefused, OSError):
            self.find(folder, path)

    def hide(self, path: DavPath, what: str) -> None:
        """Log, once, that something on the disk is not shown, and why."""
        if path.segments in self._oddities:
            return
        if len(self._oddities) >= _ODDITIES:
            self._oddities.clear()
        self._oddities.add(path.segments)
        _log.warning("not shown: %s in %s (%s)", ascii("/".join(path.segments)), self.folder, what)

    @staticmethod
    def is_reserved(path: DavPath) -> bool:
        """Tell whether a path lies in the server's own folder, on a file system that ignores case too."""
        return bool(path.segments) and path.segments[0].casefold() == RESERVED

    @property
    def device(self) -> int | None:
        """The file system the root was on when it was last opened."""
        return None if self._identity is None else self._identity[0]

    @contextmanager
    def errors(self, path: DavPath, missing: type[StorageError] = NotFound) -> Iterator[None]:
        """Turn every OSError into the StorageError it means; `missing` says that something is not there."""
        try:
            yield
        except OSError as error:
            raise self.error(error, path, missing) from error

    def error(self, error: OSError, path: DavPath, missing: type[StorageError] = NotFound) -> StorageError:
        """Return the StorageError that an OSError means."""
        kind = missing if error.errno in MISSING else _KINDS.get(error.errno, Unavailable)
        reason = error.strerror or type(error).__name__
        advice = _ADVICE.get(error.errno)
        if advice is not None:
            reason = f"{reason}: {advice.format(uid=os.geteuid(), root=self.folder)}"
        return kind(path, reason)
