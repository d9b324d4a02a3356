"""Zotero's own data directory as a source: its files packed as the client itself would upload them.

What is read of `zotero.sqlite` are the keys of stored attachments of My Library and the names of their main
files (zotero/zotero `resource/schema/userdata.sql`). It is read from a copy, so that a running client is
not disturbed.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import IO, Final, NamedTuple

from app.library.names import is_key, parse_name
from app.library.prop import make_prop, md5_of
from app.transfer.base import Changed, Content, Listed, Stored, TransferError

_PREFIX: Final = "storage:"
_QUERY: Final = """
    SELECT items.key, itemAttachments.path, itemAttachments.storageModTime, itemAttachments.storageHash
    FROM itemAttachments JOIN items USING (itemID) JOIN libraries USING (libraryID)
    WHERE libraries.type = 'user' AND itemAttachments.path LIKE 'storage:%'
    AND itemAttachments.linkMode IN (0, 1, 4)
"""
"""Imported files, imported pages, images of notes; links to files elsewhere are not synced."""

_CHUNK: Final = 262144
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_PACKED: Final = frozenset(
    {".pdf", ".epub", ".zip", ".gz", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".mp3", ".mp4", ".docx"}
)
"""What grows no smaller: it is stored in the zip as it is."""
_IN_MEMORY: Final = 8 * 2**20


class _Attachment(NamedTuple):
    folder: Path
    main: Path
    known_modified: int | None
    known_md5: str | None
    """What the client had found when the file's time was `known_modified`, in milliseconds."""


class ZoteroData:
    """The data directory that Zotero's settings name under Advanced > Files and Folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._attachments: dict[str, _Attachment] = {}

    async def find(self, seen: Callable[[int], object]) -> Listed:
        self._attachments = await asyncio.to_thread(self._read_database)
        listed = Listed()
        for key, attachment in self._attachments.items():
            modified = int(attachment.main.stat().st_mtime)
            listed.add(Stored(f"{key}.zip", None, modified), key, is_prop=False)
            listed.add(Stored(f"{key}.prop", None, modified), key, is_prop=True)
        seen(2 * len(self._attachments))
        return listed

    def _read_database(self) -> dict[str, _Attachment]:
        found = {}
        for key, path, modified, md5 in self._rows():
            folder = self._folder / "storage" / str(key)
            name = str(path).removeprefix(_PREFIX)
            main = folder / name
            # A file that is only on another computer has no folder here.
            if is_key(str(key)) and "/" not in name and main.is_file():
                known = str(md5) if md5 and _MD5.fullmatch(str(md5)) else None
                found[str(key)] = _Attachment(folder, main, modified, known)
        return found

    def _rows(self) -> list[tuple[object, object, int | None, object]]:
        database = self._folder / "zotero.sqlite"
        if not database.is_file():
            raise TransferError(f"{self._folder} has no zotero.sqlite: it must be Zotero's data directory")
        with tempfile.TemporaryDirectory() as place:
            try:
                for name in ("zotero.sqlite", "zotero.sqlite-journal", "zotero.sqlite-wal"):
                    if (self._folder / name).exists():
                        shutil.copyfile(self._folder / name, Path(place, name))
                with closing(sqlite3.connect(Path(place, "zotero.sqlite"))) as connection:
                    return connection.execute(_QUERY).fetchall()
            except (sqlite3.Error, OSError) as error:
                raise TransferError(f"{database} cannot be read: {error}; is Zotero busy?") from error

    @asynccontextmanager
    async def open(self, stored: Stored) -> AsyncIterator[Content]:
        name = parse_name(stored.name)
        attachment = self._attachments[name.key if name else ""]
        try:
            if name is not None and name.part == "prop":
                content = await asyncio.to_thread(_prop_of, attachment)
                yield Content.of(content, stored.modified)
                return
            with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
                await asyncio.to_thread(_pack, attachment.folder, file)
                yield Content(_read(file), file.seek(0, os.SEEK_END), stored.modified)
        except FileNotFoundError:
            raise Changed(f"{stored.name} was changed meanwhile") from None


def _prop_of(attachment: _Attachment) -> bytes:
    modified = attachment.main.stat().st_mtime_ns // 1_000_000
    md5 = attachment.known_md5
    if md5 is None or modified != attachment.known_modified:
        md5 = md5_of(attachment.main)
    return make_prop(modified, md5)


def _pack(folder: Path, target: IO[bytes]) -> None:
    with zipfile.ZipFile(target, "w") as packed:
        for file in sorted(_files(folder)):
            method = zipfile.ZIP_STORED if file.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
            info = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            info.compress_type = method
            with file.open("rb") as source, packed.open(info, "w", force_zip64=False) as sink:
                shutil.copyfileobj(source, sink, _CHUNK)


def _files(folder: Path) -> Iterator[Path]:
    """Yield what the client uploads: all but what begins with a dot, which are its own notes."""
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            yield from _files(entry)
        elif entry.is_file():
            yield entry


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk
