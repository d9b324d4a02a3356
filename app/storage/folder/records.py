"""The server's own small records, each a file below `.zotshelf/`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from app.path import RESERVED, DavPath
from app.storage.base import Unavailable
from app.storage.folder.leavings import UPLOADS
from app.storage.folder.members import Scan
from app.storage.folder.root import MISSING, Root, name_of, sync_folder
from app.storage.folder.temporary import Temporaries, TemporaryFile
from app.storage.folder.threads import Threads, in_thread

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
_PLACEHOLDER: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _record(name: str) -> DavPath:
    path = DavPath((RESERVED, *name.split("/")))
    if not all(_NAME.fullmatch(part) and part not in (".", "..") for part in path.segments[1:]):
        raise ValueError(f"{name!r} cannot be a record's name")
    if path == UPLOADS or UPLOADS.contains(path):
        raise ValueError("the uploads are no records")
    return path


def _names(root: Root, path: DavPath, folder: str, after: str) -> list[str]:
    with root.errors(path):
        try:
            scan = Scan(root, path)
        except FileNotFoundError:
            return []
        try:
            found = [
                full
                for name, one in scan.take(None)
                if (full := f"{folder}/{name}") > after
                and _NAME.fullmatch(name)
                and one.is_file(follow_symlinks=False)
            ]
        finally:
            scan.close()
    return sorted(found)


def _is_taken(folder: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class FolderRecords:
    """The records of one root (`app.storage.base.Records`).

    A record is linked to its name when it is whole, which one of several can do. Where the file system
    has no hard links an empty file takes the name first and is then replaced: so an empty record counts
    as absent to readers, and none may be created. Names that cannot be a record's raise ValueError.
    """

    def __init__(self, root: Root, temporaries: Temporaries, threads: Threads) -> None:
        self._root = root
        self._temporaries = temporaries
        self._threads = threads

    async def create(self, name: str, content: bytes) -> bool:
        """Write the record durably; False, and nothing written, if the name is taken."""
        path = _record(name)
        if not content:
            raise ValueError("a record cannot be empty")
        return await in_thread(self._threads, path, self._create, path, content)

    def _create(self, path: DavPath, content: bytes) -> bool:
        with self._root.errors(path, missing=Unavailable):
            folder = self._root.open_or_make(path.parent, readable=True)
            try:
                # Of many that want one number all but the first can be told without waiting for the disk.
                return not _is_taken(folder, name_of(path)) and self._write(path, content, folder)
            finally:
                os.close(folder)

    def _write(self, path: DavPath, content: bytes, folder: int) -> bool:
        temporary = self._temporaries.open(path)
        try:
            temporary.append([content])
            temporary.seal()
            self._name(temporary, folder, name_of(path))
            sync_folder(folder)
        except FileExistsError:
            return False
        finally:
            temporary.close()
        return True

    def _name(self, temporary: TemporaryFile, folder: int, name: bytes) -> None:
        if temporary.link_to(folder, name):
            return
        os.close(os.open(name, _PLACEHOLDER, 0o666, dir_fd=folder))
        try:
            temporary.rename_to(folder, name)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise

    async def read(self, name: str) -> bytes | None:
        """Return the record's content, or None if there is none."""
        path = _record(name)
        return await in_thread(self._threads, path, self._read, path)

    def _read(self, path: DavPath) -> bytes | None:
        with self._root.errors(path):
            try:
                with self._root.collection(path.parent) as folder:
                    file = os.open(name_of(path), _OPEN, dir_fd=folder)
            except OSError as error:
                if error.errno in MISSING:
                    return None
                raise
            try:
                status = os.fstat(file)
                return os.pread(file, status.st_size, 0) or None if stat.S_ISREG(status.st_mode) else None
            finally:
                os.close(file)

    async def list(self, folder: str, after: str = "") -> AsyncIterator[str]:
        """Yield the full names of the records directly in `folder` that sort after `after`, in order."""
        path = _record(folder)
        for name in await in_thread(self._threads, path, _names, self._root, path, folder, after):
            yield name

    async def delete(self, name: str) -> None:
        """Remove the record; none there is no error."""
        path = _record(name)
        await in_thread(self._threads, path, self._delete, path)

    def _delete(self, path: DavPath) -> None:
        with (
            self._root.errors(path),
            suppress(FileNotFoundError),
            self._root.collection(path.parent, readable=True) as folder,
        ):
            os.unlink(name_of(path), dir_fd=folder)
            sync_folder(folder)

    async def now(self) -> float:
        """Return the time by the clock of the file system, which all hosts that share it have in common.

        That is the clock of whoever makes the files: of the kernel where the disk is this host's own, of
        the file server where the folder is mounted from one.
        """
        return await in_thread(self._threads, UPLOADS, self._now)

    def _now(self) -> float:
        temporary = self._temporaries.open(UPLOADS)
        try:
            with self._root.errors(UPLOADS):
                return temporary.made
        finally:
            temporary.close()
