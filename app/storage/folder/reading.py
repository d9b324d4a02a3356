"""A file open for reading: a small one in one call, a large one block by block."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator
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
    RangeUnsatisfiable,
    Unavailable,
)
from app.storage.folder.root import Root, entry_of, etag_of, name_of
from app.storage.folder.threads import Threads, in_thread
from app.storage.read_ahead import ReadAhead, Reader

_SETTLED_SECONDS: Final = 2

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
        # A descriptor must not be closed, and its number given to another file, while it is read.
        self._reading = Lock()
        self._closing = False

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
        with self._reading:
            if self._file is None:
                raise Unavailable(self._path, "the file was closed while it was being read")
            with self._root.errors(self._path):
                block = os.pread(self._file, min(size, self.stop - offset), offset)
                # Whoever writes into the file itself makes a body of which the etag would be a lie.
                if not block or etag_of(os.fstat(self._file)) != self.entry.etag:
                    raise Unavailable(self._path, "the file was changed while it was being read")
        if self._closing:
            self.close()
        return block

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the range in blocks, larger ones for those who take them quickly.

        Raises Unavailable if the file is not what it was.
        """
        offset = self.start
        block, self._first = self._first, b""
        while block:
            offset += len(block)
            self._reader.give()
            yield block
            block = b""
            if offset < self.stop:
                block = await in_thread(self._threads, self._path, self._read, offset, self._reader.next())

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
