"""The server's own small records, each a file below `.zotshelf/`."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from app.path import RESERVED, DavPath
from app.storage.base import Unavailable
from app.storage.folder import record_form
from app.storage.folder.leavings import UPLOADS
from app.storage.folder.members import Scan
from app.storage.folder.root import MISSING, Root, name_of, sync_folder
from app.storage.folder.temporary import Temporaries, TemporaryFile
from app.storage.folder.threads import Threads, in_thread

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")


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
                and _is_record(scan.folder, one)
            ]
        finally:
            scan.close()
    return sorted(found)


def _is_record(folder: int, found: os.DirEntry[str]) -> bool:
    if found.is_dir(follow_symlinks=False):
        return record_form.is_around_record(folder, os.fsencode(found.name))
    return found.is_file(follow_symlinks=False)


class FolderRecords:
    """The records of one root (`app.storage.base.Records`).

    A record is linked to its name when it is whole, which one of several can do. Where the file system
    has no hard links it is put into a folder that is renamed. Either way a crash leaves the name without
    a record, or with one that is whole. Names that cannot be a record's raise ValueError.
    """

    def __init__(self, root: Root, temporaries: Temporaries, threads: Threads) -> None:
        self._root = root
        self._temporaries = temporaries
        self._threads = threads

    async def create(self, name: str, content: bytes) -> bool:
        """Write the record durably; False, and nothing written, if the name is taken."""
        path = _record(name)
        return await in_thread(self._threads, path, self._create, path, content)

    def _create(self, path: DavPath, content: bytes) -> bool:
        with self._root.errors(path, missing=Unavailable):
            folder = self._root.open_or_make(path.parent, readable=True)
            try:
                # Of many that want one number all but the first can be told without waiting for the disk.
                return not record_form.is_taken(folder, name_of(path)) and self._write(path, content, folder)
            finally:
                os.close(folder)

    def _write(self, path: DavPath, content: bytes, folder: int) -> bool:
        temporary = self._temporaries.open(path)
        try:
            temporary.append([content])
            temporary.seal()
            if not temporary.link_to(folder, name_of(path)):
                self._name_in_folder(temporary, path, folder)
            sync_folder(folder)
        except FileExistsError:
            return False
        finally:
            temporary.close()
        return True

    def _name_in_folder(self, temporary: TemporaryFile, path: DavPath, folder: int) -> None:
        around = self._temporaries.make_folder(path)
        with self._root.collection(UPLOADS) as uploads:
            try:
                with self._root.collection(around, readable=True) as inner:
                    temporary.rename_to(inner, record_form.INSIDE)
                    # FUSE and NFS keep a file that is removed while open under another name.
                    temporary.close()
                    sync_folder(inner)
                record_form.name_folder(uploads, name_of(around), folder, name_of(path))
            except BaseException:
                with suppress(OSError):
                    record_form.remove(uploads, name_of(around))
                raise

    async def read(self, name: str) -> bytes | None:
        """Return the record's content, or None if there is none."""
        path = _record(name)
        return await in_thread(self._threads, path, self._read, path)

    def _read(self, path: DavPath) -> bytes | None:
        with self._root.errors(path):
            try:
                with self._root.collection(path.parent) as folder:
                    return record_form.read(folder, name_of(path))
            except OSError as error:
                if error.errno in MISSING:
                    return None
                raise

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
            record_form.remove(folder, name_of(path))
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
