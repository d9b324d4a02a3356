"""One file being written where it belongs."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from app.path import DavPath
from app.storage.base import (
    Busy,
    Denied,
    Expectation,
    ParentMissing,
    StorageError,
    Unavailable,
    Written,
)
from app.storage.folder.pieces import write_all
from app.storage.folder.root import Root, etag_of, name_of
from app.storage.folder.target import Target
from app.storage.folder.threads import Unsynced
from app.storage.folder.turns import Turns
from app.storage.folder.waits import waiting_for_disk

T = TypeVar("T")

# mountpoint-s3 overwrites only what is truncated as it is opened. O_EXCL is on the file's own name.
_OVERWRITE: Final = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS: Final = 3

# mountpoint-s3 lets go of a file a moment after it was closed (awslabs/mountpoint-s3 issue 1327).
_PASSING: Final = frozenset({errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.ESTALE})
_DELAYS: Final = (0.05, 0.1, 0.2, 0.4, 0.8)

_READ_BYTES: Final = 1024 * 1024
_NO_FSYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

_TICK_SECONDS: Final = 0.02
"""More than the kernel's clock for files stands still at a time."""

_log = logging.getLogger(__name__)


class Taken(Busy):
    """Somebody else in this process is writing the file."""


class InPlaceUpload:
    """One file being stored (`app.storage.folder.writes.FileUpload`). Its methods block.

    They raise StorageError. The file is open for writing once, is written from its beginning to its end,
    and is removed again if that end is not reached.
    """

    def __init__(self, root: Root, turns: Turns, path: DavPath, expect: Expectation) -> None:
        self._root = root
        self._turns = turns
        self._path = path
        self._target = Target(root, path, expect)
        self._file = -1
        self._begun = False
        self._own: os.stat_result | None = None
        self._size = 0
        self._created = False

    @property
    def begun(self) -> bool:
        """Whether there is something to `close`."""
        return self._begun

    def check(self) -> None:
        """Raise what can be known before the body is read."""
        self._target.check()

    def begin(self, source: int = -1) -> None:
        """Create or truncate the file: what was there is lost. `source` is a file that it must not be.

        Raises Taken, besides what `check` raises.
        """
        if not self._turns.take(self._path):
            raise Taken(self._path, "it is being written by another request")
        self._begun = True
        try:
            self._file = self._open(source)
        except BaseException:
            self._end()
            raise
        with suppress(OSError):
            self._own = os.fstat(self._file)

    def _open(self, source: int) -> int:
        with (
            self._root.errors(self._path, missing=ParentMissing),
            self._root.collection(self._path.parent) as parent,
        ):
            for _ in range(_ATTEMPTS):
                current = self._target.find(parent)
                if current is None:
                    with suppress(FileExistsError):
                        return self._create(parent)
                else:
                    with suppress(FileNotFoundError):
                        return self._overwrite(parent, current, source)
        raise Busy(self._path, "it was created and deleted all the time")

    def _create(self, parent: int) -> int:
        file = os.open(name_of(self._path), _CREATE, 0o666, dir_fd=parent)
        self._created = True
        return file

    def _overwrite(self, parent: int, current: os.stat_result, source: int) -> int:
        if source >= 0 and os.path.samestat(current, os.fstat(source)):
            raise Denied(self._path, "it is the very file it is to be copied from, under another name")
        _outlive(current)
        name = name_of(self._path)
        file = _patiently(lambda: os.open(name, _OVERWRITE, dir_fd=parent))
        self._created = False
        _log.info(
            "overwriting %s in place: until it is stored readers may get a part of it or nothing,"
            " and if that fails the old file is lost",
            self._path.href(),
        )
        return file

    def append(self, block: list[bytes]) -> None:
        """Write a block that is not the last."""
        with self._root.errors(self._path):
            self._append(block)

    def _append(self, block: list[bytes]) -> None:
        try:
            self._size += write_all(self._file, block)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # It has nothing to do with the name, which is what EINVAL means elsewhere.
                raise Unavailable(self._path, "the mount gave up the upload; its own log says why") from error
            raise

    def append_from(self, file: int, limit: int) -> int:
        """Append what comes next in the open `file`; see FileUpload.append_from."""
        if not self.begun:
            self.begin(file)
        with self._root.errors(self._path):
            block = os.read(file, min(limit, _READ_BYTES))
            self._append([block])
        return len(block)

    def seal(self, block: list[bytes]) -> None:
        """Write the last block and make all of it durable.

        fsync completes the upload in mountpoint-s3, and says whether that went well also where nothing
        has been written, which close does not.
        """
        if not self.begun:
            self.begin()
        with self._root.errors(self._path):
            self._append(block)
            try:
                with waiting_for_disk():
                    os.fsync(self._file)
            except OSError as error:
                if error.errno not in _NO_FSYNC:
                    raise

    def commit(self) -> Unsynced[Written]:
        """Close the file, and see that it is there as it was written; the caller makes the folder durable."""
        file, self._file = self._file, -1
        with self._root.errors(self._path):
            os.close(file)
        with (
            self._root.errors(self._path, missing=ParentMissing),
            self._root.collection(self._path.parent, readable=True) as parent,
        ):
            status = self._stored(parent)
            if status is None:
                raise Busy(self._path, "it was deleted while it was being written")
            if status.st_size != self._size:
                raise Unavailable(
                    self._path, f"{self._size} bytes were written, and {status.st_size} are there"
                )
            folder = os.dup(parent)
        self._end()
        return Unsynced(Written(etag_of(status), self._created), folder)

    def _stored(self, parent: int) -> os.stat_result | None:
        """Return what is there now; where nothing was written some mounts take a moment to store that."""
        status = self._root.find(parent, self._path)
        for delay in () if self._size else _DELAYS:
            if status is not None and not status.st_size:
                break
            time.sleep(delay)
            status = self._root.find(parent, self._path)
        return status

    def finish(self, block: list[bytes]) -> Unsynced[Written]:
        """Write the last block, make all of it durable and close the file."""
        self.seal(block)
        return self.commit()

    def _end(self) -> None:
        self._begun = False
        self._turns.give_back(self._path)

    def close(self) -> None:
        """Remove the file unless it was committed; safe to call at any time, and twice."""
        if not self._begun:
            return
        file, self._file = self._file, -1
        try:
            if file >= 0:
                # On such a mount a file that is open cannot be removed; that it is broken is known.
                with suppress(OSError):
                    os.close(file)
            self._remove()
        finally:
            self._end()

    def _remove(self) -> None:
        lost = "" if self._created else "; what it was to replace is lost"
        name = self._path.href()
        try:
            removed = self._unlink()
        except (OSError, StorageError) as error:
            _log.error(
                "%s could not be stored whole, and what there is of it cannot be removed: %s. Delete the"
                " file %s: it is broken%s",
                name,
                error,
                ascii(str(self._root.folder.joinpath(*self._path.segments))),
                lost,
            )
        else:
            if removed:
                _log.warning("%s could not be stored whole and was removed again%s", name, lost)

    def _unlink(self) -> bool:
        """Remove the file; False if it is gone, or another is there: in mountpoint-s3 the old one may be."""
        with suppress(FileNotFoundError), self._root.collection(self._path.parent) as parent:
            current = self._root.find(parent, self._path)
            if current is None:
                return False
            if not self._is_own(current):
                _log.warning(
                    "%s could not be stored; what was there before is still there", self._path.href()
                )
                return False
            _patiently(lambda: os.unlink(name_of(self._path), dir_fd=parent))
            return True
        return False

    def _is_own(self, current: os.stat_result) -> bool:
        # Inode numbers are not stable in mountpoint-s3, sizes are.
        return current.st_size == self._size or (
            self._own is not None and os.path.samestat(current, self._own)
        )


def _patiently(call: Callable[[], T]) -> T:
    """Make a call that a mount may refuse for a moment; OSError."""
    for delay in _DELAYS:
        try:
            return call()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
        time.sleep(delay)
    return call()


def _outlive(status: os.stat_result) -> None:
    """Wait until a file written now gets another time than the one that it replaces, hence another etag.

    S3 counts whole seconds.
    """
    step = 1.0 if status.st_mtime_ns % 1_000_000_000 == 0 else 0.0
    left = status.st_mtime_ns / 1e9 + step + _TICK_SECONDS - time.time()
    if 0 < left <= step + _TICK_SECONDS:
        time.sleep(left)
