"""Files on their way: written under a name of their own below `.zotshelf/uploads`, then put in place."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from app.path import DavPath
from app.storage.base import Unavailable
from app.storage.folder.leavings import UPLOADS, Leavings
from app.storage.folder.pieces import write_all
from app.storage.folder.root import FULL, Keeping, Root
from app.storage.folder.tree import Removal
from app.storage.folder.waits import waiting_for_disk

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES: Final = 1024 * 1024
_SYNC_BYTES: Final = 32 * 1024 * 1024
_NO_HARD_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
# EPERM is what a sandbox says that has never heard of the call.
_NO_RANGES: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})

_log = logging.getLogger(__name__)


class Temporaries:
    """The temporary files of one root. Every method blocks."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._leavings = Leavings(root)

    def open(self, path: DavPath) -> TemporaryFile:
        """Begin a file that is to become the resource `path`. Raises StorageError."""
        with self._root.errors(path, missing=Unavailable):
            self._leavings.tidy()
            uploads = self._root.open_or_make(UPLOADS)
            name = secrets.token_hex(16)
            try:
                return TemporaryFile(uploads, name, self._create(name, uploads), self._root.trash)
            except BaseException:
                os.close(uploads)
                raise

    def _create(self, name: str, uploads: int) -> int:
        try:
            return os.open(name, _CREATE, 0o666, dir_fd=uploads)
        except OSError as error:
            # A disk may have room for bytes, and none for one more file.
            if error.errno not in FULL or self._root.trash is None or not self._root.trash.make_room(0):
                raise
            return os.open(name, _CREATE, 0o666, dir_fd=uploads)

    def make_folder(self, path: DavPath) -> DavPath:
        """Make a folder, and return its path, for what has to do with `path`. Raises StorageError."""
        with self._root.errors(path, missing=Unavailable):
            uploads = self._root.open_or_make(UPLOADS)
            try:
                name = secrets.token_hex(16)
                os.mkdir(name, dir_fd=uploads)
            finally:
                os.close(uploads)
        return UPLOADS.child(name, slash=True)

    def leave(self, removal: Removal) -> None:
        """Let those who come later go on with what cannot be waited for."""
        self._leavings.add(removal)


class TemporaryFile:
    """A file that becomes visible in one step, or never. Every method blocks and may raise OSError."""

    def __init__(self, uploads: int, name: str, file: int, trash: Keeping | None = None) -> None:
        """What is in the `trash` gives way where the disk is full."""
        self._trash = trash
        self._uploads = uploads
        self._name: str | None = name
        self._file = file
        self._unsynced = 0
        self._in_kernel = True

    @property
    def made(self) -> float:
        """When it was made, by the clock of the file system, as long as nothing has been written."""
        return os.fstat(self._file).st_mtime_ns / 1e9

    def append(self, block: Sequence[bytes]) -> None:
        """Write all of `block` at the end.

        What was written is brought to the disk every 32 MiB, so that a sender who is faster than the
        disk is held back on the way and does not wait long after its last byte.
        """
        begin = os.lseek(self._file, 0, os.SEEK_CUR)
        while True:
            try:
                self._unsynced += write_all(self._file, block)
                break
            except OSError as error:
                if not self._has_made_room(error, sum(map(len, block))):
                    raise
                os.ftruncate(self._file, begin)
                os.lseek(self._file, begin, os.SEEK_SET)
        self._sync_sometimes()

    def _has_made_room(self, error: OSError, size: int) -> bool:
        return self._trash is not None and error.errno in FULL and self._trash.make_room(size)

    def append_from(self, file: int, limit: int) -> int:
        """Append up to `limit` bytes, at least one, of what comes next in `file`.

        Returns how many they were, 0 at the end of `file`. They are copied inside the kernel, or by the
        file server, or not at all but shared, where the file system can.
        """
        copied = self._copy_range(file, limit)
        if not copied:
            # A few file systems take the beginning for the end: reading tells for sure.
            block = os.read(file, min(limit, _READ_BYTES))
            copied = len(block)
            self.append([block])
        return copied

    def _copy_range(self, file: int, limit: int) -> int:
        if not self._in_kernel:
            return 0
        try:
            copied = os.copy_file_range(file, self._file, limit)
        except OSError as error:
            if self._has_made_room(error, limit):
                return self._copy_range(file, limit)
            if error.errno not in _NO_RANGES:
                raise
            self._in_kernel = False
            return 0
        self._unsynced += copied
        self._sync_sometimes()
        return copied

    def _sync_sometimes(self) -> None:
        if self._unsynced >= _SYNC_BYTES:
            with waiting_for_disk():
                os.fdatasync(self._file)
            self._unsynced = 0

    def seal(self) -> os.stat_result:
        """Make the content durable and return the status that the file will keep.

        The time is set to the nanosecond, as the kernel's own may stand still for milliseconds: two
        files of the same inode number, one after the other, must not have the same etag.
        """
        now = time.time_ns()
        with suppress(OSError):
            os.utime(self._file, ns=(now, now))
        with waiting_for_disk():
            os.fsync(self._file)
        return os.fstat(self._file)

    def link_to(self, folder: int, name: bytes) -> bool:
        """Give the file its name, unless it is taken: FileExistsError.

        False where the file system has no hard links; then nothing is done.
        """
        if self._name is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            os.link(self._name, name, src_dir_fd=self._uploads, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_HARD_LINKS:
                return False
            if self._has_made_room(error, 0):
                return self.link_to(folder, name)
            raise
        self._unlink()
        return True

    def rename_to(self, folder: int, name: bytes) -> None:
        """Give the file its name, in the place of whatever file has it."""
        if self._name is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        try:
            os.rename(self._name, name, src_dir_fd=self._uploads, dst_dir_fd=folder)
        except OSError as error:
            if self._has_made_room(error, 0):
                self.rename_to(folder, name)
                return
            raise
        self._name = None

    def _unlink(self) -> None:
        if self._name is not None:
            os.unlink(self._name, dir_fd=self._uploads)
            self._name = None

    def close(self) -> None:
        """Remove the file if it did not get its name; safe to call twice."""
        try:
            self._unlink()
        except OSError as error:
            _log.warning("cannot remove the temporary file %s: %s", self._name, error.strerror)
        self._name = None
        if self._file >= 0:
            os.close(self._file)
            os.close(self._uploads)
            self._file = -1
