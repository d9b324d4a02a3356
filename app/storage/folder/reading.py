"""A file open for reading: a small one in one call, a large one block by block."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from app.byte_range import ByteRange
from app.path import DavPath
from app.storage.base import (
    Changed,
    Entry,
    IsACollection,
    LocalFile,
    NotFound,
    NotPourable,
    RangeUnsatisfiable,
    SocketBroken,
    Unavailable,
)
from app.storage.folder.root import Root, entry_of, etag_of, name_of
from app.storage.folder.threads import Threads, in_thread
from app.storage.read_ahead import ReadAhead, Reader

POUR_BYTES: Final = 4 * 1024 * 1024
"""So much at most is sent by one call: others wait for the thread."""

_STAY_SECONDS: Final = 0.01
"""How long a thread waits for the client to make room."""
_STAYS: Final = 3
"""After so many waits in vain, beyond those that were not, no thread waits any more."""

_SETTLED_SECONDS: Final = 2

# sendfile(2): the file system has none.
_NO_POURING: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_BROKEN: Final = frozenset(
    {
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
    }
)
"""What is wrong with the socket, not with the file."""

# Not blocking, in case a FIFO took the file's place just now.
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OpenFile:
    """One range of a file (`app.storage.base.Opened`). `open` comes first; `aclose` may always come."""

    entry: Entry
    start: int
    stop: int

    def __init__(self, root: Root, threads: Threads, path: DavPath, ahead: ReadAhead) -> None:
        self._root = root
        self._threads = threads
        self._path = path
        self._reader = Reader(ahead)
        self._file: int | None = None
        self._first = b""
        self._position = 0
        """The byte that comes next."""
        # A descriptor must not be closed, and its number given to another file, while it is read.
        self._reading = Lock()
        self._closing = False
        self._stays = _STAYS

    async def open(self, wanted: ByteRange | None, expect: str | None) -> None:
        """Open the file and read the beginning of the range. Raises StorageError."""
        await in_thread(self._threads, self._path, self._begin, wanted, expect, self._reader.next())

    def _begin(self, wanted: ByteRange | None, expect: str | None, size: int) -> None:
        """Open the file and read so many bytes; a file that is no longer is closed by this call, too."""
        with self._root.errors(self._path):
            self._file = self._open()
            status = os.fstat(self._file)
            if not stat.S_ISREG(status.st_mode):
                raise NotFound(self._path)
            self.entry = entry_of(self._path, status)
            if expect is not None and expect != self.entry.etag:
                raise Changed(self._path)
            self.start, self.stop = self._resolve(wanted)
            self._position = self.start
            if self.start < self.stop:
                self._first = self._read(self.start, size)
            if self.start + len(self._first) == self.stop:
                self.close()

    def _open(self) -> int:
        with self._root.collection(self._path.parent) as parent:
            if stat.S_ISDIR(self._root.look_up(parent, self._path).st_mode):
                raise IsACollection(self._path)
            return os.open(name_of(self._path), _OPEN, dir_fd=parent)

    def _resolve(self, wanted: ByteRange | None) -> tuple[int, int]:
        size = self.entry.size
        if wanted is None or (wanted.first is None and wanted.last and not size):
            return 0, size
        found = wanted.resolve(size)
        if found is None:
            raise RangeUnsatisfiable(self._path, size)
        return found

    def _read(self, offset: int, size: int) -> bytes:
        with self._open_file() as file:
            block = os.pread(file, min(size, self.stop - offset), offset)
            self._check(file, len(block))
        return block

    @contextmanager
    def _open_file(self) -> Iterator[int]:
        """Keep the descriptor from being closed within this context. Raises StorageError."""
        with self._reading:
            if self._file is None:
                raise Unavailable(self._path, "the file was closed while it was being read")
            with self._root.errors(self._path):
                yield self._file
        if self._closing:
            self.close()

    def _check(self, file: int, size: int) -> None:
        # Whoever writes into the file itself makes a body of which the etag would be a lie.
        if not size or etag_of(os.fstat(file)) != self.entry.etag:
            raise Unavailable(self._path, "the file was changed while it was being read")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the range in blocks, larger ones for those who take them quickly.

        Raises Unavailable if the file is not what it was.
        """
        block, self._first = self._first, b""
        while block:
            self._position += len(block)
            self._reader.give()
            yield block
            block = b""
            if self._position < self.stop:
                size = self._reader.next()
                block = await in_thread(self._threads, self._path, self._read, self._position, size)

    @property
    def rest(self) -> int:
        return self.stop - self._position

    async def pour(self, socket: int) -> int:
        """Send what comes next without reading it; see Pouring."""
        self._reader.keep(0)
        sent = await in_thread(self._threads, self._path, self._pour, socket)
        self._position += sent
        return sent

    def _pour(self, socket: int) -> int:
        most = min(POUR_BYTES, self.rest)
        with self._open_file() as file:
            sent = self._send(socket, file, 0, most)
            # One who is quick makes room at once: to come back for that costs more than to wait here.
            until = time.monotonic() + _STAY_SECONDS
            while self._stays and 0 < sent < most:
                if not _has_room(socket, until - time.monotonic()):
                    self._stays -= 1
                    break
                sent += self._send(socket, file, sent, most)
            else:
                self._stays = min(self._stays + 1, _STAYS) if self._stays else 0
        return sent

    def _send(self, socket: int, file: int, sent: int, most: int) -> int:
        """Send what the socket takes of what comes after `sent` bytes, up to `most`."""
        try:
            more = os.sendfile(socket, file, self._position + sent, most - sent)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _NO_POURING and not sent:
                raise NotPourable from error
            if error.errno in _BROKEN:
                raise SocketBroken from error
            raise
        self._check(file, more)
        return more

    def close(self) -> None:
        """Close the descriptor now, or leave that to the thread that is reading from it."""
        self._closing = True
        if self._reading.acquire(blocking=False):
            try:
                file, self._file = self._file, None
                if file is not None:
                    os.close(file)
            finally:
                self._reading.release()

    async def source(self) -> LocalFile | None:
        """Say where the file lies, unless one that replaced it now could have the same time and size.

        Who opens it by its name can compare nothing else, and the time in whole seconds only.
        """
        modified = self.entry.modified
        if modified is None or modified > time.time() - _SETTLED_SECONDS:
            return None
        return LocalFile(self._root.below_shared(self._path))

    async def aclose(self) -> None:
        self._reader.close()
        self.close()


def _has_room(socket: int, seconds: float) -> bool:
    """Wait until the socket takes more, or is broken; tell whether that was within so many seconds."""
    poll = select.poll()
    poll.register(socket, select.POLLOUT)
    return bool(poll.poll(max(0.0, seconds) * 1000))
