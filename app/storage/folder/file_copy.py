"""Copying one file inside the folder, bit by bit."""

from __future__ import annotations

import os
import stat
from typing import Final

from app.path import DavPath
from app.storage.base import NotFound, Unavailable
from app.storage.folder.root import Root, etag_of, name_of
from app.storage.folder.writes import FileUpload

STEP_BYTES: Final = 32 * 1024 * 1024
"""So much is copied by one call."""

# Not blocking, in case a FIFO took the file's place just now.
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileCopy:
    """One file being copied in steps. Every method blocks; they raise StorageError.

    It is put in place as any upload is.
    """

    def __init__(self, root: Root, source: DavPath, target: DavPath, upload: FileUpload) -> None:
        """`target` is what the copy is known as; `upload` knows where it is put."""
        self.target = target
        self._root = root
        self._source = source
        self._upload = upload
        self._file = -1
        self._etag = ""
        self._left = 0

    @property
    def begun(self) -> bool:
        """Whether there is something to `close`."""
        return self._file >= 0 or self._upload.begun

    def step(self) -> bool:
        """Copy up to 32 MiB, and put the file in place when that was all; return whether it was.

        The folder it is put in is still to be made durable. Raises NotFound when the source has gone.
        """
        if self._file < 0:
            self._open()
        end = max(self._left - STEP_BYTES, 0)
        while self._left > end:
            with self._root.errors(self.target):
                copied = self._upload.append_from(self._file, self._left - end)
            if not copied:
                raise self._changed()
            self._left -= copied
        if self._left:
            return False
        self._finish()
        return True

    def _open(self) -> None:
        with self._root.errors(self._source), self._root.collection(self._source.parent) as parent:
            self._file = os.open(name_of(self._source), _OPEN, dir_fd=parent)
            status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            raise NotFound(self._source)
        self._etag, self._left = etag_of(status), status.st_size

    def _finish(self) -> None:
        self._upload.seal([])
        # Whoever writes into the file itself would have a copy made that is half old, half new.
        with self._root.errors(self._source):
            etag = etag_of(os.fstat(self._file))
        if etag != self._etag:
            raise self._changed()
        os.close(self._upload.commit().folder)  # made durable with the other copies
        self.close()

    def _changed(self) -> Unavailable:
        return Unavailable(self.target, "the file was changed while it was being copied")

    def close(self) -> None:
        """Leave no litter; safe to call at any time, and twice."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
        self._upload.close()
