"""The members of a collection, a page at a time."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import Final

from app.path import DavPath, is_nameable
from app.storage.base import Entry, NotACollection, NotFound
from app.storage.folder.root import Root, entry_of
from app.storage.folder.threads import Threads, in_thread

PAGE: Final = 1000


class Scan:
    """An open folder whose names are read bit by bit. Every method blocks and may raise OSError."""

    def __init__(self, root: Root, path: DavPath) -> None:
        self._folder = -1
        folder = root.open_collection(path, readable=True)
        try:
            self._names = os.scandir(folder)
        except BaseException:
            os.close(folder)
            raise
        self._folder = folder

    @property
    def folder(self) -> int:
        """The folder's descriptor, good until `close`."""
        return self._folder

    def take(self, limit: int | None) -> list[tuple[str, os.DirEntry[str]]]:
        """Return up to `limit` more members and their names; fewer means that these are the last."""
        return [
            (os.fsencode(found.name).decode("utf-8", "surrogateescape"), found)
            for found in islice(self._names, limit)
        ]

    def __iter__(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield the members that were not taken yet."""
        while found := self.take(PAGE):
            yield from found

    def close(self) -> None:
        """Free the descriptors; safe to call twice."""
        folder, self._folder = self._folder, -1
        if folder >= 0:
            self._names.close()
            os.close(folder)

    # A generator over a scan that nobody ever started has no end that could close it.
    __del__ = close


def is_shown(root: Root, path: DavPath, member: os.DirEntry[str]) -> bool:
    """Tell whether what a scan has found is a resource; what is not is logged, once."""
    if root.is_reserved(path):
        return False
    if not is_nameable(path.name):
        root.hide(path, "no URL can name it")
        return False
    if not (member.is_file(follow_symlinks=False) or member.is_dir(follow_symlinks=False)):
        root.hide(path, "neither a file nor a folder")
        return False
    return True


class Members:
    """A collection being listed. `open` comes first."""

    def __init__(self, root: Root, threads: Threads, path: DavPath) -> None:
        self._root = root
        self._threads = threads
        self._path = path
        self._scan: Scan | None = None
        self._first: list[Entry] = []

    def open(self) -> Entry:
        """Return the collection's own entry and read the first page. Blocks; raises StorageError."""
        with self._root.errors(self._path):
            try:
                self._scan = Scan(self._root, self._path)
            except NotADirectoryError:
                raise self._why_not() from None
            entry = entry_of(self._path, os.fstat(self._scan.folder))
        self._first = self._page()
        return entry

    def _why_not(self) -> NotFound | NotACollection:
        try:
            self._root.stat(self._path)
        except NotFound as error:
            return error
        return NotACollection(self._path)

    def _page(self) -> list[Entry]:
        if self._scan is None:
            return []
        with self._root.errors(self._path):
            found = self._scan.take(PAGE)
            page = [entry for name, member in found if (entry := self._entry(name, member)) is not None]
        if len(found) < PAGE:
            self.close()
        return page

    def _entry(self, name: str, member: os.DirEntry[str]) -> Entry | None:
        path = self._path.child(name)
        if not is_shown(self._root, path, member):
            return None
        try:
            return entry_of(path, member.stat(follow_symlinks=False))
        except FileNotFoundError:
            return None

    async def pages(self) -> AsyncGenerator[list[Entry], None]:
        """Yield the members page by page; raises StorageError."""
        try:
            page, self._first = self._first, []
            yield page
            while self._scan is not None:
                yield await in_thread(self._threads, self._path, self._page)
        finally:
            self.close()

    def close(self) -> None:
        """Free what the listing holds; safe to call twice."""
        if self._scan is not None:
            self._scan.close()
            self._scan = None
