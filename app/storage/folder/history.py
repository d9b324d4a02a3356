"""The trash, and what is in place, as the history of a root (`app.storage.history.History`)."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Final, NamedTuple

from app.path import DavPath, is_nameable
from app.storage.base import NotFound, Written
from app.storage.folder.root import Root, etag_of, name_of
from app.storage.folder.temporary import Temporaries
from app.storage.folder.threads import Threads, Unsynced, in_thread
from app.storage.folder.trash import DELETED, OVERWRITTEN, Kept, Trash, files, place_of
from app.storage.folder.upload import Upload
from app.storage.history import Version

_log = logging.getLogger(__name__)

_CURRENT: Final = "current"
_PIECE: Final = 262144
_COPIED_AT_ONCE: Final = 2**30


class _File(NamedTuple):
    """One content that a file has, or had until it `ended` (nanoseconds since 1970; None for now)."""

    status: os.stat_result
    ended: int | None
    kind: str = ""


class FolderHistory:
    """What the trash has kept of one root; its files are never changed, only copied."""

    def __init__(self, root: Root, temporaries: Temporaries, threads: Threads) -> None:
        self._root = root
        self._temporaries = temporaries
        self._threads = threads
        self._trash = Trash(root)

    async def why_not(self) -> str:
        if self._root.trash is not None:
            return ""
        return (
            "nothing is kept of what is overwritten or deleted: set ZOTSHELF_TRASH_DAYS, to 30 for instance"
        )

    async def versions(self, collection: DavPath, beginning: str = "") -> AsyncIterator[Version]:
        found = await in_thread(self._threads, collection, self._versions, collection, beginning)
        for version in found:
            yield version

    def _versions(self, collection: DavPath, beginning: str) -> list[Version]:
        with self._root.errors(collection):
            past: dict[DavPath, list[_File]] = defaultdict(list)
            for kept in self._kept(collection, beginning):
                status = self._status(kept.place)
                if status is not None and all(map(is_nameable, kept.path.segments)):
                    past[kept.path].append(_File(status, kept.ended, kept.kind))
            for path in files(self._root, collection, beginning):
                status = self._status(path)
                visible = all(map(is_nameable, path.segments)) and not self._root.is_reserved(path)
                if status is not None and visible:
                    past[path].append(_File(status, None))
        return [version for path, found in past.items() for version in _versions_of(path, found)]

    def _kept(self, collection: DavPath, beginning: str) -> Iterator[Kept]:
        for day in self._trash.days():
            yield from self._trash.of_day(day, collection, beginning)

    def _status(self, path: DavPath) -> os.stat_result | None:
        try:
            with self._root.collection(path.parent) as folder:
                return os.stat(name_of(path), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    async def read(self, version: Version, start: int, stop: int) -> AsyncIterator[bytes]:
        file = await in_thread(self._threads, version.path, self._open, version)
        try:
            while start < stop:
                piece = await in_thread(
                    self._threads, version.path, os.pread, file, min(_PIECE, stop - start), start
                )
                if not piece:
                    raise NotFound(version.path, "this version is shorter than it was")
                start += len(piece)
                yield piece
        finally:
            os.close(file)

    def _open(self, version: Version) -> int:
        """Return a descriptor of the content. Raises NotFound."""
        if version.id == _CURRENT:
            places = [version.path]
        else:
            ended = int(version.id[::-1], 16)
            places = [place_of(version.path, kind, ended) for kind in (OVERWRITTEN, DELETED)]
        for place in places:
            try:
                with self._root.collection(place.parent) as folder:
                    file = os.open(name_of(place), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                continue
            if etag_of(os.fstat(file)) == version.etag:
                return file
            os.close(file)
        raise NotFound(version.path, "this version has gone: its time in the trash was over")

    async def bring_back(self, version: Version) -> None:
        with self._root.errors(version.path):
            written: Written = await in_thread(self._threads, version.path, self._bring_back, version)
        _log.info("%s was brought back as %s", version.path.href(), written.etag)

    def _bring_back(self, version: Version) -> Unsynced[Written]:
        upload = Upload(self._root, self._temporaries, version.path, None)
        with self._root.errors(version.path):
            file = self._open(version)
            try:
                # The collection may have been deleted with all that was in it.
                os.close(self._root.open_or_make(version.path.parent))
                upload.check()
                while upload.append_from(file, _COPIED_AT_ONCE):
                    pass
                return upload.finish([])
            finally:
                os.close(file)
                upload.close()


def _versions_of(path: DavPath, found: list[_File]) -> list[Version]:
    """Return what happened to one file, the newest first; `found` is in order, what is in place the last."""
    now = found[-1] if found[-1].ended is None else None
    if now is not None and len(found) > 1 and os.path.samestat(now.status, found[-2].status):
        # Kept to be overwritten, which then was not done, or not yet.
        del found[-2]
    versions: list[Version] = []
    before = 0
    for status, ended, kind in found:
        # A file may be older than what it replaced: copies keep their times.
        stored = max(status.st_mtime_ns, before)
        if ended is not None:
            stored = min(stored, ended)
        # Backwards, so that a few characters tell files apart that came here at nearly the same time.
        name = _CURRENT if ended is None else f"{ended:x}"[::-1]
        versions.append(_version(path, name, stored, status, is_current=ended is None))
        if ended is not None and kind == DELETED:
            is_last = status is found[-1].status
            versions.append(_version(path, f"d{name}", ended, None, is_current=is_last))
        before = ended or 0
    return versions[::-1]


def _version(
    path: DavPath, name: str, at: int, status: os.stat_result | None, *, is_current: bool
) -> Version:
    size, etag = (0, "") if status is None else (status.st_size, etag_of(status))
    return Version(path, name, at / 1e9, size, etag, status is None, is_current)
