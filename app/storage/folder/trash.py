"""What was overwritten or deleted, kept for some days: `.zotshelf/trash/DAY/COLLECTION/NAME~KINDMOMENT`.

A file gets there by a rename or a hard link inside the file system, so that nothing is copied. Whatever goes
wrong with that, the deletion or the replacement itself goes on: only the kept file is lost.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Final, NamedTuple

from app.path import RESERVED, DavPath
from app.storage.base import StorageError
from app.storage.folder.members import Scan
from app.storage.folder.root import MISSING, Root, name_of
from app.storage.history import Held

TRASH: Final = DavPath((RESERVED, "trash"), slash=True)

DELETED: Final = "d"
OVERWRITTEN: Final = "o"

_SUFFIX: Final = re.compile(r"(.*)~([do])(\d{19})", re.DOTALL)
_SUFFIX_BYTES: Final = 21
_MOST_NAME_BYTES: Final = 255
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_AT_LEAST: Final = 64 * 2**20
"""Bytes that are freed at a time, so that the next writers need not ask again."""

_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """One file in the trash."""

    path: DavPath
    """Where it was."""
    place: DavPath
    """Where it lies now."""
    kind: str
    """DELETED or OVERWRITTEN."""
    ended: int
    """When it came here, in nanoseconds since 1970."""


class Trash:
    """The trash of one root. Every method blocks."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._told: set[int | None] = set()
        self._turn = Lock()

    def take(self, path: DavPath, folder: int) -> None:
        """Take a file out of its open folder, into the trash or for good. Raises OSError."""
        name = name_of(path)
        try:
            with self._place(path, DELETED) as (there, kept):
                os.rename(name, kept, src_dir_fd=folder, dst_dir_fd=there)
        except (OSError, StorageError) as error:
            # If it is not there at all, this says so.
            os.unlink(name, dir_fd=folder)
            self._tell(path, error)

    def keep(self, path: DavPath, folder: int) -> None:
        """Keep a file of an open folder that is about to be overwritten: it is in both until then."""
        try:
            with self._place(path, OVERWRITTEN) as (there, kept):
                os.link(name_of(path), kept, src_dir_fd=folder, dst_dir_fd=there, follow_symlinks=False)
        except (OSError, StorageError) as error:
            self._tell(path, error)

    @contextmanager
    def _place(self, path: DavPath, kind: str) -> Iterator[tuple[int, bytes]]:
        """Hold open the folder that keeps what happens to `path` now; yield the name in it, too."""
        now = time.time_ns()
        name, segments = name_of(path), path.parent.segments
        if len(name) > _MOST_NAME_BYTES - _SUFFIX_BYTES:
            name, segments = b"", path.segments
        folder = self._root.open_or_make(DavPath((*TRASH.segments, _day(now), *segments), slash=True))
        try:
            yield folder, name + f"~{kind}{now}".encode()
        finally:
            os.close(folder)

    def _tell(self, path: DavPath, error: OSError | StorageError) -> None:
        """Log, once for each reason, that something was not kept."""
        reason = error.errno if isinstance(error, OSError) else None
        if reason == errno.ENOENT or reason in self._told:
            return
        self._told.add(reason)
        _log.warning("%s could not be kept in the trash, nor perhaps what follows: %s", path.href(), error)

    def make_room(self, size: int) -> bool:
        """Give `size` bytes back to the disk, or more, the oldest first; False where nothing was left."""
        freed = 0
        with self._turn:
            for kept in self.oldest():
                freed += self._remove(kept)
                if freed >= max(size, _AT_LEAST):
                    break
        if freed:
            _log.warning("the disk is full: %d bytes of the trash were given up early", freed)
        return freed > 0

    def _remove(self, kept: Kept) -> int:
        """Delete a file of the trash; return how many bytes that has freed."""
        with suppress(OSError, StorageError), self._root.collection(kept.place.parent) as folder:
            status = os.stat(name_of(kept.place), dir_fd=folder, follow_symlinks=False)
            os.unlink(name_of(kept.place), dir_fd=folder)
            return status.st_blocks * 512 if status.st_nlink == 1 else 0
        return 0

    def held(self) -> Held:
        """Sum up what is there. Raises StorageError."""
        sizes = []
        with self._root.errors(TRASH):
            for _, found in members(self._root, TRASH):
                with suppress(FileNotFoundError):
                    sizes.append(found.stat(follow_symlinks=False).st_size)
        return Held(len(sizes), sum(sizes))

    def oldest(self) -> Iterator[Kept]:
        """Yield what is in the trash, the oldest day first."""
        for day in self.days():
            yield from self.of_day(day)

    def days(self) -> list[str]:
        """Return the days of which something is kept, in order."""
        try:
            scan = Scan(self._root, TRASH)
        except (FileNotFoundError, NotADirectoryError):
            return []
        with closing(scan):
            return sorted(name for name, _ in scan if _DAY.fullmatch(name))

    def of_day(self, day: str, collection: DavPath | None = None, beginning: str = "") -> list[Kept]:
        """Return what one day has of the files below `collection` whose path from there on begins so."""
        below = () if collection is None else collection.segments
        top = DavPath((*TRASH.segments, day, *below), slash=True)
        found = [_kept(place, len(TRASH.segments) + 1) for place in files(self._root, top, beginning)]
        return sorted(filter(None, found), key=lambda kept: kept.ended)


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment // 10**9, UTC):%Y-%m-%d}"


def place_of(path: DavPath, kind: str, ended: int) -> DavPath:
    """Return where a file is kept that was deleted or overwritten at `ended`."""
    suffix = f"~{kind}{ended}"
    day = DavPath((*TRASH.segments, _day(ended)))
    if len(name_of(path)) > _MOST_NAME_BYTES - _SUFFIX_BYTES:
        return DavPath((*day.segments, *path.segments, suffix))
    return DavPath((*day.segments, *path.segments[:-1], path.name + suffix))


def _kept(place: DavPath, depth: int) -> Kept | None:
    found = _SUFFIX.fullmatch(place.name)
    if found is None:
        return None
    above = place.segments[depth:-1]
    return Kept(DavPath((*above, found[1]) if found[1] else above), place, found[2], int(found[3]))


def files(root: Root, top: DavPath, beginning: str = "") -> Iterator[DavPath]:
    """Yield the paths of `members`."""
    return (path for path, _ in members(root, top, beginning))


def members(root: Root, top: DavPath, beginning: str = "") -> Iterator[tuple[DavPath, os.DirEntry[str]]]:
    """Yield the files below a folder whose path from there on begins so, at any depth. Raises OSError.

    What a scan has found of a file is good until the next one is asked for. What is not there, or goes
    meanwhile, is passed over. No symbolic link is followed.
    """
    waiting = [(top, "")]
    while waiting:
        folder, above = waiting.pop()
        try:
            scan = Scan(root, folder)
        except OSError as error:
            if error.errno in MISSING:
                continue
            raise
        with closing(scan):
            for name, member in scan:
                way = above + name
                if member.is_dir(follow_symlinks=False):
                    # Into what begins so, and into what the beginning leads through.
                    if f"{way}/".startswith(beginning) or beginning.startswith(f"{way}/"):
                        waiting.append((folder.child(name, slash=True), f"{way}/"))
                elif way.startswith(beginning) and member.is_file(follow_symlinks=False):
                    yield folder.child(name), member
