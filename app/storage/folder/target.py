"""Where a file is to be stored, and whether what is there now may be replaced."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from app.path import DavPath
from app.storage.base import ABSENT, Changed, Expectation, IsACollection, ParentMissing
from app.storage.folder.root import Root, etag_of


class Target:
    """One name that a file is to have, and what is expected to have it now. Every method blocks."""

    def __init__(self, root: Root, path: DavPath, expect: Expectation) -> None:
        self.path: Final = path
        self.expect: Final = expect
        self._root = root

    def check(self) -> None:
        """Raise what can be known before the body is read: a StorageError."""
        if self.path.is_root or self.path.slash:
            raise IsACollection(self.path)
        with (
            self._root.errors(self.path, missing=ParentMissing),
            self._root.collection(self.path.parent) as parent,
        ):
            self.find(parent)

    def find(self, parent: int) -> os.stat_result | None:
        """Return the status of the file that would be replaced, None if there is none.

        `parent` is the open collection. Raises IsACollection, Changed, NameRefused, and OSError as it is.
        """
        if os.fstat(parent).st_dev != self._root.device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        current = self._root.find(parent, self.path)
        if current is not None and stat.S_ISDIR(current.st_mode):
            raise IsACollection(self.path)
        if self.expect == ABSENT:
            met = current is None
        else:
            met = self.expect is None or (current is not None and etag_of(current) == self.expect)
        if not met:
            raise Changed(self.path)
        return current
