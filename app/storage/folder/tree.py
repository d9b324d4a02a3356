"""Deleting a file or a whole tree, children before parents, never through a symbolic link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from app.path import DavPath, is_nameable
from app.storage.base import Changed, Denied, Failure, Tally
from app.storage.folder.members import Scan
from app.storage.folder.root import MISSING, Root, etag_of, locked, name_of, sync_folder
from app.storage.folder.threads import Unsynced

BATCH: Final = 1000
"""So many members are dealt with by one call."""

_ROUNDS: Final = 3
_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def remove(
    root: Root, path: DavPath, keep: Collection[DavPath], expect: str | None, tally: Tally | None = None
) -> Removal | Unsynced[Removal | None] | None:
    """Delete a file; for a collection return what deletes it. Blocks; raises StorageError."""
    if path.is_root:
        raise Denied(path, "the root itself cannot be deleted")
    with root.errors(path), root.collection(path.parent, readable=True) as parent:
        with locked(parent):
            status = root.look_up(parent, path)
            is_collection = stat.S_ISDIR(status.st_mode)
            if expect is not None and (is_collection or etag_of(status) != expect):
                raise Changed(path)
            if any(kept == path or kept.contains(path) for kept in keep):
                return None
            if is_collection:
                return Removal(root, path, keep, tally)
            root.discard(path, parent)
            if tally is not None:
                tally.add(1, status.st_size)
        return Unsynced(None, os.dup(parent))


@dataclass(slots=True)
class _Folder:
    """A folder on the way down."""

    path: DavPath
    shown: DavPath
    """The nearest collection, this one or above, that a URL can name."""
    emptied: bool = False
    """Whether all its members but the folders in `inner` have been dealt with."""
    inner: list[str] = field(default_factory=list)
    spared: bool = False
    """Whether something in it stays, so that it stays too."""
    rounds: int = 0


class Removal:
    """A tree being deleted, in steps. Every method blocks.

    Only the folder that is being emptied is held open; all others are walked to again from the root,
    so depth costs neither descriptors nor stack.
    """

    def __init__(
        self,
        root: Root,
        path: DavPath,
        keep: Collection[DavPath],
        tally: Tally | None = None,
        origin: DavPath | None = None,
    ) -> None:
        """`origin` is where the members of `path` were before they were set aside."""
        self._root = root
        self._top = path
        self._origin = path if origin is None else origin
        self._tally = tally or Tally()
        self._keep = frozenset(keep)
        self._way = [_Folder(path, path)]
        self._scan: Scan | None = None
        self._failures: list[Failure] = []
        self._blamed: set[DavPath] = set()

    @property
    def done(self) -> bool:
        return not self._way

    def step(self) -> list[Failure]:
        """Deal with about a thousand members; return those that could not be deleted."""
        budget = BATCH
        while self._way and budget > 0:
            folder = self._way[-1]
            with self._root.errors(folder.shown):
                if not folder.emptied:
                    budget -= self._empty(folder, budget)
                elif folder.inner:
                    self._descend(folder, folder.inner.pop())
                else:
                    self._way.pop()
                    self._leave(folder)
                    budget -= 1
        failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """Free what is held open; safe to call twice."""
        if self._scan is not None:
            self._scan.close()
            self._scan = None

    def _descend(self, folder: _Folder, name: str) -> None:
        path = folder.path.child(name, slash=True)
        is_shown = folder.shown is folder.path and is_nameable(name)
        self._way.append(_Folder(path, path if is_shown else folder.shown))

    def _empty(self, folder: _Folder, budget: int) -> int:
        """Delete up to `budget` members that are no folders; return how many there were."""
        try:
            if self._scan is None:
                self._scan = Scan(self._root, folder.path)
            found = self._scan.take(budget)
        except OSError as error:
            self._fail(folder, folder.path, error)
            found = []
        for name, member in found:
            path = folder.path.child(name)
            if path in self._keep:
                folder.spared = True
            elif member.is_dir(follow_symlinks=False):
                folder.inner.append(name)
            else:
                self._unlink(folder, path, member)
        if len(found) < budget:
            self.close()
            folder.emptied = True
        return len(found)

    def _unlink(self, folder: _Folder, path: DavPath, member: os.DirEntry[str]) -> None:
        if self._scan is None:
            return
        try:
            size = member.stat(follow_symlinks=False).st_size
            self._root.discard(self._known_as(path), self._scan.folder)
        except OSError as error:
            self._fail(folder, path, error)
        else:
            self._tally.add(1, size)

    def _known_as(self, path: DavPath) -> DavPath:
        return DavPath((*self._origin.segments, *path.segments[len(self._top.segments) :]))

    def _leave(self, folder: _Folder) -> None:
        """Delete a folder that was emptied, or leave it and those above it if it was not."""
        if not folder.spared:
            self._rmdir(folder)
        if folder.spared:
            self._sync(folder)
            if self._way:
                self._way[-1].spared = True

    def _sync(self, folder: _Folder) -> None:
        with suppress(OSError), self._root.collection(folder.path, readable=True) as left:
            sync_folder(left)

    def _rmdir(self, folder: _Folder) -> None:
        is_top = not self._way
        try:
            with self._root.collection(folder.path.parent, readable=is_top) as parent:
                os.rmdir(name_of(folder.path), dir_fd=parent)
                self._tally.add(1, 0)
                if is_top:
                    sync_folder(parent)
        except OSError as error:
            if error.errno in _NOT_EMPTY and folder.rounds < _ROUNDS:
                # New members came meanwhile.
                folder.rounds += 1
                folder.emptied = False
                self._way.append(folder)
            else:
                self._fail(folder, folder.path, error)

    def _fail(self, folder: _Folder, path: DavPath, error: OSError) -> None:
        """Take note that `path`, the folder or a member of it, stays; what is gone anyway is no failure."""
        if error.errno in MISSING:
            return
        folder.spared = True
        if folder.shown is not folder.path or not is_nameable(path.name):
            path = folder.shown
            if path in self._blamed:
                return
            self._blamed.add(path)
        self._failures.append(Failure(path, self._root.error(error, path)))
