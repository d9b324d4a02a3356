"""Storing a file: checked before the body is read, written aside, put in place in one step."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, suppress
from typing import Final

from app.path import DavPath
from app.storage.base import (
    ABSENT,
    Body,
    Changed,
    Expectation,
    Incomplete,
    IsACollection,
    ParentMissing,
    Written,
)
from app.storage.folder.root import Root, etag_of, locked, name_of
from app.storage.folder.temporary import Temporaries, TemporaryFile
from app.storage.folder.threads import Unsynced

BLOCK_BYTES: Final = 1024 * 1024
"""So much of a body is gathered before a thread writes it; a smaller body is stored by one call."""

_PIECES: Final = 1024


class Blocks:
    """A body as blocks of about 1 MiB, its length checked against what was announced."""

    def __init__(self, path: DavPath, body: Body) -> None:
        self._path = path
        self._chunks: AsyncIterator[bytes] = aiter(body.chunks)
        self._announced = body.size
        self._received = 0
        self.ended = False

    async def read(self) -> list[bytes]:
        """Return the next pieces of the body; the last block is the one that sets `ended`.

        Raises Incomplete, and whatever the body raises.
        """
        pieces: list[bytes] = []
        end = self._received + BLOCK_BYTES
        while self._received < end:
            try:
                piece = await anext(self._chunks)
            except StopAsyncIteration:
                self._end()
                break
            self._received += len(piece)
            if self._announced is not None and self._received > self._announced:
                raise Incomplete(self._path, f"more than the {self._announced} bytes announced")
            pieces.append(piece)
            if len(pieces) == _PIECES:
                # A body in tiny chunks would otherwise take many times its size.
                pieces = [b"".join(pieces)]
        return pieces

    def _end(self) -> None:
        self.ended = True
        if self._announced is not None and self._received < self._announced:
            raise Incomplete(self._path, f"{self._received} of the {self._announced} bytes announced")


class Upload:
    """One file being stored. Its methods block; they raise StorageError."""

    def __init__(self, root: Root, temporaries: Temporaries, path: DavPath, expect: Expectation) -> None:
        self._root = root
        self._temporaries = temporaries
        self._path = path
        self._expect = expect
        self._temporary: TemporaryFile | None = None
        self._sealed: os.stat_result | None = None

    @property
    def begun(self) -> bool:
        """Whether there is something to `close`."""
        return self._temporary is not None

    def check(self) -> None:
        """Raise what can be known before the body is read."""
        if self._path.is_root or self._path.slash:
            raise IsACollection(self._path)
        with self._root.errors(self._path, missing=ParentMissing), self._parent() as parent:
            self._check_target(parent)

    def _parent(self, *, readable: bool = False) -> AbstractContextManager[int]:
        return self._root.collection(self._path.parent, readable=readable)

    def _check_target(self, parent: int) -> bool:
        """Tell whether the upload would create the file. Raises IsACollection, Changed, NameRefused."""
        if os.fstat(parent).st_dev != self._root.device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        current = self._root.find(parent, self._path)
        if current is not None and stat.S_ISDIR(current.st_mode):
            raise IsACollection(self._path)
        if self._expect == ABSENT:
            met = current is None
        else:
            met = self._expect is None or (current is not None and etag_of(current) == self._expect)
        if not met:
            raise Changed(self._path)
        return current is None

    def append(self, block: list[bytes]) -> None:
        """Write a block that is not the last."""
        with self._root.errors(self._path):
            self._begun().append(block)

    def _begun(self) -> TemporaryFile:
        if self._temporary is None:
            self._temporary = self._temporaries.open(self._path)
        return self._temporary

    def append_from(self, file: int, limit: int) -> int:
        """Append what comes next in an open file; see TemporaryFile.append_from."""
        with self._root.errors(self._path):
            return self._begun().append_from(file, limit)

    def seal(self, block: list[bytes]) -> None:
        """Write the last block and make all of it durable, so that little is left for `commit` to do."""
        with self._root.errors(self._path):
            temporary = self._begun()
            temporary.append(block)
            self._sealed = temporary.seal()

    def finish(self, block: list[bytes]) -> Unsynced[Written]:
        """Write the last block, make all of it durable and put it in place."""
        self.seal(block)
        return self.commit()

    def commit(self) -> Unsynced[Written]:
        """Put what was sealed in place; the caller makes the folder durable."""
        temporary, status = self._temporary, self._sealed
        if temporary is None or status is None:
            raise AssertionError("nothing has been sealed")
        with (
            self._root.errors(self._path, missing=ParentMissing),
            self._parent(readable=True) as parent,
        ):
            with locked(parent):
                created = self._put_in_place(temporary, parent)
            folder = os.dup(parent)
        self.close()
        return Unsynced(Written(etag_of(status), created), folder)

    def _put_in_place(self, temporary: TemporaryFile, parent: int) -> bool:
        name = name_of(self._path)
        if self._expect in (None, ABSENT):
            with suppress(FileExistsError):
                if temporary.link_to(parent, name):
                    return True
        created = self._check_target(parent)
        temporary.rename_to(parent, name)
        return created

    def close(self) -> None:
        """Leave no litter; safe to call at any time, and twice."""
        if self._temporary is not None:
            self._temporary.close()
            self._temporary = None
