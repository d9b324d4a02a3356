"""Plain files as a target: a folder for each attachment, named by its key as in Zotero's own storage."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

from app.library.member import content as content_of
from app.library.names import is_key, parse_name
from app.library.prop import BadProp, md5_of, parse_prop
from app.library.zip_directory import BadZip, read_directory
from app.transfer.base import Content, Listed, Stored, TransferError

PROP: Final = ".prop"
"""What an attachment's prop is called in its folder: where it lies the files are complete."""

_CHUNK: Final = 262144


class Unpacked:
    """A folder with a folder for each attachment. Files that are no attachment's are put beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def find(self, seen: Callable[[int], object]) -> Listed:
        listed = Listed()
        for entry in await asyncio.to_thread(lambda: sorted(self._folder.iterdir())):
            if is_key(entry.name) and (entry / PROP).is_file():
                prop = (entry / PROP).stat()
                listed.add(Stored(f"{entry.name}.zip", None, int(prop.st_mtime)), entry.name, is_prop=False)
                listed.add(
                    Stored(f"{entry.name}.prop", prop.st_size, int(prop.st_mtime)), entry.name, is_prop=True
                )
            elif entry.is_file() and not entry.name.startswith("."):
                status = entry.stat()
                listed.add(
                    Stored(entry.name, status.st_size, int(status.st_mtime)), entry.name, is_prop=False
                )
        seen(len(listed.pairs))
        return listed

    @asynccontextmanager
    async def open(self, stored: Stored) -> AsyncIterator[Content]:
        name = parse_name(stored.name)
        assert name is not None and name.part == "prop"  # noqa: S101, PT018  # all that is ever compared
        try:
            content = await asyncio.to_thread((self._folder / name.key / PROP).read_bytes)
        except OSError as error:
            raise TransferError(f"{stored.name}: {error.strerror}") from error
        yield Content.of(content)

    async def prepare(self) -> None:
        try:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise TransferError(f"{self._folder} cannot be made: {error.strerror}") from error

    async def write(self, name: str, content: Content) -> None:
        parsed = parse_name(name)
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                await _save(content, file)
                if parsed is None:
                    await asyncio.to_thread(self._place, file, name, content.modified)
                elif parsed.part == "zip":
                    await self._unpack(file, parsed.key, content.size)
                else:
                    await asyncio.to_thread(self._finish, file, parsed.key)
        except (BadZip, BadProp) as error:
            raise TransferError(f"{name}: {error}") from error
        except OSError as error:
            raise TransferError(f"{name}: {error.strerror or error}") from error

    async def _unpack(self, file: IO[bytes], key: str, size: int) -> None:
        """Put the files of a zip in the place of what the attachment's folder had."""
        source = _File(file, size)
        members = await read_directory(source)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=f".{key}.") as place:
            for member in members:
                if not member.is_safe:
                    raise BadZip(f"{member.name!r} would lie outside of the folder")
                with await asyncio.to_thread(_create, Path(place, key, member.name)) as out:
                    async for piece in content_of(source, member):
                        await asyncio.to_thread(out.write, piece)
            await asyncio.to_thread(_put_in_place, Path(place, key), self._folder / key)

    def _finish(self, file: IO[bytes], key: str) -> None:
        """Compare an unpacked attachment with its prop, date its files, and mark it as complete."""
        content = file.read()
        prop = parse_prop(content)
        folder = self._folder / key
        files = [found for found in folder.rglob("*") if found.is_file()] if folder.is_dir() else []
        if prop.md5 is not None and not any(md5_of(found) == prop.md5 for found in files):
            raise BadProp("no file of the attachment has the MD5 that it names")
        for found in files:
            os.utime(found, (prop.modified / 1000, prop.modified / 1000))
        folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{PROP}.", delete=False) as out:
            out.write(content)
        Path(out.name).replace(folder / PROP)

    def _place(self, file: IO[bytes], name: str, modified: int | None) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=f".{name[:50]}.", delete=False) as out:
            shutil.copyfileobj(file, out, _CHUNK)
        if modified is not None:
            os.utime(out.name, (modified, modified))
        Path(out.name).replace(self._folder / name)


class _File:
    """An open file as a source for the reading of zips."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    async def stream(self, start: int, stop: int) -> AsyncIterator[bytes]:
        while start < stop:
            chunk = await asyncio.to_thread(self._read, start, min(_CHUNK, stop - start))
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    def _read(self, start: int, number: int) -> bytes:
        self._file.seek(start)
        return self._file.read(number)


async def _save(content: Content, file: IO[bytes]) -> None:
    async for chunk in content.chunks:
        await asyncio.to_thread(file.write, chunk)
    file.flush()
    if file.tell() != content.size:
        raise TransferError("the file ended too soon")
    file.seek(0)


def _create(file: Path) -> IO[bytes]:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("xb")


def _put_in_place(made: Path, target: Path) -> None:
    made.mkdir(exist_ok=True)  # where the zip is empty
    if target.exists():
        target.rename(made.parent / "old")
    made.rename(target)
