"""Giving a file or a folder another name, in the place of whatever has that name."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from app.path import DavPath
from app.storage.base import ParentMissing
from app.storage.folder.aside import Aside
from app.storage.folder.root import Root, locked, name_of, sync_folder

_log = logging.getLogger(__name__)


class OtherFileSystem(Exception):
    """What is to be renamed lies on another file system, and nothing was changed."""


def place(root: Root, aside: Aside, source: DavPath, target: DavPath) -> None:
    """Rename `source` to `target`, durably; a target of any kind is replaced. Blocks.

    A target that cannot be replaced in one step goes `aside` first; removing it there is left to the
    caller. Raises NotFound for the source, ParentMissing for the target, and OtherFileSystem.
    """
    with root.errors(source), root.collection(source.parent, readable=True) as here:
        root.look_up(here, source)
        with (
            root.errors(target, missing=ParentMissing),
            root.collection(target.parent, readable=True) as there,
        ):
            try:
                with _both_locked(here, there):
                    _Renaming(root, aside, source, here, target, there).run()
            except OSError as error:
                if error.errno == errno.EXDEV:
                    raise OtherFileSystem from error
                raise
            # The new name first: were the power to fail, better two than none.
            sync_folder(there)
            sync_folder(here)


@contextmanager
def _both_locked(one: int, other: int) -> Iterator[None]:
    """Lock two folders, which may be the same, in the order that everybody does."""
    folders = {(status.st_dev, status.st_ino): fd for fd in (one, other) for status in (os.fstat(fd),)}
    with ExitStack() as stack:
        for identity in sorted(folders):
            stack.enter_context(locked(folders[identity]))
        yield


class _Renaming:
    """One renaming between two folders that are open and locked. Raises OSError as it is."""

    def __init__(
        self, root: Root, aside: Aside, source: DavPath, here: int, target: DavPath, there: int
    ) -> None:
        self._root = root
        self._aside = aside
        self._source = source
        self._here = here
        self._target = target
        self._there = there

    def run(self) -> None:
        moved = self._root.look_up(self._here, self._source)
        found = self._root.find(self._there, self._target)
        both_files = found is not None and stat.S_ISREG(moved.st_mode) and stat.S_ISREG(found.st_mode)
        is_same = found is not None and os.path.samestat(moved, found)
        if found is None or both_files or is_same:
            if both_files and not is_same:
                self._root.keep(self._target, self._there)
            self._rename()
            if is_same:
                self._unlink_twin()
        else:
            self._swap()

    def _rename(self) -> None:
        os.rename(name_of(self._source), name_of(self._target), src_dir_fd=self._here, dst_dir_fd=self._there)

    def _unlink_twin(self) -> None:
        """Delete the source where it is another hard link to the target, for which rename does nothing.

        On a file system that ignores case it may be the same name instead, spelled otherwise: so it
        counts how the names are really written.
        """
        with os.scandir(self._here) as members:
            names = {os.fsencode(found.name) for found in members}
        source, target = name_of(self._source), name_of(self._target)
        in_one = os.path.samestat(os.fstat(self._here), os.fstat(self._there))
        if source in names and (not in_one or (source != target and target in names)):
            os.unlink(source, dir_fd=self._here)

    def _swap(self) -> None:
        """Rename the target aside, then the source in its place.

        No file system does both in one step. If the power fails between the two, the source is whole
        where it was and nothing has the target's name: the client, who has had no answer, repeats. The
        old target lies in `.zotshelf/uploads` under its own name until it is swept, a day later.
        """
        folder = self._aside.make(self._target, origin=self._target.parent)
        name = name_of(self._target)
        with self._root.collection(folder) as aside:
            os.rename(name, name, src_dir_fd=self._there, dst_dir_fd=aside)
            try:
                self._rename()
            except OSError:
                self._put_back(name, aside, folder)
                raise

    def _put_back(self, name: bytes, aside: int, folder: DavPath) -> None:
        try:
            os.rename(name, name, src_dir_fd=aside, dst_dir_fd=self._there)
        except OSError as error:
            self._aside.keep(folder)
            _log.error(
                "%s was set aside and cannot be put back: %s; it lies in %s%s for a day",
                self._target.href(),
                error.strerror,
                self._root.folder,
                folder.href(),
            )
