"""Copying a file or a whole tree inside the folder: all copies first, then what is too much goes."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Generator
from contextlib import closing
from typing import Final, NamedTuple

from app.path import DavPath
from app.storage.base import Denied, Failure, NameRefused, NotFound, ParentMissing, StorageError
from app.storage.folder.file_copy import FileCopy
from app.storage.folder.members import Scan, is_shown
from app.storage.folder.root import MISSING, Root, etag_of, name_of, sync_folder
from app.storage.folder.tree import Removal
from app.storage.folder.writes import Making

BATCH: Final = 1000
"""So many files are planned by one call."""

STEP_SECONDS: Final = 0.5
"""So long a call goes on before it lets others have the thread."""


class _Pair(NamedTuple):
    """A collection to be copied."""

    source: DavPath
    target: DavPath
    place: DavPath
    """Where it is made: the target itself, or aside, until it is whole and takes a file's place."""


class Copying:
    """A file or a tree being copied in steps: `plan` until `planned`, then `settle` until `done`.

    Every method blocks, though none for long, and only one may be called at a time. Only the folder that
    is being read and the one that is being filled are held open, so depth costs neither descriptors nor
    stack.
    """

    def __init__(
        self,
        root: Root,
        making: Making,
        source: DavPath,
        target: DavPath,
        *,
        deep: bool,
        whole: bool = False,
    ) -> None:
        """With `whole` it is a failure that something in the source cannot be copied as it is hidden."""
        self.target = target
        self.planned = False
        self.done = False
        self.etag: str | None = None
        """Of the source, where that is a file, before it was copied."""
        self._root = root
        self._making = making
        self._source = source
        self._deep = deep
        self._whole = whole
        self._way: list[_Pair] = []
        self._merged: list[_Pair] = []
        self._unsynced: list[_Pair] = []
        self._own: os.stat_result | None = None
        self._failures: list[Failure] = []
        self._failed: set[DavPath] = set()
        self._walking = self._walk()
        self._settling = self._settle()

    def plan(self) -> list[FileCopy]:
        """Make collections and return the next files that are to be copied, for the caller to do that.

        Raises NotFound (source), ParentMissing, NameRefused, Denied (target), at the first call.
        """
        files = []
        end = time.monotonic() + STEP_SECONDS
        for file in self._walking:
            if file is not None:
                files.append(file)
            if len(files) >= BATCH or time.monotonic() > end:
                return files
        self.planned = True
        return files

    def settle(self) -> None:
        """Make the copies durable, delete what the source lacks, and clear up."""
        end = time.monotonic() + STEP_SECONDS
        for _ in self._settling:
            if time.monotonic() > end:
                return
        self.done = True

    def fail(self, path: DavPath, error: Exception) -> None:
        """Take note that a target could not be made; that a member of the source has gone is no failure."""
        if path == self.target or not isinstance(error, NotFound):
            self._failures.append(Failure(path, error))
            self._failed.add(path)

    def failures(self) -> list[Failure]:
        """Return the failures that were not told yet."""
        failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """Free what is held open, and leave no litter; safe to call at any time, and twice."""
        self._walking.close()
        self._settling.close()
        self._making.abandon()

    def _walk(self) -> Generator[FileCopy | None]:
        """Make the collections, and yield the files to be copied into them and now and then None."""
        status = self._check()
        self._unsynced.append(_Pair(self._source, self.target, self.target.parent))
        if stat.S_ISDIR(status.st_mode):
            self._way.append(_Pair(self._source, self.target, self.target))
        else:
            self.etag = etag_of(status)
            with (
                self._root.errors(self.target, missing=ParentMissing),
                self._root.collection(self.target.parent) as there,
            ):
                file = self._file(there, self._source, self.target, self.target)
            yield file
        while self._way:
            yield from self._collection(self._way.pop())

    def _check(self) -> os.stat_result:
        if self._source.is_root or self.target.is_root:
            raise Denied(self.target, "the root itself is never copied or replaced")
        with self._root.errors(self._source), self._root.collection(self._source.parent) as here:
            status = self._root.look_up(here, self._source)
        with (
            self._root.errors(self.target, missing=ParentMissing),
            self._root.collection(self.target.parent) as there,
        ):
            if os.fstat(there).st_dev != self._root.device:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            self._root.find(there, self.target)
        return status

    def _collection(self, pair: _Pair) -> Generator[FileCopy | None]:
        try:
            with self._root.errors(pair.source), closing(Scan(self._root, pair.source)) as scan:
                if not self._is_own(scan.folder):
                    pair = self._make(pair)
                    if self._deep:
                        yield from self._members(pair, scan)
        except StorageError as error:
            self.fail(pair.target, error)
        yield None

    def _is_own(self, folder: int) -> bool:
        """Tell whether a folder of the source is the target: where names are one that look like two."""
        return self._own is not None and os.path.samestat(os.fstat(folder), self._own)

    def _make(self, pair: _Pair) -> _Pair:
        with (
            self._root.errors(pair.target, missing=ParentMissing),
            self._root.collection(pair.place.parent) as parent,
        ):
            found = self._root.find(parent, pair.place)
            if found is None:
                os.mkdir(name_of(pair.place), dir_fd=parent)
            elif stat.S_ISDIR(found.st_mode):
                self._merged.append(pair)
            else:
                return self._make(pair._replace(place=self._making.make_way(pair.target)))
        return pair

    def _members(self, pair: _Pair, scan: Scan) -> Generator[FileCopy | None]:
        self._unsynced.append(pair)
        with self._root.collection(pair.place) as there:
            if self._own is None:
                self._own = os.fstat(there)
            for name, member in scan:
                source = pair.source.child(name)
                if not is_shown(self._root, source, member):
                    self._miss(pair.target)
                elif member.is_dir(follow_symlinks=False):
                    self._way.append(_Pair(*(one.child(name, slash=True) for one in pair)))
                else:
                    yield self._member(there, source, pair.target.child(name), pair.place.child(name))

    def _member(self, there: int, source: DavPath, target: DavPath, place: DavPath) -> FileCopy | None:
        try:
            with self._root.errors(target):
                return self._file(there, source, target, place)
        except StorageError as error:
            self.fail(target, error)
        return None

    def _file(self, there: int, source: DavPath, target: DavPath, place: DavPath) -> FileCopy:
        found = self._root.find(there, place)
        if found is not None and stat.S_ISDIR(found.st_mode):
            place = self._making.make_way(target)
        return FileCopy(self._root, source, target, self._making.upload(place))

    def _miss(self, target: DavPath) -> None:
        if self._whole and target not in self._failed:
            self.fail(target, NameRefused(target, "something in it is not shown, and cannot be copied"))

    def _settle(self) -> Generator[None]:
        for pair in self._unsynced:
            self._sync(pair)
            yield
        for failure in self._making.replace(self._is_whole):
            if failure is not None:
                self.fail(failure.path, failure.error)
            yield
        if not self._failed:
            for pair in self._merged:
                yield from self._prune(pair)
        yield from self._making.clear_up()

    def _sync(self, pair: _Pair) -> None:
        try:
            with self._root.collection(pair.place, readable=True) as folder:
                sync_folder(folder)
        except OSError as error:
            if error.errno not in MISSING:
                self.fail(pair.target, self._root.error(error, pair.target))

    def _is_whole(self, target: DavPath) -> bool:
        return not any(path == target or target.contains(path) for path in self._failed)

    def _prune(self, pair: _Pair) -> Generator[None]:
        """Delete what a collection of the target had before and the source lacks."""
        try:
            with (
                self._root.errors(pair.target),
                self._root.collection(pair.source) as kept,
                closing(Scan(self._root, pair.target)) as scan,
            ):
                for name, member in scan:
                    path = pair.target.child(name)
                    if is_shown(self._root, path, member) and not (self._deep and self._has(kept, path)):
                        yield from self._delete(scan.folder, path, member)
                sync_folder(scan.folder)
        except StorageError as error:
            self.fail(pair.target, error)

    def _has(self, folder: int, path: DavPath) -> bool:
        try:
            return self._root.find(folder, path) is not None
        except NameRefused:
            return False

    def _delete(self, folder: int, path: DavPath, member: os.DirEntry[str]) -> Generator[None]:
        if member.is_dir(follow_symlinks=False):
            removal = Removal(self._root, path, ())
            with closing(removal):
                while not removal.done:
                    for failure in removal.step():
                        self.fail(failure.path, failure.error)
                    yield
            return
        try:
            os.unlink(name_of(path), dir_fd=folder)
        except OSError as error:
            if error.errno not in MISSING:
                self.fail(path, self._root.error(error, path))
        yield
