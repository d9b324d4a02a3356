"""What is in a zip, learnt from its end: the central directory (APPNOTE.TXT section 4.3.12).

Only the end of the file is read, in one range where the directory is not unusually large. The standard
library's zipfile reads it; what it asks for beyond the end is fetched, and it is asked again.
"""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
from contextlib import suppress
from typing import Any, Final, NamedTuple

from app.library.source import Source, read

MAX_DIRECTORY_BYTES: Final = 16 * 2**20
"""A larger directory (100,000 members) is refused."""

_TAIL_BYTES: Final = 65536
"""What is fetched at first: the directory of hundreds of members."""
_BASE64_MARK: Final = "%ZB64"
_UTF8_FLAG: Final = 0x800
_ENCRYPTED_FLAG: Final = 0x1


class BadZip(ValueError):
    """Not a zip, or one that is damaged; the text says what is wrong."""


class Member(NamedTuple):
    """One file in a zip."""

    name: str
    """As people know it: old clients' base64 is decoded."""
    size: int
    """Bytes, unpacked."""
    packed: int
    """Bytes in the zip."""
    method: int
    """How it is packed: 0 not at all, 8 deflate (APPNOTE.TXT section 4.4.5)."""
    crc: int
    """CRC-32 of the unpacked content."""
    start: int
    """Where its local header begins."""
    stop: int
    """Where what follows it begins: the next local header, or the directory."""
    encrypted: bool

    @property
    def is_safe(self) -> bool:
        """Whether the name stays in the folder that the zip is unpacked in."""
        name = self.name.replace("\\", "/")
        return not (name.startswith("/") or name[1:2] == ":" or "\0" in name or ".." in name.split("/"))


async def read_directory(source: Source) -> list[Member]:
    """Return the files of a zip in the order they lie in it. Raises BadZip, and what `source` raises."""
    if source.size == 0:
        raise BadZip("it is empty")
    start = max(0, source.size - _TAIL_BYTES)
    end = await read(source, start, source.size)
    while True:
        file = _End(end, source.size)
        try:
            with zipfile.ZipFile(io.BufferedReader(file)) as found:
                return _members(found)
        except _Before as wanted:
            if source.size - wanted.start > MAX_DIRECTORY_BYTES:
                raise BadZip("its directory is too large") from None
            end = await read(source, wanted.start, source.size - len(end)) + end
        except zipfile.BadZipFile:
            raise BadZip(_what_it_is(end, start)) from None
        except (ValueError, OverflowError, NotImplementedError, EOFError) as error:
            raise BadZip("its directory is damaged") from error


class _Before(Exception):
    """Bytes before those that are there are needed."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start


class _End(io.RawIOBase):
    """A file of which only the end is there."""

    def __init__(self, end: bytes, size: int) -> None:
        super().__init__()
        self._end = end
        self._first = size - len(end)
        self._size = size
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if position < 0:
            raise OSError("before the beginning")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._position >= self._size:
            return 0
        if self._position < self._first:
            raise _Before(self._position)
        at = self._position - self._first
        part = self._end[at : at + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)


def _members(found: zipfile.ZipFile) -> list[Member]:
    infos = sorted(found.infolist(), key=lambda info: info.header_offset)
    stops = [info.header_offset for info in infos[1:]] + [found.start_dir]
    return [
        Member(
            _name(info),
            info.file_size,
            info.compress_size,
            info.compress_type,
            info.CRC,
            info.header_offset,
            stop,
            bool(info.flag_bits & _ENCRYPTED_FLAG),
        )
        for info, stop in zip(infos, stops, strict=True)
        if not info.is_dir()
    ]


def _name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    if not info.flag_bits & _UTF8_FLAG:
        # zipfile reads such names as cp437; clients wrote UTF-8 all the same.
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    if name.endswith(_BASE64_MARK):
        with suppress(binascii.Error, UnicodeError):
            name = base64.b64decode(name.removesuffix(_BASE64_MARK), validate=True).decode()
    return name


def _what_it_is(end: bytes, start: int) -> str:
    if start == 0 and end.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "it is an HTML or XML page"
    if start == 0 and not end.startswith(b"PK"):
        return "it is no zip"
    return "it is cut short, or no zip"
