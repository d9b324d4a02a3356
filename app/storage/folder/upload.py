"""Storing a file: checked before the body is read, written aside, put in place in one step."""

from __future__ import annotations

import os
from contextlib import suppress

from app.path import DavPath
from app.storage.base import ABSENT, Expectation, ParentMissing, Written
from app.storage.folder.root import Root, etag_of, locked, name_of
from app.storage.folder.target import Target
from app.storage.folder.temporary import Temporaries, TemporaryFile
from app.storage.folder.threads import Unsynced


class Upload:
    """One file being stored. Its methods block; they raise StorageError."""

    def __init__(self, root: Root, temporaries: Temporaries, path: DavPath, expect: Expectation) -> None:
        self._root = root
        self._temporaries = temporaries
        self._path = path
        self._target = Target(root, path, expect)
        self._temporary: TemporaryFile | None = None
        self._sealed: os.stat_result | None = None

    @property
    def begun(self) -> bool:
        """Whether there is something to `close`."""
        return self._temporary is not None

    def check(self) -> None:
        """Raise what can be known before the body is read."""
        self._target.check()

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

    def check_and_finish(self, block: list[bytes]) -> Unsynced[Written]:
        """Do all in one call, for a body that was there before anybody could check."""
        self.check()
        return self.finish(block)

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
            self._root.collection(self._path.parent, readable=True) as parent,
        ):
            with locked(parent):
                replaced = self._put_in_place(temporary, parent)
            folder = os.dup(parent)
        self.close()
        return Unsynced(Written(etag_of(status), replaced is None, replaced), folder)

    def _put_in_place(self, temporary: TemporaryFile, parent: int) -> int | None:
        """Return the size in bytes of the file that was replaced, None if there was none."""
        name = name_of(self._path)
        if self._target.expect in (None, ABSENT):
            with suppress(FileExistsError):
                if temporary.link_to(parent, name):
                    return None
        found = self._target.find(parent)
        if found is not None:
            self._root.keep(self._path, parent)
        temporary.rename_to(parent, name)
        return None if found is None else found.st_size

    def close(self) -> None:
        """Leave no litter; safe to call at any time, and twice."""
        if self._temporary is not None:
            self._temporary.close()
            self._temporary = None
